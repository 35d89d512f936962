"""The tiny world: `decide` and `settle` driven over virtual time, without an API server.

The world stands in for the shell: it builds snapshots, carries effects out on its spokes, stores
statuses, and comes back when something changed or when it was asked to.  Everything happens at whole
seconds; within one second all parties act in a shuffled order until nothing changes any more.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import CguStatus, ClusterGroupUpgrade, PrecachingSpec
from talm.api.meta import changed
from talm.api.words import BAD_PHASES, FINAL_PHASES, FINALIZER, Phase
from talm.core.decide import Decision, decide, has_succeeded_condition, is_over
from talm.core.fleet import stored_phases
from talm.core.model import (
    UNSEEN,
    Blocker,
    Cluster,
    Fact,
    Json,
    Move,
    Outcomes,
    ResolvedPolicy,
    RootPolicy,
    Rules,
    Settled,
    Sight,
    Snapshot,
    SpecSources,
    WantedPlacement,
)
from talm.core.placements import run_id
from talm.core.settle import settle
from talm.core.verification import ends, record_of

from .spoke import EffectFailed, Spoke

START: Final = dt.datetime(2022, 1, 27, 19, 0, 0, tzinfo=dt.UTC)
RETRY_S: Final = 5
# More passes over one CGU in one second than any number of real changes explains: it spins.
SPINNING: Final = 60


@dataclass
class PolicyInWorld:
    """A policy and who complies; a cluster on which it is enforced does so `applies_s` later.

    `children` are what its hub templates have become, by cluster; empty: it has none.
    """

    name: str
    objects: tuple[Mapping[str, Json], ...] = ()
    applies_s: int = 120
    compliant: set[str] = field(default_factory=set)
    due: dict[str, int] = field(default_factory=dict)
    children: dict[str, ResolvedPolicy] = field(default_factory=dict)


@dataclass
class Held:
    """A CGU on the hub; `look_at` is when its next pass is due unasked."""

    cgu: ClusterGroupUpgrade
    look_at: int | None = None
    dirty: bool = True
    in_vain: bool = False  # the last pass was not stored, or not all of it was carried out
    placements: tuple[WantedPlacement, ...] = ()
    passes_now: int = 0
    patches: int = 0


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over one CGU, for those who watch the world."""

    at: int
    seen: Snapshot
    decision: Decision
    outcomes: Outcomes
    settled: Settled
    is_stored: bool

    @property
    def name(self) -> str:
        return self.seen.cgu.metadata.name

    def fact(self, move: Move) -> Fact:
        return self.seen.sights.get(move.cluster, UNSEEN).fact


@dataclass(frozen=True, slots=True)
class HubFaults:
    """Shares of passes in which the hub's own objects are refused, or the operator is killed before it
    stores; `absent` are spans in which no operator runs."""

    refusing: float = 0.0
    killed: float = 0.0
    absent: tuple[tuple[int, int], ...] = ()


