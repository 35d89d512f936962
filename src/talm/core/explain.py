"""Whom or what a CGU waits for, since when, until when, and what to do about it.

    a Snapshot, as far as the asker may read ──► explain_cgu, explain_cluster ──► Explanation

The operator's own reasoning is read back, not repeated: the conditions, in either vocabulary, say which
gate is closed.  Advice is in `advice.py`, single clusters are in `explain_cluster.py`.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from talm.api.cgu import CguStatus
from talm.api.meta import Condition
from talm.api.words import FINAL_PHASES, FINALIZER, ConditionType, Reason, RemediationState

from . import advice
from .decide import has_succeeded_condition, is_over, stored_course
from .fleet import stored_phases
from .model import Snapshot
from .phrases import first_few
from .plan import batch_deadline
from .report import REMOVAL_FAILED
from .rollout import Course
from .turns import answer_by, awaited_now, waits_for
from .verification import verifying_since


class Situation(enum.StrEnum):
    """Where a CGU is, in one word for a column."""

    UNSEEN = "Unseen"  # no operator has looked at it
    HELD = "Held"  # something in its specification must be mended
    PRECACHING = "PreCaching"
    WAITING = "Waiting"  # at a gate before the update
    UPDATING = "Updating"
    COMPLETED = "Completed"
    TIMED_OUT = "TimedOut"
    FAILED = "Failed"
    DELETING = "Deleting"


@dataclass(frozen=True, slots=True)
class Explanation:
    """`waits_for` completes "waits for ..."; `do` is advice.

    `seen` is what was seen last, in a sentence.  `since` None: not known.  `until` None: no deadline runs;
    else `then` says what happens at it.
    """

    waits_for: str
    do: str
    seen: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    then: str = ""


@dataclass(frozen=True, slots=True)
class CguExplanation:
    """A CGU's situation, and what it waits for in it."""

    situation: Situation
    why: Explanation


# ---- the CGU -----------------------------------------------------------------------------------------

_GATES: Final = {
    Reason.NOT_ENABLED: "you to enable it (enable: true)",
    Reason.MISSING_BLOCKING_CR: "CGUs in blockingCRs that do not exist",
    Reason.INCOMPLETE_BLOCKING_CR: "CGUs in blockingCRs that have not completed",
    Reason.UNSUPPORTED: "you to change the spec",
}
_HOLDS: Final = {
    Reason.CLUSTER_NOT_FOUND: "you to correct the selection of clusters",
    Reason.NOT_ALL_MANAGED_POLICIES_EXIST: "managed policies that can be used",
    Reason.AMBIGUOUS_POLICY_NAMES: "names of managed policies that are unique",
    Reason.INVALID_PLATFORM_IMAGE: "a release that the managed policies agree on",
    Reason.UNRESOLVABLE_DEPENDENCY: "managed policies in an order that works",
    Reason.UNSUPPORTED: "you to change the spec",
    Reason.SPEC_INCOMPLETE: "a valid specification of what to pre-cache",
}
# The manual's vocabulary has one reason for all of them; its message tells which.
_IN_READY: Final = (
    ("Unable to select clusters", Reason.CLUSTER_NOT_FOUND),
    ("managed policies: ", Reason.NOT_ALL_MANAGED_POLICIES_EXIST),
    ("should be unique", Reason.AMBIGUOUS_POLICY_NAMES),
    ("to be remediated later", Reason.UNRESOLVABLE_DEPENDENCY),
    ("not supported by this version", Reason.UNSUPPORTED),
    ("blocking CRs that are missing", Reason.MISSING_BLOCKING_CR),
    ("is blocked by other CRs", Reason.INCOMPLETE_BLOCKING_CR),
    ("is not enabled", Reason.NOT_ENABLED),
)
_JUDGES: Final = (
    ConditionType.CLUSTERS_SELECTED,
    ConditionType.VALIDATED,
    ConditionType.PRECACHE_SPEC_VALID,
)
_NOBODY: Final = "nobody: it is over"


