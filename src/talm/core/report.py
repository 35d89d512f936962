"""What users are told beside the conditions: why a cluster failed or waits, and events.

`status.precaching.failures` is bounded; counts are in the conditions.  Events come out of the
difference between two statuses and are sent once the newer one is stored.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from talm.api.cgu import CguStatus, PrecachingFailure
from talm.api.meta import Condition, changed
from talm.api.words import BAD_PHASES, FINAL_PHASES, ConditionType, Phase, Reason

from . import causes
from .fleet import Phases, stored_phases
from .happenings import precaching_events
from .hindrances import hindrance, with_known_cause
from .model import UNSEEN, EventNote, Move, Snapshot
from .removal import Standing
from .silence import silence
from .verification import verifying_since

# Reasons of entries that are no end: ours.
OTHER_CGU: Final = "WaitingForOtherCGU"
SPEC_CHANGED: Final = "SpecificationChanged"
SPEC_UNKNOWN: Final = "SpecificationUnknown"
UNAVAILABLE: Final = "ClusterUnavailable"
SILENT: Final = "ClusterSilent"
EFFECT_FAILED: Final = "RequestFailed"
UNEXPECTED: Final = "UnexpectedFact"
REMOVAL_FAILED: Final = "RemovalFailed"
CHANGE_WAITS: Final = (
    "what is to be cached has changed: waiting for the attempts under way on other clusters"
)


def failures(
    seen: Snapshot,
    phases: Phases,
    moves: Iterable[Move],
    failed: Mapping[str, str],
    complaints: Mapping[str, str],
    *,
    waiting: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> tuple[PrecachingFailure, ...]:
    """Why each cluster that failed did, and why others wait; all of them, in any order.

    `waiting`: reason and message of open ones that wait for others (renewal.py) or are asked whether
    everything is still cached (verification.py).  An entry keeps
    its `since` while its reason stays.  `causes.shown` are those that are stored.
    """
    before = (seen.cgu.status.precaching.failures if seen.cgu.status.precaching else None) or ()
    old = {entry.cluster: entry for entry in before}
    ends = {
        m.cluster: with_known_cause(m.why, old.get(m.cluster))
        for m in moves
        if m.goto in BAD_PHASES and m.cluster not in failed
    }
    entries = []
    for cluster, phase in phases.items():
        found = _cause(seen, cluster, phase, failed, complaints)
        if phase is Phase.SUCCEEDED:
            found = _kept(seen, cluster, old.get(cluster))
        if found is None and phase not in FINAL_PHASES:
            found = waiting.get(cluster)
        if phase in BAD_PHASES:
            entries.append(_failed(seen, cluster, phase, ends.get(cluster, ""), old.get(cluster)))
        elif found is not None:
            entries.append(_entry(cluster, *found, old.get(cluster), seen.now))
    return tuple(entries)


def _failed(
    seen: Snapshot, cluster: str, phase: Phase, why: str, old: PrecachingFailure | None
) -> PrecachingFailure:
    """What was told of its end stays as it was told then."""
    if not why and old is not None and old.reason == phase:
        return old
    return causes.ended(cluster, phase, why, seen.sights.get(cluster, UNSEEN), seen.now)


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
    if quiet := silence(seen, cluster):
        return SILENT, quiet.message
    if cluster in complaints:
        return UNEXPECTED, complaints[cluster]
    return hindrance(seen, cluster, phase)


_STILL_OPEN: Final = frozenset({Standing.FAILED, Standing.REPEATED, Standing.GIVEN_UP})
_KEPT: Final = "what pre-caching has left on the cluster could not be removed"


def _kept(seen: Snapshot, cluster: str, old: PrecachingFailure | None) -> tuple[str, str] | None:
    """What could not be removed from a cluster that has succeeded; while it is tried the last words stay."""
    found = seen.removals.get(cluster)
    if found is None or found.standing not in _STILL_OPEN:
        return None
    known = old.message if old is not None and old.reason == REMOVAL_FAILED else _KEPT
    return REMOVAL_FAILED, f"{_KEPT}: {found.note}" if found.note else known


def with_removals(seen: Snapshot, status: CguStatus) -> CguStatus:
    """The status with what could not be removed, while all else in `failures` is frozen."""
    block = status.precaching
    stored = (block.failures if block is not None else None) or ()
    old = {entry.cluster: entry for entry in stored if entry.reason == REMOVAL_FAILED}
    if block is None or not (old or seen.removals):
        return status
    kept = [
        _entry(cluster, *found, old.get(cluster), seen.now)
        for cluster in seen.removals
        if (found := _kept(seen, cluster, old.get(cluster))) is not None
    ]
    others = [entry for entry in stored if entry.reason != REMOVAL_FAILED]
    counts = {w: n for w, n in (block.failures_by_class or {}).items() if w != REMOVAL_FAILED}
    if kept:
        counts[REMOVAL_FAILED] = len(kept)
    told = changed(
        block,
        failures=causes.shown((*others, *kept)) or None,
        failures_by_class=dict(sorted(counts.items())) or None,
    )
    return changed(status, precaching=told)


def _entry(
    cluster: str, reason: str, message: str, old: PrecachingFailure | None, now: dt.datetime
) -> PrecachingFailure:
    since = old.since if old is not None and old.reason == reason else None
    return PrecachingFailure(
        cluster=cluster, reason=reason, message=causes.one_line(message), since=since or now
    )


def events(name: str, before: CguStatus, after: CguStatus) -> tuple[EventNote, ...]:
    """Events of the step from one status to the next: start and end of the CGU and of pre-caching."""
    return (
        *_upgrade_events(name, before, after),
        *_outdated_events(name, before, after),
        *precaching_events(name, before, after),
    )


def _outdated_events(name: str, before: CguStatus, after: CguStatus) -> Iterable[EventNote]:
    """Another specification has taken the place of the one that clusters were cached for."""
    was = stored_phases(before)
    back = sum(
        phase is Phase.NOT_STARTED and was.get(cluster) in FINAL_PHASES
        for cluster, phase in stored_phases(after).items()
    )
    if back and verifying_since(after) is not None and verifying_since(before) is None:
        text = f"{_batch(after)}{back} clusters are asked whether everything is still cached"
        yield EventNote(
            "CguVerifyingCache", "VerifyingCache", f"ClusterGroupUpgrade {name}: {text}"
        )
    elif back:
        text = f"what is to be cached has changed, {back} clusters are brought up to date"
        yield EventNote(
            "CguPrecachingOutdated", "BuildingPrecacheSpec", f"ClusterGroupUpgrade {name}: {text}"
        )


def _batch(status: CguStatus) -> str:
    """Before which batch; "" before the update starts."""
    if status.status is None or not _started(status):
        return ""
    return f"before batch {status.status.current_batch} of {len(status.remediation_plan or ())} starts, "


def _upgrade_events(name: str, before: CguStatus, after: CguStatus) -> Iterable[EventNote]:
    prefix = f"ClusterGroupUpgrade {name}"
    if _started(after) and not _started(before):
        yield EventNote(
            "CguStarted", "RemediationStarted", f"{prefix} started remediating policies"
        )
    if _completed(after) and not _completed(before):
        yield from _end(prefix, after)


def _end(prefix: str, status: CguStatus) -> Iterable[EventNote]:
    """The end as the conditions tell it, in whichever vocabulary; one that is neither has no event."""
    told = {c.type: c for c in status.conditions or ()}
    end = told.get(ConditionType.SUCCEEDED) or told.get(ConditionType.READY) or Condition()
    if end.status == "True":
        yield EventNote(
            "CguSuccess", "RemediationCompleted", f"{prefix} succeeded remediating policies"
        )
    elif end.reason in {Reason.TIMED_OUT, Reason.UPGRADE_TIMED_OUT}:
        text = f"{prefix} timed-out remediating policies"
        yield EventNote("CguTimedout", "RemediationTimeout", text, warning=True)


def _started(status: CguStatus) -> bool:
    return status.status is not None and status.status.started_at is not None


def _completed(status: CguStatus) -> bool:
    return status.status is not None and status.status.completed_at is not None