class World:
    """Clusters, policies and CGUs by name; `happens` are changes of the user's, by second."""

    def __init__(
        self,
        spokes: Mapping[str, Spoke],
        policies: Mapping[str, PolicyInWorld],
        *,
        rules: Rules | None = None,
        faults: HubFaults | None = None,
        seed: int = 1,
    ) -> None:
        self.spokes = dict(spokes)
        self.policies = dict(policies)
        self.rules = rules or Rules()
        self.faults = faults or HubFaults()
        self.cgus: dict[str, Held] = {}
        self.runs: dict[str, str] = {}
        self.sources = SpecSources()
        self.records: dict[str, CacheRecord] = {}
        self.happens: list[tuple[int, Callable[[], None]]] = []
        self.watchers: list[Callable[[Pass], None]] = []
        self.at_rest: list[Callable[[Held], None]] = []
        self.now = 0
        self._rng = random.Random(seed)

    # --- the user ---

    def at(self, second: int, change: Callable[[], None]) -> None:
        """Let the user do something at this second."""
        self.happens.append((second, change))

    def apply(self, cgu: ClusterGroupUpgrade) -> None:
        """`kubectl apply` of a new CGU."""
        meta = changed(
            cgu.metadata,
            creation_timestamp=self.time,
            uid=cgu.metadata.uid or f"uid-of-{cgu.metadata.name}",
        )
        self.cgus[meta.name] = Held(changed(cgu, metadata=meta))
        self.runs[meta.name] = run_id(meta)

    def edit(self, name: str, **spec: object) -> None:
        """Change fields of a CGU's spec (attribute names)."""
        held = self.cgus[name]
        held.cgu = changed(held.cgu, spec=changed(held.cgu.spec, **spec))

    def delete(self, name: str) -> None:
        """`kubectl delete`: it stays until its finalizer is gone."""
        held = self.cgus[name]
        meta = changed(held.cgu.metadata, deletion_timestamp=self.time)
        held.cgu = changed(held.cgu, metadata=meta)

    # --- time ---

    @property
    def time(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self.now)

    def run(self, until: int) -> None:
        """Let time pass: from one second in which something may happen to the next."""
        while True:
            self._live_through_this_second()
            upcoming = self._next_moment()
            if upcoming is None or upcoming > until:
                return
            self.now = upcoming

    def _next_moment(self) -> int | None:
        moments = [at for at, _ in self.happens]
        moments += [t for span in self.faults.absent for t in span]
        moments += [t for spoke in self.spokes.values() if (t := spoke.next_event(self.now))]
        moments += [due for policy in self.policies.values() for due in policy.due.values()]
        moments += [held.look_at for held in self.cgus.values() if held.look_at is not None]
        return min((moment for moment in moments if moment > self.now), default=None)

    def _live_through_this_second(self) -> None:
        due = [change for at, change in self.happens if at == self.now]
        for change in due:
            change()
        ends = [end for _, end in self.faults.absent]
        # A new operator looks at everything.
        news = bool(due) or self._policies_tick() or self.now in ends
        for held in self.cgus.values():
            held.passes_now = 0
            held.dirty |= news or (held.look_at is not None and held.look_at <= self.now)
        while self._one_round():
            pass
        for held in self.cgus.values():
            if held.passes_now and not held.dirty and not held.in_vain:
                for look in self.at_rest:
                    look(held)

    def _one_round(self) -> bool:
        """Everybody acts once, in any order; True while somebody may still have something to do."""
        operator_lives = not any(start <= self.now < end for start, end in self.faults.absent)
        parties: list[Held | Spoke] = [*self.spokes.values()]
        if operator_lives:
            parties += [held for held in self.cgus.values() if held.dirty]
        self._rng.shuffle(parties)
        for party in parties:
            if isinstance(party, Held):
                self._pass(party)
            elif party.tick(self.now):
                for held in self.cgus.values():
                    held.dirty = True
        return operator_lives and any(held.dirty for held in self.cgus.values())

    def _policies_tick(self) -> bool:
        done = [
            (policy, cluster)
            for policy in self.policies.values()
            for cluster, due in policy.due.items()
            if due <= self.now and self.spokes[cluster].is_linked(self.now)
        ]
        for policy, cluster in done:
            policy.compliant.add(cluster)
            del policy.due[cluster]
        return bool(done)

    # --- the shell's part ---

    def _pass(self, held: Held) -> None:
        name = held.cgu.metadata.name
        if name not in self.cgus:
            return
        held.dirty = False
        held.passes_now += 1
        assert held.passes_now < SPINNING, f"{name} spins at {self.now}"
        seen = self.observe(held)
        decision = decide(seen)
        outcomes = self._carry_out(held, seen, decision)
        settled = settle(seen, decision, outcomes)
        killed = self._rng.random() < self.faults.killed
        for watch in self.watchers:
            watch(Pass(self.now, seen, decision, outcomes, settled, is_stored=not killed))
        held.in_vain = killed or bool(outcomes.failed or outcomes.hub_failed)
        if killed:
            held.look_at = self.now + RETRY_S
            return
        self._store(held, settled)
        self._come_back(held, decision, outcomes, settled)

    def _store(self, held: Held, settled: Settled) -> None:
        if settled.status == held.cgu.status:
            return
        held.cgu = changed(held.cgu, status=settled.status)
        held.patches += 1
        for other in self.cgus.values():
            other.dirty = True

    def _come_back(
        self, held: Held, decision: Decision, outcomes: Outcomes, settled: Settled
    ) -> None:
        moments = []
        if settled.look_again_after is not None:
            moments.append(self.now + int(settled.look_again_after.total_seconds()))
        if outcomes.failed or outcomes.hub_failed:
            moments.append(self.now + RETRY_S)
        elif any(move.effects for move in decision.moves) or decision.add_finalizer:
            held.dirty = True  # our own objects have changed, and that is an event
        held.look_at = min((max(m, self.now + 1) for m in moments), default=None)

    def observe(self, held: Held) -> Snapshot:
        """What the shell would build."""
        cgu = held.cgu
        return Snapshot(
            now=self.time,
            rules=self.rules,
            cgu=cgu,
            clusters={name: self._cluster(spoke) for name, spoke in self.spokes.items()},
            policies={
                name: (self._root(self.policies[name]),)
                for name in cgu.spec.managed_policies or ()
                if name in self.policies
            },
            sights=self._sights(cgu),
            owners=self._owners(cgu),
            sources=self.sources,
            blockers=tuple(self._blocker(ref.name) for ref in cgu.spec.blocking_crs or ()),
            records=dict(self.records),
            resolved={
                self._root(policy).ref: dict(policy.children)
                for policy in self.policies.values()
                if policy.children
            },
        )

    def _cluster(self, spoke: Spoke) -> Cluster:
        available, since = spoke.available_since(self.now)
        return Cluster(spoke.name, available=available, since=START + dt.timedelta(seconds=since))

    def _root(self, policy: PolicyInWorld) -> RootPolicy:
        words = {c: "Compliant" if c in policy.compliant else "NonCompliant" for c in self.spokes}
        return RootPolicy(
            "ztp-group",
            policy.name,
            compliance=words,
            objects=policy.objects,
            hub_templates=bool(policy.children),
        )

    def _sights(self, cgu: ClusterGroupUpgrade) -> dict[str, Sight]:
        leaving = cgu.metadata.deletion_timestamp is not None or has_succeeded_condition(cgu.status)
        run = run_id(cgu.metadata)
        sights = {}
        for cluster, phase in stored_phases(cgu.status).items():
            new = phase is Phase.NOT_STARTED
            if phase in FINAL_PHASES or (new and not leaving):
                continue
            sight = self.spokes[cluster].look(run, self.now)
            if not new or sight.fact is not Fact.UNASKED:
                sights[cluster] = sight
        return sights

    def _owners(self, cgu: ClusterGroupUpgrade) -> dict[str, str]:
        owners = {}
        for cluster, phase in stored_phases(cgu.status).items():
            for other in (held.cgu for held in self.cgus.values()):
                older = _age(other) < _age(cgu) or phase in BAD_PHASES
                if other.metadata.name != cgu.metadata.name and older and _claims(other, cluster):
                    owners[cluster] = f"{other.metadata.namespace}/{other.metadata.name}"
                    break
        return owners

    def _blocker(self, name: str) -> Blocker:
        held = self.cgus.get(name)
        status = held.cgu.status if held else CguStatus()
        words = {c.type: c.status for c in status.conditions or ()}
        return Blocker(name, held is not None, words.get("Succeeded", ""))

    def _carry_out(self, held: Held, seen: Snapshot, decision: Decision) -> Outcomes:
        run = run_id(held.cgu.metadata)
        limit = held.cgu.spec.remediation_strategy.timeout * 60
        failed = {}
        for move in decision.moves:
            self._note(seen, move)
            try:
                self.spokes[move.cluster].carry_out(move.effects, run, self.now, limit)
            except EffectFailed as exc:
                failed[move.cluster] = str(exc)
        if self._rng.random() < self.faults.refusing:
            return Outcomes(failed, "placements: 500")
        self._hub_objects(held, decision, clean=not failed)
        return Outcomes(failed)

    def _note(self, seen: Snapshot, move: Move) -> None:
        if not ends(seen, move):
            return
        meta, stored = seen.cgu.metadata, seen.cgu.status.precaching
        self.records[move.cluster] = record_of(
            move,
            spec=(stored.spec if stored else None) or PrecachingSpec(),
            run=run_id(meta),
            cgu="/".join(meta.key),
            now=self.time,
            told=None,
        )

    def _hub_objects(self, held: Held, decision: Decision, *, clean: bool) -> None:
        if decision.placements is not None:
            held.placements = decision.placements
        if decision.drop_placements:
            held.placements = ()
        self._enforce()
        meta = held.cgu.metadata
        if decision.add_finalizer:
            held.cgu = changed(held.cgu, metadata=changed(meta, finalizers=(FINALIZER,)))
        if decision.drop_finalizer and clean:
            del self.cgus[meta.name]

    def _enforce(self) -> None:
        for held in self.cgus.values():
            for wanted in held.placements:
                policy = self.policies[wanted.policy.name]
                for cluster in wanted.clusters:
                    if cluster not in policy.compliant:
                        policy.due.setdefault(cluster, self.now + policy.applies_s)


def _age(cgu: ClusterGroupUpgrade) -> tuple[dt.datetime, str]:
    return (cgu.metadata.creation_timestamp or START, cgu.metadata.uid)


def _claims(cgu: ClusterGroupUpgrade, cluster: str) -> bool:
    phase = stored_phases(cgu.status).get(cluster)
    return phase is not None and phase not in FINAL_PHASES and not is_over(cgu.status)