def explain_cgu(seen: Snapshot) -> CguExplanation:
    """Say where the CGU is and what keeps it there; conditions of either vocabulary are understood."""
    told = _cgu(seen)
    return CguExplanation(told.situation, filled(told.why, seen))


def filled(why: Explanation, seen: Snapshot, cluster: str = "CLUSTER") -> Explanation:
    """With the names in the advice."""
    meta = seen.cgu.metadata
    names = {"{cgu}": meta.name, "{namespace}": meta.namespace, "{cluster}": cluster}
    do = why.do
    for mark, name in names.items():
        do = do.replace(mark, name)
    return replace(why, do=do)


def _cgu(seen: Snapshot) -> CguExplanation:
    meta, status = seen.cgu.metadata, seen.cgu.status
    told = {c.type: c for c in status.conditions or ()}
    if meta.deletion_timestamp is not None:
        waits = "the operator to take away what is left on the clusters"
        kept = _kept_for(status)
        why = Explanation(waits, advice.DELETING, seen=kept, since=meta.deletion_timestamp)
        return CguExplanation(Situation.DELETING, why)
    if is_over(status) or has_succeeded_condition(status):
        return _ended(status, told)
    if not told and FINALIZER not in (meta.finalizers or ()):
        why = Explanation("an operator", advice.UNSEEN, since=meta.creation_timestamp)
        return CguExplanation(Situation.UNSEEN, why)
    course = stored_course(status)
    if course is not None:
        return CguExplanation(Situation.UPDATING, _updating(seen, course, told))
    held = _hold(told)
    if held is not None:
        return CguExplanation(Situation.HELD, held)
    return _precaching(seen) or _at_a_gate(told)


def _kept_for(status: CguStatus) -> str:
    """Whose removals keep a deleted CGU, for some minutes at most; the advice names the operator."""
    found = (status.precaching.failures if status.precaching else None) or ()
    left = [entry.cluster for entry in found if entry.reason == REMOVAL_FAILED]
    if not left:
        return ""
    return (
        f"what is left on {first_few(left)} could not be removed yet:"
        " it is tried again for two minutes at most"
    )


def _ended(status: CguStatus, told: Mapping[str, Condition]) -> CguExplanation:
    end = told.get(ConditionType.SUCCEEDED) or told.get(ConditionType.READY) or Condition()
    ended = status.status.completed_at if status.status else None
    good = end.status == "True"
    do = advice.COMPLETED if good else advice.ENDED_BADLY
    why = Explanation(_NOBODY, do, seen=end.message, since=ended or end.last_transition_time)
    if good:
        return CguExplanation(Situation.COMPLETED, why)
    late = end.reason in {Reason.TIMED_OUT, Reason.UPGRADE_TIMED_OUT}
    return CguExplanation(Situation.TIMED_OUT if late else Situation.FAILED, why)


def _hold(told: Mapping[str, Condition]) -> Explanation | None:
    """The first judgement that is False; in the manual's words `Ready` tells of the same."""
    for kind in _JUDGES:
        found = told.get(kind)
        if found is not None and found.status == "False":
            return _by_condition(found, _HOLDS, found.reason)
    ready = told.get(ConditionType.READY)
    if ready is None or ready.reason != Reason.UPGRADE_CANNOT_START:
        return None
    reason = _reason_in(ready.message) or Reason.INVALID_PLATFORM_IMAGE
    blocked = reason in {Reason.MISSING_BLOCKING_CR, Reason.INCOMPLETE_BLOCKING_CR}
    return None if blocked else _by_condition(ready, _HOLDS, reason)


def _reason_in(message: str) -> Reason | None:
    return next((reason for fragment, reason in _IN_READY if fragment in message), None)


