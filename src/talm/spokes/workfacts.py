"""What the ManifestWork of a run says of one cluster: one fact.

    going ─► the Job's end ─► the Job is missing ─► the Job is active ─► what could not be applied

The first that has something to say wins.  Feedback is the last read of the Job that told something
new: it stays when the Job is deleted, which only `Available` tells, and when the agent falls silent,
which nothing here tells.  No time on a work is compared with a clock of ours.
Not here: when the agent is asked to look again (pokes.py), what is done about a fact (core/precache.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from talm.api.kinds import CONFIG_MAP, JOB, POD
from talm.api.meta import Condition, ObjectMeta, changed
from talm.api.ocm import (
    FieldValue,
    ManifestCondition,
    ManifestWork,
    ResourceStatus,
    ViewedObject,
    ViewedStatus,
)
from talm.api.progress import PROGRESS_CONFIG_MAP, RECORD_KEY
from talm.api.words import JOB_DEADLINE_ANNOTATION, RUN_LABEL, Hindrance
from talm.core.model import Fact, Sight
from talm.spokes.base import Order
from talm.spokes.jobs import BAD_ENDS, ENDS, job_fact, told_whole
from talm.spokes.lastwords import last_words
from talm.spokes.manifests import JOB_NAME
from talm.spokes.own import TALM
from talm.spokes.seen import is_others
from talm.spokes.workmanifests import WATCH

_APPLIED: Final = "Applied"
_AVAILABLE: Final = "Available"
_COMPLETE: Final = "Complete"
_BEGUN: Final = ENDS | {Fact.JOB_ACTIVE}
REFUSED: Final = Hindrance.REQUEST_REFUSED

Values = Mapping[str, int | str | bool]


def work_fact(work: ManifestWork, order: Order) -> Sight:
    """Tell the one fact about the cluster of this work, which is of the run that asks."""
    if work.metadata.deletion_timestamp is not None:
        return Sight(Fact.LEFTOVERS, "what the work has made is being deleted")
    job = told_job(work)
    if job is None:
        return _without_job(work, order)
    if is_others(job, TALM, order):
        return Sight(Fact.JOB_OTHER, "the Job on the cluster is of another run")
    fact, note = job_fact(job)
    record = told_record(work, order)
    if fact in BAD_ENDS:
        note = told_whole(note, last_words(record))
    if fact in ENDS:
        return Sight(fact, note, progress=record)
    if _is_missing(work):
        return Sight(Fact.JOB_MISSING, "the Job was made and is gone")
    words = refusal(work)
    if fact is Fact.JOB_PENDING and words:
        return Sight(Fact.SETTING_UP, words, progress=record, hindrance=REFUSED)
    return Sight(fact, note, progress=record)


def _without_job(work: ManifestWork, order: Order) -> Sight:
    """Nothing has been told of the Job: either it was not made, or it was not looked at."""
    if wants_other_deadline(work, order):
        return Sight(Fact.SETUP_LOST, "the Job's deadline has changed before it was created")
    words = refusal(work)
    if words:
        return Sight(Fact.SETTING_UP, words, hindrance=REFUSED)
    if not is_applied(work):
        return Sight(Fact.SETTING_UP, "waiting for the cluster's work agent")
    if _is_missing(work):
        return Sight(Fact.JOB_MISSING, "the Job was made and is gone")
    return Sight(Fact.JOB_PENDING, "what the Job needs has been made; nothing is told of it yet")


def trimmed(work: ManifestWork) -> ManifestWork:
    """The work as far as it is read here: of what was applied well, no more than what is told of it.

    Of thousands of works that is half of the memory.
    """
    entries = work.status.resource_status.manifests if work.status else None
    kept = tuple(entry for entry in entries or () if _is_read(entry))
    if work.status is None or entries is None or len(kept) == len(entries):
        return work
    return changed(
        work, status=changed(work.status, resource_status=ResourceStatus(manifests=kept))
    )


def _is_read(entry: ManifestCondition) -> bool:
    applied = _condition(entry.conditions, _APPLIED)
    told = entry.status_feedback.values or entry.resource_meta.resource in {JOB.plural, POD.plural}
    return bool(told) or (applied is not None and applied.status == "False")


def has_begun(work: ManifestWork) -> bool:
    """Whether the Job is active or has ended."""
    job = told_job(work)
    return job is not None and job_fact(job)[0] in _BEGUN


def wants_other_deadline(work: ManifestWork, order: Order) -> bool:
    """Whether a Job of which nothing is told yet was ordered with a deadline that has changed."""
    ordered = (work.metadata.annotations or {}).get(JOB_DEADLINE_ANNOTATION)
    return told_job(work) is None and ordered not in (None, str(order.job_deadline_s))


def is_applied(work: ManifestWork) -> bool:
    """Whether the agent has applied the work as it is now, or tried to and told what failed."""
    applied = _of_work(work, _APPLIED)
    if applied is None:
        return False
    return (applied.observed_generation or work.metadata.generation) >= work.metadata.generation


def knows_rules(work: ManifestWork) -> bool:
    """Whether hub and agent know the rule by which nothing is applied again once the Job has ended.

    An agent that knows it says from the beginning how it is kept, whatever the Job has come to.
    """
    return _of_work(work, _COMPLETE) is not None


def is_watched(work: ManifestWork) -> bool:
    """Whether the hub keeps the wish for feedback by events; an older CRD drops it."""
    return any(c.feedback_scrape_type == WATCH for c in work.spec.manifest_configs or ())


def told_job(work: ManifestWork) -> ViewedObject | None:
    """The Job as the feedback tells it; None when nothing of it was ever read."""
    values = feedback(work, JOB.plural, JOB_NAME)
    if not values:
        return None
    conditions = tuple(_job_conditions(values))
    return ViewedObject(
        metadata=_identity(values),
        status=ViewedStatus(
            active=_count(values, "active"),
            ready=_count(values, "ready"),
            succeeded=_count(values, "succeeded"),
            failed=_count(values, "failed"),
            terminating=_count(values, "terminating"),
            conditions=conditions or None,
        ),
    )


def told_record(work: ManifestWork, order: Order) -> dict[str, str]:
    """The workload's record; empty when there is none of this run."""
    values = feedback(work, CONFIG_MAP.plural, PROGRESS_CONFIG_MAP)
    if is_others(ViewedObject(metadata=_identity(values)), TALM, order):
        return {}
    record = values.get("record")
    return {RECORD_KEY: record} if isinstance(record, str) else {}


