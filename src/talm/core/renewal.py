"""What becomes of the clusters when the specification has changed after some of them have begun.

    nobody has begun         the new one replaces the stored one at once (prepare.py)
    attempts are under way   each keeps what it began with; nobody else begins, the change waits for them
    no attempt is under way  the new one is stored, and whoever began or ended returns to NotStarted

Only before the remediation: from then on nothing is derived any more.  Whoever returns is brought up to
date like a cluster that was never cached; what its node has already is not moved again.
An attempt that nobody can follow is not waited for: its cluster is unavailable, or another CGU's.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

from talm.api.cgu import PrecachingSpec
from talm.api.words import FINAL_PHASES, Phase

from .fleet import FleetDecision, stored_phases, unpinning
from .model import Move, Snapshot
from .precache import BEFORE_SETUP
from .precache_spec import spec_hash

AWAITED_NOTE: Final = (
    "what is to be cached has changed; the attempts under way keep their specification,"
    " then all clusters are brought up to date"
)


class Change(enum.Enum):
    """How a newly derived specification stands to the one that clusters have begun with."""

    NONE = "it asks for the same"
    AWAITED = "it asks for something else, and attempts are under way"
    DUE = "it asks for something else, and nobody need be waited for"


def has_begun(seen: Snapshot) -> bool:
    """True once the stored specification was used for any cluster."""
    return any(phase not in BEFORE_SETUP for phase in stored_phases(seen.cgu.status).values())


def change(
    seen: Snapshot, plan: Iterable[str], stored: PrecachingSpec, derived: PrecachingSpec
) -> Change:
    """Compare what was begun with what is wanted now."""
    if spec_hash(stored) == spec_hash(derived):
        return Change.NONE
    phases = stored_phases(seen.cgu.status)
    under_way = any(_is_under_way(seen, cluster, phases.get(cluster)) for cluster in plan)
    return Change.AWAITED if under_way else Change.DUE


def renew(seen: Snapshot, plan: Iterable[str], fleet: FleetDecision) -> FleetDecision:
    """Send everybody who has begun back to the start; who ended and left the plan is forgotten.

    No effect goes with it: what is left on the hub or the spoke goes with the first step from there;
    but who is forgotten lets go of what is pinned.
    """
    planned = set(plan)
    moves = {
        cluster: Move(cluster, Phase.NOT_STARTED)
        if cluster in planned
        else Move(cluster, None, unpinning(seen, cluster, phase))
        for cluster, phase in stored_phases(seen.cgu.status).items()
        if (cluster in planned and phase not in BEFORE_SETUP) or phase in FINAL_PHASES
    }
    others = tuple(move for move in fleet.moves if move.cluster not in moves)
    return FleetDecision(others + tuple(moves.values()), fleet.complaints, fleet.look_again_after)


def _is_under_way(seen: Snapshot, cluster: str, phase: Phase | None) -> bool:
    if phase is None or phase in BEFORE_SETUP or phase in FINAL_PHASES:
        return False
    known = seen.clusters.get(cluster)
    return known is not None and known.available and cluster not in seen.owners
