"""Pre-caching of all clusters of a CGU: whose turn it is, which move each makes, who leaves.

One cluster is decided at a time, from what is stored and seen of it alone: a bad one never stops the
others.  Whoever has begun the setup goes on even while the CGU as a whole is held (a policy that
vanished, an unknown cluster): a hold stops what has not begun, and its clock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from talm.api.cgu import CguStatus
from talm.api.words import BAD_PHASES, FINAL_PHASES, Phase

from . import clock, precache
from .deadlines import heard, is_held_back, limit_of, stored_clocks
from .lately import Lately
from .model import UNSEEN, Cluster, Effect, Move, Sight, Snapshot
from .silence import silence_ends, silence_turns
from .story import Precaching, PrecachingVerdict

Phases = Mapping[str, Phase]
PHASE_BY_WORD: Final = {phase.value: phase for phase in Phase}
# Times are kept in whole seconds: a deadline has passed for certain one second later.
JUST_AFTER: Final = dt.timedelta(seconds=1)
NO_TIME: Final = dt.timedelta()


@dataclass(frozen=True, slots=True)
class FleetDecision:
    """The moves of this pass, facts that no rule covers, and when looking again may tell more."""

    moves: tuple[Move, ...] = ()
    complaints: Mapping[str, str] = field(default_factory=dict)
    look_again_after: dt.timedelta | None = None


def stored_phases(status: CguStatus) -> Phases:
    """What the status remembers; a word that is no state counts as not started."""
    words = status.precaching.status if status.precaching else None
    return _read(words) if words else {}


@Lately
def _read(words: Mapping[str, str]) -> Phases:
    return {c: PHASE_BY_WORD.get(word, Phase.NOT_STARTED) for c, word in words.items()}


def decide_fleet(
    seen: Snapshot,
    plan: Iterable[str],
    *,
    held: bool,
    enabled: bool,
    waiting: frozenset[str] = frozenset(),
) -> FleetDecision:
    """Advance every cluster of the plan by one step; those that left the plan are cleaned up.

    A cluster leaves NotStarted only when that state is stored: it is the CGU's claim on the cluster
    (see `Snapshot.owners`).  `held`: nothing new begins; what is being cleaned up ends there.  So it is
    for those who are `waiting`.
    """
    phases = stored_phases(seen.cgu.status)
    planned = tuple(plan)
    moves: list[Move] = []
    complaints: dict[str, str] = {}
    looks: list[dt.timedelta] = []
    for cluster in planned:
        phase = phases.get(cluster)
        waits = held or cluster in waiting
        if phase is None or phase in FINAL_PHASES or (waits and phase is Phase.NOT_STARTED):
            continue
        case = _case(seen, cluster, phase, held=waits)
        step, complaint = _step(case)
        if complaint:
            complaints[cluster] = complaint
        move = _move(seen, case, step, enabled=enabled)
        if move is not None and not (waits and _begins_setup(phase, move)):
            moves.append(move)
        if (look := _look(seen, case, enabled=enabled)) is not None:
            looks.append(look)
    if not held:
        gone = phases.keys() - set(planned)
        moves += [_leave(seen, c, phases[c]) for c in sorted(gone) if phases[c] not in FINAL_PHASES]
    return FleetDecision(tuple(moves), complaints, min(looks, default=None))


class _Case(NamedTuple):
    """One open cluster as it stands in this pass.

    `known` None: the hub has it no longer.  `owned`: another CGU has it; `held_back`: for this or another
    reason nothing begins there, and its clock stands still.  `speaks`: it is available and not silent.
    """

    cluster: str
    phase: Phase
    sight: Sight
    known: Cluster | None
    owned: bool
    held_back: bool
    speaks: bool
    spent: dt.timedelta
    limit: dt.timedelta


def _case(seen: Snapshot, cluster: str, phase: Phase, *, held: bool) -> _Case:
    known = seen.clusters.get(cluster)
    speaks, until = heard(seen, cluster)
    stored = stored_clocks(seen.cgu.status).get(cluster)
    return _Case(
        cluster,
        phase,
        seen.sights.get(cluster, UNSEEN),
        known,
        owned=cluster in seen.owners,
        held_back=is_held_back(seen, cluster, phase, held=held),
        speaks=speaks,
        spent=clock.spent(stored, until, seen.watched_since),
        limit=limit_of(seen, phase),
    )


def _step(case: _Case) -> tuple[precache.Step, str]:
    """The table's step; a fact that no rule covers keeps the cluster where it is, with a complaint."""
    try:
        step = precache.advance(case.phase, case.sight.fact)
    except precache.ImpossibleFact as exc:
        return precache.Step(case.phase), str(exc)
    if Effect.DIAGNOSE in step.effects and (case.owned or not case.speaks):
        return precache.Step(case.phase), ""  # what was seen is old; nobody would answer
    return step, ""