def record_text(work: ManifestWork) -> str:
    """The record as it was fed back, whichever run's; "" where there is none."""
    entry = _manifest(work, CONFIG_MAP.plural, PROGRESS_CONFIG_MAP)
    return _text(_values(entry), "record") if entry else ""


def refusal(work: ManifestWork) -> str:
    """What the agent could not apply, in its own words; "" when that is not said of the work as it is."""
    applied = _of_work(work, _APPLIED)
    if not is_applied(work) or applied is None or applied.status != "False":
        return ""
    for entry in work.status.resource_status.manifests or () if work.status else ():
        said = _condition(entry.conditions, _APPLIED)
        if said is not None and said.status == "False":
            return said.message
    return applied.message


def _is_missing(work: ManifestWork) -> bool:
    """Whether the agent has looked for the Job and not found it; an error of its read tells nothing."""
    entry = _manifest(work, JOB.plural, JOB_NAME)
    said = _condition(entry.conditions, _AVAILABLE) if entry else None
    return said is not None and said.status == "False"


def _manifest(work: ManifestWork, resource: str, name: str) -> ManifestCondition | None:
    for entry in work.status.resource_status.manifests or () if work.status else ():
        if (entry.resource_meta.resource, entry.resource_meta.name) == (resource, name):
            return entry
    return None


def feedback(work: ManifestWork, resource: str, name: str) -> Values:
    """What was last read of one of the work's objects; empty when nothing ever was."""
    entry = _manifest(work, resource, name)
    return _values(entry) if entry else {}


def _values(entry: ManifestCondition) -> Values:
    told = ((v.name, _plain(v.field_value)) for v in entry.status_feedback.values or ())
    return {name: value for name, value in told if value is not None}


def _plain(value: FieldValue) -> int | str | bool | None:
    for one in (value.integer, value.string, value.boolean):
        if one is not None:
            return one
    return None


def _identity(values: Values) -> ObjectMeta:
    run = values.get("run")
    return ObjectMeta(uid=_text(values, "uid"), labels={RUN_LABEL: str(run)} if run else None)


def _job_conditions(values: Values) -> Iterator[Condition]:
    if _text(values, "complete") == "True":
        yield Condition(type=_COMPLETE, status="True")
    for kind, told in (("Failed", "failed"), ("FailureTarget", "target")):
        reason, message = _text(values, f"{told}Reason"), _text(values, f"{told}Message")
        if reason or message:
            yield Condition(type=kind, status="True", reason=reason, message=message)


def _count(values: Values, name: str) -> int | None:
    value = values.get(name)
    return value if isinstance(value, int) else None


def _text(values: Values, name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _of_work(work: ManifestWork, kind: str) -> Condition | None:
    return _condition(work.status.conditions if work.status else None, kind)


def _condition(conditions: tuple[Condition, ...] | None, kind: str) -> Condition | None:
    return next((c for c in conditions or () if c.type == kind), None)
