"""Pre-caching of all clusters of a CGU: whose turn it is, which move each makes, who leaves.

One cluster is decided at a time, from what is stored and seen of it alone: a bad one never stops the
others.  Whoever has begun the setup goes on even while the CGU as a whole is held (a policy that
vanished, an unknown cluster): a hold stops what has not begun, and its clock.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from talm.api.cgu import CguStatus, Wait
from talm.api.words import BAD_PHASES, FINAL_PHASES, Phase

from . import clock, precache
from .model import UNSEEN, Cluster, Effect, Move, Snapshot
from .silence import silence, silence_ends, silence_turns
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


# Of the statuses that were read last, the one before and the one after a pass among them: a dozen
# decisions of a pass ask for the same thousands of words.
_READ: Final[deque[tuple[Mapping[str, str], Phases]]] = deque(maxlen=4)


def stored_phases(status: CguStatus) -> Phases:
    """What the status remembers; a word that is no state counts as not started."""
    words = status.precaching.status if status.precaching else None
    if not words:
        return {}
    for known, phases in _READ:
        if known is words:
            return phases
    phases = {c: PHASE_BY_WORD.get(word, Phase.NOT_STARTED) for c, word in words.items()}
    _READ.appendleft((words, phases))
    return phases


def stored_waits(status: CguStatus) -> Mapping[str, Wait]:
    return (status.precaching.waits if status.precaching else None) or {}


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
    look: list[dt.timedelta] = []
    for cluster in planned:
        phase = phases.get(cluster)
        waits = held or cluster in waiting
        if phase is None or phase in FINAL_PHASES or (waits and phase is Phase.NOT_STARTED):
            continue
        clock_of = _clock(seen, cluster, phase)
        step, complaint = _step(seen, cluster, phase, clock_of)
        if complaint:
            complaints[cluster] = complaint
        move = _move(seen, cluster, phase, step, clock_of, enabled=enabled)
        if move is not None and not (waits and _begins_setup(phase, move)):
            moves.append(move)
        look += _looks(seen, cluster, phase, clock_of, held=waits, enabled=enabled)
    if not held:
        gone = phases.keys() - set(planned)
        moves += [_leave(seen, c, phases[c]) for c in sorted(gone) if phases[c] not in FINAL_PHASES]
    return FleetDecision(tuple(moves), complaints, min(look, default=None))


class _Clock(NamedTuple):
    """How a cluster's deadline stands; `speaks`: it is available and not silent."""

    speaks: bool
    spent: dt.timedelta
    limit: dt.timedelta


def _clock(seen: Snapshot, cluster: str, phase: Phase) -> _Clock:
    speaks, until = _heard(seen, cluster)
    wait = stored_waits(seen.cgu.status).get(cluster)
    return _Clock(speaks, clock.spent(wait, until, seen.watched_since), limit_of(seen, phase))


def _step(
    seen: Snapshot, cluster: str, phase: Phase, clock_of: _Clock
) -> tuple[precache.Step, str]:
    """The table's step; a fact that no rule covers keeps the cluster where it is, with a complaint."""
    try:
        step = precache.advance(phase, seen.sights.get(cluster, UNSEEN).fact)
    except precache.ImpossibleFact as exc:
        return precache.Step(phase), str(exc)
    runs = clock_of.speaks and cluster not in seen.owners
    if Effect.DIAGNOSE in step.effects and not runs:
        return precache.Step(phase), ""  # what was seen is old; nobody would answer
    return step, ""


def _begins_setup(phase: Phase, move: Move) -> bool:
    """From here on the specification matters; while the CGU is held there may be none."""
    return phase is Phase.PREPARING and move.goto is Phase.STARTING