def _begins_setup(phase: Phase, move: Move) -> bool:
    """From here on the specification matters; while the CGU is held there may be none."""
    return phase is Phase.PREPARING and move.goto is Phase.STARTING


def _move(seen: Snapshot, case: _Case, step: precache.Step, *, enabled: bool) -> Move | None:
    """One cluster's move, or None when it waits."""
    cluster, phase = case.cluster, case.phase
    if case.owned:
        # The older CGU cleans up whatever we have begun; afterwards it is our turn again.
        return None if phase is Phase.NOT_STARTED else Move(cluster, Phase.NOT_STARTED)
    if step.goto in FINAL_PHASES:
        return Move(cluster, step.goto, step.effects, case.sight.note)
    bad = silence_ends(seen, cluster, enabled=enabled) or precache.ending(
        phase,
        case.spent,
        case.limit,
        case.known or Cluster(cluster),
        enabled=enabled,
        rules=seen.rules,
        now=seen.now,
        note=case.sight.note,
    )
    if bad is not None:
        return Move(cluster, bad.phase, (Effect.WITHDRAW,), bad.why)
    if step.goto is phase and not step.effects:
        return None
    return Move(cluster, step.goto, step.effects)


def _leave(seen: Snapshot, cluster: str, phase: Phase) -> Move:
    """Forget a cluster that is open and no longer planned; what was begun there is taken away."""
    begun = phase is not Phase.NOT_STARTED and cluster not in seen.owners
    if not begun or cluster not in seen.clusters:
        return Move(cluster, None)
    return Move(cluster, None, (Effect.REMOVE, *unpinning(seen, cluster, phase)))


def unpinning(seen: Snapshot, cluster: str, phase: Phase) -> tuple[Effect, ...]:
    """What has a cluster that this CGU is done with let go of the images that it may have pinned.

    Judged by how far it came, since a record of the workload may never have arrived.  Pins carry the
    run: where another CGU has pinned since, the request finds nothing to do.
    """
    may_have_pinned = seen.rules.unpins and phase not in precache.BEFORE_SETUP
    return (Effect.UNPIN,) if may_have_pinned and cluster in seen.clusters else ()


def _look(seen: Snapshot, case: _Case, *, enabled: bool) -> dt.timedelta | None:
    """When time alone may change what is decided for this cluster; never while another CGU has it."""
    if case.owned:
        return None
    known, soonest = case.known, case.sight.recheck
    if (turn := silence_turns(seen, case.cluster, enabled=enabled)) is not None:
        soonest = _sooner(soonest, turn - seen.now)
    if known is not None and not known.available and enabled and known.since is not None:
        return _sooner(soonest, known.since + seen.rules.unavailable_grace - seen.now)
    if case.speaks and not case.held_back:
        return _sooner(soonest, case.limit - case.spent)
    return soonest


def _sooner(found: dt.timedelta | None, left: dt.timedelta) -> dt.timedelta:
    """The sooner one, where `left` is until a moment whose time is kept in whole seconds."""
    left = (left if left > NO_TIME else NO_TIME) + JUST_AFTER
    return left if found is None or left < found else found


def settle_phases(
    stored: Phases, plan: Iterable[str], moves: Iterable[Move], failed: Mapping[str, str]
) -> dict[str, Phase]:
    """What is stored next: the stored phases, those new in the plan, and the moves that were made."""
    phases = dict(stored)
    for cluster in plan:
        phases.setdefault(cluster, Phase.NOT_STARTED)
    for move in moves:
        if move.cluster in failed:
            continue
        if move.goto is None:
            phases.pop(move.cluster, None)
        else:
            phases[move.cluster] = move.goto
    return phases


def verdict(phases: Phases, plan: Iterable[str]) -> PrecachingVerdict:
    """All clusters of the plan together.  The plan is not empty."""
    planned = [phases.get(cluster, Phase.NOT_STARTED) for cluster in plan]
    still_open = sum(phase not in FINAL_PHASES for phase in planned)
    bad = sum(phase in BAD_PHASES for phase in planned)
    if still_open:
        return PrecachingVerdict(Precaching.IN_PROGRESS, still_open)
    if not bad:
        return PrecachingVerdict(Precaching.COMPLETED)
    if bad == len(planned):
        return PrecachingVerdict(Precaching.FAILED, bad)
    return PrecachingVerdict(Precaching.PARTIALLY_DONE, bad)
