"""Events of pre-caching: it starts, clusters fail, it ends; told by the step from one status to the next.

A fleet of thousands must not become thousands of events.  The first clusters that fail are each named, with
the cause; of more only the classes are told, in words that stay the same, so that what happens again and
again counts up one event (kube/events.py).  The status names more and counts all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from talm.api.cgu import CguStatus, PrecachingStatus
from talm.api.words import BAD_PHASES, Phase

from .causes import FAILED_WORDS
from .fleet import stored_phases, verdict
from .model import EventNote
from .story import Precaching, PrecachingVerdict

# With more of them the list in the status is the better one to read.
MOST_NAMED: Final = 10
NOTHING: Final = PrecachingStatus()


def precaching_events(name: str, before: CguStatus, after: CguStatus) -> Iterable[EventNote]:
    """What has happened to pre-caching, told by the states: conditions differ with the vocabulary."""
    if (before.precaching or NOTHING).status == (after.precaching or NOTHING).status:
        return
    prefix = f"ClusterGroupUpgrade {name}: pre-caching"
    yield from _start(prefix, before, after)
    yield from _failed_clusters(prefix, before, after)
    yield from _end(prefix, before, after)


def _start(prefix: str, before: CguStatus, after: CguStatus) -> Iterable[EventNote]:
    """The first cluster leaves NotStarted, at first and whenever all of them had returned there."""
    if _has_begun(before) or not _has_begun(after):
        return
    clusters = len(stored_phases(after))
    again = after.precaching.attempt if after.precaching is not None else 0
    text = f"{prefix} started on {_clusters(clusters)}" + (
        f" (attempt {again})" if again > 1 else ""
    )
    yield EventNote("CguPrecachingStarted", "PrecachingStarted", text)


def _has_begun(status: CguStatus) -> bool:
    return any(phase is not Phase.NOT_STARTED for phase in stored_phases(status).values())


def _failed_clusters(prefix: str, before: CguStatus, after: CguStatus) -> Iterable[EventNote]:
    was, now = stored_phases(before), stored_phases(after)
    bad = [cluster for cluster, phase in now.items() if phase in BAD_PHASES]
    new = [cluster for cluster in bad if was.get(cluster) not in BAD_PHASES]
    if len(bad) <= MOST_NAMED:
        told = {entry.cluster: entry for entry in (after.precaching or NOTHING).failures or ()}
        for cluster in new:
            cause = told[cluster].message if cluster in told else ""
            yield _failure(f"{prefix} failed on {cluster}: {cause or now[cluster]}", cluster)
        return
    for word in _words(before, after) if new else ():
        yield _failure(
            f"{prefix} fails on more clusters: {word}; status.precaching.failures names clusters"
        )


def _words(before: CguStatus, after: CguStatus) -> list[str]:
    """The classes for which more have failed."""
    was, now = (Counter((s.precaching or NOTHING).failures_by_class) for s in (before, after))
    return sorted(word for word in now - was if word in FAILED_WORDS)


def _failure(note: str, cluster: str = "") -> EventNote:
    return EventNote(
        "CguPrecachingClusterFailed", "PrecachingFailed", note, warning=True, cluster=cluster
    )


def _end(prefix: str, before: CguStatus, after: CguStatus) -> Iterable[EventNote]:
    if before.status is not None and before.status.started_at is not None:
        return  # it was told before the update; who fails before its batch is named
    told, was = _verdict(after), _verdict(before)
    if told is None or (was is not None and was.kind is told.kind):
        return
    done = "PrecachingCompleted"
    match told.kind:
        case Precaching.COMPLETED:
            yield EventNote("CguPrecachingCompleted", done, f"{prefix} completed on all clusters")
        case Precaching.PARTIALLY_DONE:
            text = f"{prefix} failed on {_clusters(told.count)}"
            yield EventNote("CguPrecachingPartiallyDone", done, text, warning=True)
        case Precaching.FAILED:
            text = f"{prefix} failed on all clusters"
            yield EventNote("CguPrecachingFailed", done, text, warning=True)
        case Precaching.IN_PROGRESS:
            pass


def _verdict(status: CguStatus) -> PrecachingVerdict | None:
    plan = status.precaching.clusters if status.precaching else None
    return verdict(stored_phases(status), plan) if plan else None


def _clusters(count: int) -> str:
    return f"{count} cluster{'' if count == 1 else 's'}"