def _move(
    seen: Snapshot,
    cluster: str,
    phase: Phase,
    step: precache.Step,
    clock_of: _Clock,
    *,
    enabled: bool,
) -> Move | None:
    """One cluster's move, or None when it waits."""
    if cluster in seen.owners:
        # The older CGU cleans up whatever we have begun; afterwards it is our turn again.
        return None if phase is Phase.NOT_STARTED else Move(cluster, Phase.NOT_STARTED)
    note = seen.sights.get(cluster, UNSEEN).note
    if step.goto in FINAL_PHASES:
        return Move(cluster, step.goto, step.effects, note)
    bad = silence_ends(seen, cluster, enabled=enabled) or precache.ending(
        phase,
        clock_of.spent,
        clock_of.limit,
        seen.clusters.get(cluster) or Cluster(cluster),
        enabled=enabled,
        rules=seen.rules,
        now=seen.now,
        note=note,
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


def limit_of(seen: Snapshot, phase: Phase) -> dt.timedelta:
    """The deadline of the states of this kind."""
    minutes = seen.cgu.spec.remediation_strategy.timeout
    return precache.deadline(phase, seen.rules, _minutes(minutes))


@functools.lru_cache
def _minutes(number: int) -> dt.timedelta:
    return dt.timedelta(minutes=number)


def is_running(seen: Snapshot, cluster: str, phase: Phase, *, held: bool) -> bool:
    """True while the clock of the cluster's deadline runs: whoever is held back loses no time."""
    held_back = cluster in seen.owners or (held and phase in precache.BEFORE_SETUP)
    return not held_back and _heard(seen, cluster)[0]


def _heard(seen: Snapshot, cluster: str) -> tuple[bool, dt.datetime]:
    """Whether the cluster speaks, and up to when its running clock counts: an outage or a silence that is
    noticed late does not."""
    known = seen.clusters.get(cluster)
    if known is None:
        return False, seen.now
    if not known.available:
        return False, seen.now if known.since is None else min(seen.now, known.since)
    quiet = silence(seen, cluster)
    return (True, seen.now) if quiet is None else (False, min(seen.now, quiet.since))


def _looks(
    seen: Snapshot,
    cluster: str,
    phase: Phase,
    clock_of: _Clock,
    *,
    held: bool,
    enabled: bool,
) -> list[dt.timedelta]:
    """When time alone may change what is decided for this cluster; never while another CGU has it."""
    if cluster in seen.owners:
        return []
    known = seen.clusters.get(cluster)
    looks: list[dt.timedelta] = []
    if (turn := silence_turns(seen, cluster, enabled=enabled)) is not None:
        looks.append(turn - seen.now)
    if known is not None and not known.available and enabled and known.since is not None:
        looks.append(known.since + seen.rules.unavailable_grace - seen.now)
    elif clock_of.speaks and not (held and phase in precache.BEFORE_SETUP):
        looks.append(clock_of.limit - clock_of.spent)
    recheck = seen.sights.get(cluster, UNSEEN).recheck
    if looks:
        looks = [max(min(looks), NO_TIME) + JUST_AFTER]
    return looks if recheck is None else [*looks, recheck]


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


def settle_waits(
    seen: Snapshot, phases: Phases, *, held: bool, waiting: frozenset[str] = frozenset()
) -> dict[str, Wait]:
    """The clocks of the open clusters; a new one when the kind of state has changed."""
    before = stored_phases(seen.cgu.status)
    waits = stored_waits(seen.cgu.status)
    after: dict[str, Wait] = {}
    for cluster, phase in phases.items():
        if phase in FINAL_PHASES:
            continue
        old = waits.get(cluster)
        owned = cluster in seen.owners
        if owned or _kind(before.get(cluster, phase)) != _kind(phase):
            old = None
        speaks, until = _heard(seen, cluster)
        held_back = owned or (phase in precache.BEFORE_SETUP and (held or cluster in waiting))
        wait = clock.tick(
            old, running=speaks and not held_back, now=until, watched_since=seen.watched_since
        )
        if wait.spent or wait.since is not None:
            after[cluster] = wait
    return after


def _kind(phase: Phase) -> bool:
    return phase in precache.SETUP_PHASES


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
