"""What is stored of pre-caching while the update runs: how far those are who are asked before their batch.

Everything else of pre-caching is frozen then; its conditions stand, since it was done and is: only how many
clusters it has failed for is said anew when one of a batch could not be verified.  While nobody is asked
nothing here costs anything.
"""

from __future__ import annotations

from talm.api.cgu import CguStatus, PrecachingStatus
from talm.api.meta import changed
from talm.api.words import BAD_PHASES, Phase

from .decide import Decision
from .fleet import settle_phases, stored_phases
from .model import Outcomes, Snapshot
from .settle_clusters import with_clusters
from .story import Precaching, PrecachingVerdict
from .verification import reasons


def settle_asked(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> PrecachingStatus | None:
    """Pre-caching as it is stored next; the stored one itself where nobody is asked."""
    stored, before = seen.cgu.status.precaching, stored_phases(seen.cgu.status)
    asked = decision.verifying_since or (stored.verifying_since if stored is not None else None)
    if stored is None or (asked is None and not decision.moves):
        return stored
    phases = settle_phases(before, (), decision.moves, outcomes.failed)
    if asked is None and phases == before:
        return stored  # the farewell to those who had ended
    block = changed(stored, verifying_since=decision.verifying_since)
    waiting = reasons(seen, phases, "its batch starts")
    return with_clusters(seen, decision, outcomes, block, phases, waiting=waiting)


def left_out(before: CguStatus, after: CguStatus) -> PrecachingVerdict | None:
    """How many clusters pre-caching has failed for, if that may be news; None: what was said stands."""
    block = after.precaching
    if block is None or block is before.precaching:
        return None
    phases = stored_phases(after)
    bad = sum(
        phases.get(cluster, Phase.SUCCEEDED) in BAD_PHASES for cluster in block.clusters or ()
    )
    return PrecachingVerdict(Precaching.PARTIALLY_DONE, bad) if bad else None
