"""A run written down as an operator would: who went where, what was seen and asked for, what was said."""

from __future__ import annotations

from talm.api.cgu import OtherSpecification, PrecachingSpec
from talm.core.fleet import stored_phases
from talm.core.model import Effect, Move

from .spoke import Spoke
from .world import Pass, World


class Diary:
    """Watches a world and keeps a line for everything that changed."""

    def __init__(self, world: World) -> None:
        self.lines: list[str] = []
        self._world = world
        world.watchers.append(self.write)

    def note(self, text: str) -> None:
        """Write down what the user or the world did."""
        self._line("*", text)

    def write(self, done: Pass) -> None:
        if not done.is_stored:
            self._line(done.name, "the operator is killed before it has stored this pass")
        for move in done.decision.moves:
            self._move(done, move)
        if done.is_stored:
            self._specification(done)
            self._begun(done)
            self._conditions(done)
            self._remediation(done)
            for event in done.settled.events:
                self._line(done.name, f"event {event.reason}: {event.note}")
        if done.decision.drop_finalizer and not done.outcomes.failed:
            self._line(done.name, "is gone")

    def left_behind(self, name: str, spoke: Spoke) -> None:
        """Write down what is on a spoke and on the hub about it when the scenario is over."""
        spoke_has = "a namespace" if spoke.owner else "nothing"
        asked = "a question" if spoke.asked_by else "no question"
        orders = ", ".join(order.kind for order in spoke.orders) or "none"
        jobs = sum(spoke.jobs.values())
        self.lines.append(
            f"at the end {name}: {spoke_has} left there, {asked} here, actions open: {orders}; "
            f"Jobs created: {jobs}"
        )

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def _line(self, who: str, text: str) -> None:
        now = self._world.now
        clock = f"{now // 3600:02}:{now // 60 % 60:02}:{now % 60:02}"
        self.lines.append(f"{clock} {who}  {text}")

    def _who(self, done: Pass, cluster: str) -> str:
        return cluster if len(self._world.cgus) < 2 else f"{done.name}/{cluster}"

    def _move(self, done: Pass, move: Move) -> None:
        was = stored_phases(done.seen.cgu.status)[move.cluster]
        goto = "forgotten" if move.goto is None else str(move.goto)
        course = goto if goto == was else f"{was} -> {goto}"
        asks = ", ".join(effect.name for effect in move.effects) or "nothing"
        text = f"{course}  sees {done.fact(move).name}, asks {asks}"
        if Effect.PREPARE in move.effects:
            text += _for_whom(done, move.cluster)
        if move.why:
            text += f"  ({move.why})"
        if move.cluster in done.outcomes.failed:
            text += f"  FAILED, stays: {done.outcomes.failed[move.cluster]}"
        self._line(self._who(done, move.cluster), text)

    def _specification(self, done: Pass) -> None:
        statuses = (done.seen.cgu.status, done.settled.status)
        before, after = (status.precaching and status.precaching.spec for status in statuses)
        if before and after and before != after and PrecachingSpec() not in (before, after):
            self._line(done.name, "the specification is replaced")
        others = [tuple(map(_told, (s.precaching and s.precaching.specs) or ())) for s in statuses]
        if others[0] != others[1]:
            told = ", ".join(f"{image} on {number}" for image, number in others[1]) or "no more"
            self._line(done.name, f"other specifications: {told}")

    def _begun(self, done: Pass) -> None:
        before = stored_phases(done.seen.cgu.status)
        for cluster, phase in stored_phases(done.settled.status).items():
            if cluster not in before:
                self._line(self._who(done, cluster), str(phase))

    def _conditions(self, done: Pass) -> None:
        before = {c.type: c for c in done.seen.cgu.status.conditions or ()}
        after = {c.type: c for c in done.settled.status.conditions or ()}
        for kind, told in after.items():
            old = before.get(kind)
            if old is None or (old.status, old.reason, old.message) != (
                told.status, told.reason, told.message,
            ):  # fmt: skip
                self._line(done.name, f"{kind}={told.status} {told.reason}: {told.message}")
        for kind in before:
            if kind not in after:
                self._line(done.name, f"{kind} goes away")
        self._failures(done)

    def _failures(self, done: Pass) -> None:
        def told(status: object) -> dict[str, tuple[str, str]]:
            block = getattr(status, "precaching", None)
            entries = (block.failures if block else None) or ()
            return {e.cluster: (e.reason, e.message) for e in entries}

        before, after = told(done.seen.cgu.status), told(done.settled.status)
        for cluster, (reason, message) in after.items():
            if before.get(cluster) != (reason, message):
                self._line(self._who(done, cluster), f"says {reason}: {message}")

    def _remediation(self, done: Pass) -> None:
        before, after = done.seen.cgu.status.status, done.settled.status.status
        if after is None or after == before:
            return
        if after.current_batch and (before is None or before.current_batch != after.current_batch):
            plan = done.settled.status.remediation_plan or ()
            names = ", ".join(plan[after.current_batch - 1])
            self._line(done.name, f"batch {after.current_batch} of {len(plan)}: {names}")
        if after.completed_at is not None:
            states = done.settled.status.clusters or ()
            outcome = ", ".join(f"{s.name} {s.state}" for s in states) or "nobody was updated"
            self._line(done.name, f"is over: {outcome}")


def _told(entry: OtherSpecification) -> tuple[str, int]:
    """The release, and how many clusters are asked for it."""
    return (entry.spec.platform_image if entry.spec else ""), entry.clusters


def _for_whom(done: Pass, cluster: str) -> str:
    """The cluster's own release, where that is not what most are asked for."""
    found = done.decision.prepared
    own = found.specs.others.get(cluster) if found is not None and found.specs is not None else None
    return f" for {own.platform_image}" if own is not None else ""
