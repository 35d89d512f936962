"""What users are told beside the conditions: why a cluster failed or waits, and events.

`status.precaching.failures` is bounded; counts are in the conditions.  Events come out of the
difference between two statuses and are sent once the newer one is stored.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final

from talm.api.cgu import CguStatus, PrecachingFailure
from talm.api.words import BAD_PHASES, FINAL_PHASES, ClusterOutcome, Phase

from .fleet import Phases
from .model import EventNote, Move, Snapshot
from .story import Precaching, PrecachingVerdict

MAX_FAILURES: Final = 100

# Reasons of entries that are no end: ours.
OTHER_CGU: Final = "WaitingForOtherCGU"
UNAVAILABLE: Final = "ClusterUnavailable"
EFFECT_FAILED: Final = "RequestFailed"
UNEXPECTED: Final = "UnexpectedFact"


def failures(
    seen: Snapshot,
    phases: Phases,
    moves: Iterable[Move],
    failed: Mapping[str, str],
    complaints: Mapping[str, str],
) -> tuple[PrecachingFailure, ...]:
    """Why each cluster that failed did, and why others wait; sorted by cluster, at most 100.

    An entry keeps its `since` while its reason stays.  What failed goes before what merely waits when
    there are too many.
    """
    before = (seen.cgu.status.precaching.failures if seen.cgu.status.precaching else None) or ()
    old = {entry.cluster: entry for entry in before}
    ends = {m.cluster: m.why for m in moves if m.goto in BAD_PHASES and m.cluster not in failed}
    entries = []
    for cluster, phase in phases.items():
        found = _cause(seen, cluster, phase, failed, complaints)
        if phase in BAD_PHASES:
            known = old.get(cluster)
            kept = known.message if known is not None and known.reason == phase else ""
            found = (phase.value, ends.get(cluster) or kept)
        if found is not None:
            entries.append(_entry(cluster, *found, old.get(cluster), seen.now))
    entries.sort(key=lambda entry: (entry.reason not in BAD_PHASES, entry.cluster))
    return tuple(sorted(entries[:MAX_FAILURES], key=lambda entry: entry.cluster))


def _cause(
    seen: Snapshot,
    cluster: str,
    phase: Phase,
    failed: Mapping[str, str],
    complaints: Mapping[str, str],
) -> tuple[str, str] | None:
    """Why an open cluster does not get on, if something outside its ordinary course is in the way."""
    if phase in FINAL_PHASES:
        return None
    if owner := seen.owners.get(cluster):
        return OTHER_CGU, f"waiting for {owner}"
    known = seen.clusters.get(cluster)
    if known is not None and not known.available and known.since is not None:
        return UNAVAILABLE, f"unavailable since {known.since:%Y-%m-%dT%H:%M:%SZ}"
    if cluster in failed:
        return EFFECT_FAILED, failed[cluster]
    if cluster in complaints:
        return UNEXPECTED, complaints[cluster]
    return None


def _entry(
    cluster: str, reason: str, message: str, old: PrecachingFailure | None, now: dt.datetime
) -> PrecachingFailure:
    since = old.since if old is not None and old.reason == reason else None
    return PrecachingFailure(cluster=cluster, reason=reason, message=message, since=since or now)


def events(
    name: str, before: CguStatus, after: CguStatus, verdict: PrecachingVerdict | None
) -> tuple[EventNote, ...]:
    """Events of the step from one status to the next: start and end of the CGU and of pre-caching."""
    notes = [*_upgrade_events(name, before, after)]
    was = {c.type: c.reason for c in before.conditions or ()}
    if verdict is not None and verdict.kind is not Precaching.IN_PROGRESS:
        now_reason = next(
            (c.reason for c in after.conditions or () if c.type == "PrecachingSuceeded"), ""
        )
        if now_reason and was.get("PrecachingSuceeded") != now_reason:
            notes.append(_precaching_event(name, verdict))
    return tuple(notes)


def _precaching_event(name: str, verdict: PrecachingVerdict) -> EventNote:
    text = {
        Precaching.COMPLETED: "pre-caching completed on all clusters",
        Precaching.PARTIALLY_DONE: f"pre-caching failed on {verdict.count} clusters",
        Precaching.FAILED: "pre-caching failed on all clusters",
        Precaching.IN_PROGRESS: "pre-caching started",
    }[verdict.kind]
    bad = verdict.kind in {Precaching.PARTIALLY_DONE, Precaching.FAILED}
    return EventNote(
        reason="CguPrecachingFailed" if bad else "CguPrecachingCompleted",
        action="PrecachingCompleted",
        note=f"ClusterGroupUpgrade {name}: {text}",
        warning=bad,
    )


def _upgrade_events(name: str, before: CguStatus, after: CguStatus) -> Iterable[EventNote]:
    prefix = f"ClusterGroupUpgrade {name}"
    if _started(after) and not _started(before):
        yield EventNote(
            "CguStarted", "RemediationStarted", f"{prefix} started remediating policies"
        )
    if _completed(after) and not _completed(before):
        late = any(s.state == ClusterOutcome.TIMED_OUT for s in after.clusters or ())
        succeeded = _status_of(after, "Succeeded") or _status_of(after, "Ready")
        if succeeded == "True":
            yield EventNote(
                "CguSuccess", "RemediationCompleted", f"{prefix} succeeded remediating policies"
            )
        elif late:
            text = f"{prefix} timed-out remediating policies"
            yield EventNote("CguTimedout", "RemediationTimeout", text, warning=True)


def _status_of(status: CguStatus, kind: str) -> str:
    return next((c.status for c in status.conditions or () if c.type == kind), "")


def _started(status: CguStatus) -> bool:
    return status.status is not None and status.status.started_at is not None


def _completed(status: CguStatus) -> bool:
    return status.status is not None and status.status.completed_at is not None
