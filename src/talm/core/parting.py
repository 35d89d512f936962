"""What takes away what a CGU has left on clusters that it is done with: at its end, or one by one.

    the end or deletion ──► farewell, once
    a removal failed    ──► follow_up, pass for pass: beside pre-caching and the update, and after the end

Deletions are requested, never waited for, with one exception: a CGU that is deleted stays for a while for
clusters that are there and have refused one.
Not here: a cluster that leaves the plan while its CGU goes on (fleet.py).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Final, NamedTuple

from talm.api.words import FINAL_PHASES, Phase

from .fleet import FleetDecision, stored_phases, unpinning
from .model import Effect, Move, Snapshot
from .removal import Removal, Standing

# How long a deleted CGU stays at most for a spoke whose API comes back, and how long its tries are apart.
HELD_FOR: Final = dt.timedelta(minutes=2)
TRIED_AFTER: Final = dt.timedelta(seconds=15)
_FAILED: Final = frozenset({Standing.FAILED, Standing.REPEATED})
_NO_TIME: Final = dt.timedelta()


def farewell(seen: Snapshot) -> tuple[Move, ...]:
    """The end or deletion of the CGU: what is left on each cluster goes, and the pins everywhere.

    Where the Job has succeeded nothing else is left.  A cluster that another CGU owns is the other's
    business but for the pins of one that has ended here; one that is no longer on the hub is nobody's.
    """
    moves = []
    for cluster, phase in stored_phases(seen.cgu.status).items():
        goto = phase if phase in FINAL_PHASES else None
        if cluster not in seen.clusters or (goto is None and cluster in seen.owners):
            continue
        if effects := parting(seen, cluster, phase):
            moves.append(Move(cluster, goto, effects))
    return tuple(moves)


def parting(seen: Snapshot, cluster: str, phase: Phase) -> tuple[Effect, ...]:
    """What takes away all that this CGU has left for one cluster that it is done with."""
    begun = phase is not Phase.NOT_STARTED or cluster in seen.sights
    gone = phase is Phase.SUCCEEDED or cluster in seen.owners or not begun
    removal = () if gone or cluster not in seen.clusters else (Effect.REMOVE,)
    return (*removal, *unpinning(seen, cluster, phase))


def follow_up(seen: Snapshot, fleet: FleetDecision) -> FleetDecision:
    """The decision, and the next step of each removal that has failed.

    The cluster stays in the state that it is in; one that this pass sends elsewhere is cleaned up on its way.
    """
    moves = {move.cluster: move for move in fleet.moves}
    looks = [fleet.look_again_after] if fleet.look_again_after is not None else []
    held = held_for(seen)
    for cluster, found in seen.removals.items():
        move = moves.get(cluster) or Move(cluster, Phase.SUCCEEDED)
        if not _is_ours(seen, cluster) or move.goto is not Phase.SUCCEEDED:
            continue
        step = _give_up(seen, found) if _is_deleted(seen) and cluster not in held else None
        step = step or _next_step(seen, cluster, found)
        if step is None:
            continue
        if step.wait > _NO_TIME:
            looks.append(step.wait)
        else:
            moves[cluster] = replace(move, effects=(step.effect, *move.effects), why=step.why)
    if held:
        looks.append(_time_left(seen))
    return replace(fleet, moves=tuple(moves.values()), look_again_after=min(looks, default=None))


def held_for(seen: Snapshot) -> frozenset[str]:
    """The clusters for which a deleted CGU stays: they are there, and another try is to come or under way."""
    if not _is_deleted(seen) or _time_left(seen) <= _NO_TIME:
        return frozenset()
    return frozenset(
        cluster
        for cluster, found in seen.removals.items()
        if found.standing in _FAILED
        and _is_ours(seen, cluster)
        and seen.clusters[cluster].available
    )


class _Step(NamedTuple):
    """What is asked for, how long from now (zero: now), and why, for the log."""

    effect: Effect
    wait: dt.timedelta = _NO_TIME
    why: str = ""


def _next_step(seen: Snapshot, cluster: str, found: Removal) -> _Step | None:
    """The next step of a removal; whoever is unavailable is not asked again."""
    if found.standing is Standing.DONE:
        return _Step(Effect.FINISH_REMOVAL)
    if found.standing is not Standing.FAILED or not seen.clusters[cluster].available:
        return None
    wait = found.due or _NO_TIME
    if _is_deleted(seen):
        wait = min(wait, max(TRIED_AFTER - found.age, _NO_TIME))
    return _Step(Effect.FINISH_REMOVAL, wait, f"the removal is tried again: {found.note}")


def _give_up(seen: Snapshot, found: Removal) -> _Step | None:
    """What is left on the spoke stays there; what asks about it must not outlive the CGU."""
    if found.standing not in _FAILED | {Standing.GIVEN_UP}:
        return None
    return _Step(
        Effect.WITHDRAW, why=f"the removal is given up, since the CGU is deleted: {found.note}"
    )


def _is_ours(seen: Snapshot, cluster: str) -> bool:
    """One that another CGU has is the other's business, one that is not on the hub is nobody's."""
    return cluster in seen.clusters and cluster not in seen.owners


def _is_deleted(seen: Snapshot) -> bool:
    return seen.cgu.metadata.deletion_timestamp is not None


def _time_left(seen: Snapshot) -> dt.timedelta:
    """How long a deleted CGU may stay yet; a moment far off is one of a clock that was wrong."""
    deleted = seen.cgu.metadata.deletion_timestamp or seen.now
    return HELD_FOR - abs(seen.now - deleted)
