"""What must hold in every run, checked while it happens: an independent eye on the world."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from typing import Final

from talm.api.cgu import CguStatus, PrecachingSpec
from talm.api.words import BAD_PHASES, FINAL_PHASES, Phase
from talm.core.decide import Stage, decide
from talm.core.fleet import stored_phases
from talm.core.model import Effect, Fact, Move, Outcomes
from talm.core.precache import SETUP_PHASES, STEPS
from talm.core.settle import settle
from talm.core.specifications import Specifications, stored_specifications

from .spoke import NOTICE_S, Spoke
from .world import Held, Pass, World

Cluster = tuple[str, str]  # CGU, cluster

# Where one stored state may lead to in one pass, beside ends from outside the table and ownership.
NEXT: Final = {phase: {step.goto for step in STEPS[phase].values()} for phase in STEPS}


# A batch that waits to be verified: its own time, or that of the whole update, is up.
LATE: Final = ("not verified within", "the time of the update was up")


class Chronicle:
    """Watches a world and fails as soon as something happens that must not."""

    def __init__(self, world: World) -> None:
        self.courses: dict[Cluster, list[tuple[Phase | None, tuple[Effect, ...]]]] = {}
        self.entries: Counter[Cluster] = Counter()
        self.removed: set[Cluster] = set()
        self._begun_with: dict[Cluster, PrecachingSpec | None] = {}
        self._world = world
        self._kind_since: dict[Cluster, int] = {}
        world.watchers.append(self.watch)
        world.at_rest.append(self.rest)

    # --- every pass ---

    def watch(self, done: Pass) -> None:
        before = stored_phases(done.seen.cgu.status)
        for move in done.decision.moves:
            if move.cluster in done.outcomes.failed:
                continue
            if Effect.REMOVE in move.effects:
                self.removed.add((done.name, move.cluster))
            if Effect.PREPARE in move.effects:
                found = _asked_for(done)
                own = found.of_cluster(move.cluster) if found is not None else None
                self._begun_with[done.name, move.cluster] = own
            if Effect.START_JOB in move.effects:
                assert done.fact(move) is Fact.JOB_MISSING, "started without having been missed"
            if done.is_stored:
                self._moved(done, move, before[move.cluster])
        if done.is_stored:
            self._stored(done, before, stored_phases(done.settled.status))

    def _moved(self, done: Pass, move: Move, was: Phase) -> None:
        key = (done.name, move.cluster)
        if move.goto is was and was in FINAL_PHASES:
            return  # the farewell
        self.courses.setdefault(key, []).append((move.goto, move.effects))
        if move.goto in BAD_PHASES:
            if done.decision.stage is Stage.REMEDIATING and move.why.startswith(LATE):
                assert _asked(done.seen.cgu.status) is not None
                return
            self._is_one_of_the_four_causes(done, move, was)

    def _stored(self, done: Pass, before: Mapping[str, Phase], after: Mapping[str, Phase]) -> None:
        kept, wanted = stored_specifications(done.seen.cgu.status), _asked_for(done)
        keeps = stored_specifications(done.settled.status)
        asked = _asked(done.settled.status) not in {None, _asked(done.seen.cgu.status)}
        for cluster, phase in after.items():
            key = (done.name, cluster)
            was = before.get(cluster)
            if phase in {Phase.ACTIVE, Phase.SUCCEEDED}:
                own = keeps.of_cluster(cluster) if keeps is not None else None
                assert self._begun_with[key] == own, f"{key} has another specification"
            if was is None:
                assert phase is Phase.NOT_STARTED, f"{key} begins as {phase}"
            elif (asked or _is_outdated(cluster, kept, wanted)) and phase is Phase.NOT_STARTED:
                pass
            elif was in FINAL_PHASES:
                assert phase is was, f"{key} moved from its end {was} to {phase}"
            elif phase is not was:
                owned = cluster in done.seen.owners and phase is Phase.NOT_STARTED
                assert owned or phase in NEXT[was] | BAD_PHASES, (
                    f"{key} jumps from {was} to {phase}"
                )
            if phase is Phase.SUCCEEDED:
                assert key in self.removed, f"{key} succeeded and was not cleaned up"
            if was is Phase.NOT_STARTED and phase is Phase.PREPARING:
                self.entries[key] += 1
            kind = phase in SETUP_PHASES
            owned = cluster in done.seen.owners
            if was is None or owned or (was in SETUP_PHASES) != kind:
                self._kind_since[key] = done.at
        assert done.decision.prepared is None or done.settled.status.status is not None

    def _is_one_of_the_four_causes(self, done: Pass, move: Move, was: Phase) -> None:
        spoke = self._world.spokes[move.cluster]
        if done.fact(move) in {Fact.JOB_FAILED, Fact.JOB_DEADLINE}:
            assert spoke.job is not None
            assert spoke.job.ends <= done.at
            assert (move.goto is Phase.TIMED_OUT) == (spoke.job.outcome == "Deadline")
            return
        available, since = spoke.available_since(done.at)
        grace = self._world.rules.unavailable_grace.total_seconds()
        if done.seen.cgu.spec.enable and not available and done.at - since > grace:
            assert move.goto is Phase.FAILED
            return
        limit = self._world.rules.setup_deadline.total_seconds()
        if was is Phase.ACTIVE:
            limit += done.seen.cgu.spec.remediation_strategy.timeout * 60
        begun = self._kind_since[done.name, move.cluster]
        assert self._could_get_on(spoke, begun, done.at) >= limit, f"{move} has no cause"
        assert move.goto is (Phase.TIMED_OUT if was is Phase.ACTIVE else Phase.FAILED)

    def _could_get_on(self, spoke: Spoke, begun: int, now: int) -> int:
        """Seconds in which the cluster was available; an outage that no operator saw counts as such."""
        out = 0
        for start, end in spoke.habits.down:
            span = (max(start + NOTICE_S, begun), min(end, now))
            unseen = any(a <= start + NOTICE_S and end <= b for a, b in self._world.faults.absent)
            if end - start > NOTICE_S and not unseen:
                out += max(0, span[1] - span[0])
        return now - begun - out

    # --- at rest ---

    def rest(self, held: Held) -> None:
        """With nothing new a pass changes nothing, so nothing is written."""
        seen = self._world.observe(held)
        decision = decide(seen)
        if any(move.effects for move in decision.moves) or decision.add_finalizer:
            return  # tried again after a failure
        again = settle(seen, decision, Outcomes())
        assert again.status == held.cgu.status

    # --- at the end of a run ---

    def end(self) -> None:
        for name, held in self._world.cgus.items():
            assert _is_at_its_end(held.cgu.status, self._waiters(held)), name
        for (name, cluster), entries in self.entries.items():
            spoke = self._world.spokes[cluster]
            run = self._world.runs[name]
            assert spoke.jobs[run] <= entries + spoke.taken[run], f"{name}/{cluster}: Job repeated"

    def _waiters(self, held: Held) -> set[str]:
        """Open clusters whose deadline does not run, so that they may wait for ever."""
        owners = self._world.observe(held).owners
        return {
            name
            for name, spoke in self._world.spokes.items()
            if not spoke.available_since(self._world.now)[0] or name in owners
        }


def _asked(status: CguStatus) -> dt.datetime | None:
    """Since when clusters are asked whether everything is still cached."""
    return status.precaching.verifying_since if status.precaching is not None else None


def _asked_for(done: Pass) -> Specifications | None:
    """Once the update runs nothing is derived any more."""
    if done.decision.stage is Stage.REMEDIATING:
        return stored_specifications(done.seen.cgu.status)
    return done.decision.prepared.specs if done.decision.prepared is not None else None


def _is_outdated(cluster: str, kept: Specifications | None, wanted: Specifications | None) -> bool:
    """True for those alone whose own specification has changed."""
    if kept is None or wanted is None:
        return False
    return kept.hash_of(cluster) != wanted.hash_of(cluster)


def _is_at_its_end(status: CguStatus, waiters: set[str]) -> bool:
    """Over, or waiting for its user, or for clusters whose clock stands still."""
    if status.status is not None and status.status.completed_at is not None:
        return True
    still_open = {c for c, p in stored_phases(status).items() if p not in FINAL_PHASES}
    if still_open:
        return still_open <= waiters
    progressing = [c for c in status.conditions or () if c.type == "Progressing"]
    return [c.reason for c in progressing] == ["NotEnabled"]
