"""What becomes of the clusters when what is asked of them has changed after some have begun.

    nobody has begun            the new specifications replace the stored ones at once (prepare.py)
    a cluster is outdated       it has begun with, or is cached for, another one than it is asked for now
    outdated ones are at work   each keeps what it began with; the change waits for them, and whoever is
                                asked for something that is not stored yet waits with it
    none of them is             the new ones are stored, and whoever is outdated returns to NotStarted

Everybody else goes on.  Only before the remediation: from then on nothing is derived any more.  Whoever
returns is brought up to date like a cluster that was never cached; what its node has already is not moved
again.  An attempt that nobody can follow is not waited for: its cluster is unavailable, silent, or another
CGU's.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from talm.api.words import FINAL_PHASES, Phase

from .deadlines import is_running
from .fleet import FleetDecision, Phases, stored_phases
from .model import Move, Snapshot
from .parting import parting
from .precache import BEFORE_SETUP
from .specifications import Specifications
from .verification import verifying_since

AWAITED_NOTE: Final = (
    "what is to be cached has changed; the attempts under way keep their specification,"
    " then the clusters that it concerns are brought up to date"
)


class Change(enum.Enum):
    """How what is asked of the clusters now stands to what they have begun with."""

    NONE = "everybody is asked for what it has begun with"
    AWAITED = "somebody is asked for something else, and its attempt is under way"
    DUE = "somebody is asked for something else, and nobody need be waited for"


@dataclass(frozen=True, slots=True)
class Renewal:
    """The change, and every cluster's own specification once this pass is stored.

    `outdated` return to the start when the change is due; `forgotten` are cached for what nobody is
    asked for any more, and have left the plan; `waiting` may not begin yet.  `unknown` says why nothing
    can be derived now, "" when it can or the answer is on its way.
    """

    change: Change
    specs: Specifications
    outdated: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    unknown: str = ""


def has_begun(seen: Snapshot) -> bool:
    """True once a stored specification was used for any cluster.

    It was, too, where all are asked whether that is still cached.
    """
    if verifying_since(seen.cgu.status) is not None:
        return True
    return any(phase not in BEFORE_SETUP for phase in stored_phases(seen.cgu.status).values())


def renewal(
    seen: Snapshot, plan: Iterable[str], stored: Specifications, derived: Specifications
) -> Renewal:
    """Compare what was begun with what is wanted now; linear in clusters, and cheap when all agree."""
    if stored.common == derived.common and not (stored.of or derived.of):
        return Renewal(Change.NONE, stored)
    phases = stored_phases(seen.cgu.status)
    begun = {cluster for cluster, phase in phases.items() if phase not in BEFORE_SETUP}
    planned = frozenset(plan)
    outdated = frozenset(c for c in begun & planned if stored.hash_of(c) != derived.hash_of(c))
    kept = {cluster: stored.hash_of(cluster) for cluster in begun}
    if any(_is_under_way(seen, cluster, phases[cluster]) for cluster in outdated):
        asked = {c: name for c in planned - begun if (name := derived.hash_of(c)) in stored.by_hash}
        waiting = planned - begun - asked.keys()
        specs = _together(stored.common, kept | asked, stored, derived)
        return Renewal(Change.AWAITED, specs, outdated, waiting=waiting)
    asked = {cluster: derived.hash_of(cluster) for cluster in planned - begun | outdated}
    specs = _together(derived.common, kept | asked, stored, derived)
    if not outdated:
        return Renewal(Change.NONE, specs)
    return Renewal(Change.DUE, specs, outdated, _forgotten(phases, planned, kept, derived))


def go_on(seen: Snapshot, plan: Iterable[str], stored: Specifications, why: str = "") -> Renewal:
    """What holds while nothing can be derived: who has begun goes on.

    Where all agreed so far whoever has not begun is taken to agree, too: a flaky update graph must not
    hold a fleet.  Where they did not nobody knows what to give it.
    """
    if not stored.of and len(stored.by_hash) == 1:
        return Renewal(Change.NONE, stored)
    phases = stored_phases(seen.cgu.status)
    waiting = frozenset(c for c in plan if phases.get(c, Phase.NOT_STARTED) in BEFORE_SETUP)
    return Renewal(Change.NONE, stored, waiting=waiting, unknown=why)


def renew(seen: Snapshot, found: Renewal, fleet: FleetDecision) -> FleetDecision:
    """Send whoever is outdated back to the start; who is cached for nothing that is asked is forgotten.

    No effect goes with the return: what is left on the hub or the spoke goes with the first step from
    there.  From whoever is forgotten it is taken away now: no farewell will know of it.
    """
    phases = stored_phases(seen.cgu.status)
    moves = {c: Move(c, Phase.NOT_STARTED) for c in sorted(found.outdated)}
    moves |= {c: Move(c, None, parting(seen, c, phases[c])) for c in sorted(found.forgotten)}
    others = tuple(move for move in fleet.moves if move.cluster not in moves)
    return FleetDecision(others + tuple(moves.values()), fleet.complaints, fleet.look_again_after)


def _together(
    common: str, own: dict[str, str], stored: Specifications, derived: Specifications
) -> Specifications:
    """The stored text of a specification stays in place of a newer one that says the same."""
    by_hash = {**derived.by_hash, **stored.by_hash}
    used = {name: by_hash[name] for name in {common, *own.values()}}
    return Specifications(common, used, {c: name for c, name in own.items() if name != common})


def _forgotten(
    phases: Phases, planned: frozenset[str], kept: dict[str, str], derived: Specifications
) -> frozenset[str]:
    return frozenset(
        cluster
        for cluster, phase in phases.items()
        if phase in FINAL_PHASES and cluster not in planned and kept[cluster] not in derived.by_hash
    )


def _is_under_way(seen: Snapshot, cluster: str, phase: Phase) -> bool:
    """An attempt whose clock stands still might be waited for without end."""
    return phase not in FINAL_PHASES and is_running(seen, cluster, phase, held=False)