def _by_condition(found: Condition, waits: Mapping[Reason, str], reason: str) -> Explanation:
    if reason == Reason.SPEC_IS_INCOMPLETE:
        reason = Reason.SPEC_INCOMPLETE
    return Explanation(
        {key.value: text for key, text in waits.items()}.get(reason, "you to mend what is wrong"),
        advice.BY_REASON.get(reason, advice.ANY_CONDITION),
        seen=found.message.strip(),
        since=found.last_transition_time,
    )


def _precaching(seen: Snapshot) -> CguExplanation | None:
    """Pre-caching that is not over; None when it is, or was not asked for."""
    if not seen.cgu.spec.pre_caching:
        return None
    phases = stored_phases(seen.cgu.status)
    left = sum(phase not in FINAL_PHASES for phase in phases.values())
    if phases and not left:
        return None
    waits = f"{left} of {len(phases)} clusters to be pre-cached" if phases else "the operator"
    since = _condition_time(seen.cgu.status, ConditionType.PRECACHE_SPEC_VALID)
    why = Explanation(waits, advice.PRECACHING if phases else advice.OPERATOR, since=since)
    return CguExplanation(Situation.PRECACHING, why)


def _condition_time(status: CguStatus, kind: ConditionType) -> dt.datetime | None:
    found = (c.last_transition_time for c in status.conditions or () if c.type == kind)
    return next(found, None)


def _at_a_gate(told: Mapping[str, Condition]) -> CguExplanation:
    """Nothing is left but the gates of the update; the next pass opens what is open."""
    found = told.get(ConditionType.PROGRESSING)
    if found is not None and found.status == "False":
        return CguExplanation(Situation.WAITING, _by_condition(found, _GATES, found.reason))
    ready = told.get(ConditionType.READY)
    reason = _reason_in(ready.message) if ready is not None else None
    if ready is not None and reason is not None:
        return CguExplanation(Situation.WAITING, _by_condition(ready, _GATES, reason))
    return CguExplanation(Situation.WAITING, Explanation("the operator", advice.OPERATOR))


def _updating(seen: Snapshot, course: Course, told: Mapping[str, Condition]) -> Explanation:
    total = dt.timedelta(minutes=seen.cgu.spec.remediation_strategy.timeout)
    end = course.started_at + total
    began = course.batch_started_at or course.started_at
    left = max(len(course.plan) - (course.batch - 1), 1)
    until = min(end, batch_deadline(course.started_at, began, left, total))
    progressing = told.get(ConditionType.PROGRESSING)
    if progressing is not None and progressing.reason == Reason.WAITING_FOR_PLACEMENT:
        text = progressing.message
        do = advice.BY_REASON[Reason.WAITING_FOR_PLACEMENT]
        return Explanation("its Placements", do, text, progressing.last_transition_time, end, "")
    if awaited := awaited_now(course, stored_phases(seen.cgu.status)):
        return _verifying(seen, course, awaited, end)
    count = sum(not _is_compliant(course, cluster) for cluster in course.current)
    return Explanation(
        f"{count} cluster{'' if count == 1 else 's'} of batch {course.batch} of {len(course.plan)} to comply",
        advice.UPDATING,
        since=began,
        until=until,
        then="the next batch begins" if left > 1 else "the update times out",
    )


def _verifying(
    seen: Snapshot, course: Course, awaited: tuple[str, ...], end: dt.datetime
) -> Explanation:
    """The batch's turn has come, and clusters of it are asked whether everything is still cached."""
    since = verifying_since(seen.cgu.status)
    until = answer_by(course, since or seen.now, end - course.started_at, seen.rules)
    then = "those that have not answered are left out of the update"
    return Explanation(
        waits_for(course, awaited),
        advice.VERIFYING,
        since=since,
        until=min(until, end),
        then=then if until < end else "the update times out",
    )


def _is_compliant(course: Course, cluster: str) -> bool:
    found = course.progress.get(cluster)
    return found is not None and found.state == RemediationState.COMPLETED
