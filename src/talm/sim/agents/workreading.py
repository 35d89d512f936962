"""What the simulated work agent tells of a work: what was applied; of each object whether it is
there, its feedback, its rules.

Feedback of what has gone stays as it was; a field that is missing is left out; `Available` means
"exists".  Source: OCM's work agent, status feedback and condition readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from talm.api.kinds import JOB
from talm.errors import ApiError, NotFound
from talm.sim.agents.fieldpaths import read
from talm.sim.agents.wire import AgentCondition, Conditions, find, set_condition
from talm.sim.agents.workwire import (
    NOT_SYNCED,
    Manifest,
    ManifestStatus,
    Work,
    with_status,
)
from talm.sim.spoke.spokes import SpokeApi

MakeCondition = Callable[[str, str, str, str], AgentCondition]


def with_applied(
    work: Work, manifests: Iterable[Manifest], errors: Mapping[int, str], say: MakeCondition
) -> Work:
    """The work after it was applied; `errors` by the manifests' ordinals."""
    known = {
        entry.resource_meta.get("ordinal"): entry
        for entry in work.status.resource_status.manifests or ()
    }
    entries = []
    for manifest in manifests:
        old = known.get(manifest.ordinal)
        if old is None or old.resource_meta != manifest.meta():
            old = ManifestStatus(resource_meta=manifest.meta())
        error = errors.get(manifest.ordinal)
        words = ("True", "AppliedManifestComplete", "Apply manifest complete")
        if error is not None:
            words = ("False", "AppliedManifestFailed", f"Failed to apply manifest: {error}")
        entries.append(_saying(old, _of(work, say("Applied", *words))))
    words = ("True", "AppliedManifestWorkComplete", "Apply manifest work complete")
    if errors:
        words = ("False", "AppliedManifestWorkFailed", "Failed to apply manifest work")
    said = _of(work, say("Applied", *words))
    return with_status(work, set_condition(work.status.conditions, said), tuple(entries))


async def read_manifest(
    work: Work,
    entry: ManifestStatus,
    manifest: Manifest,
    spoke: SpokeApi,
    say: MakeCondition,
    *,
    freezes: bool,
) -> ManifestStatus:
    """The entry after a look at the object."""
    try:
        there = await spoke.get(*manifest.key)
    except NotFound:
        gone = say("Available", "False", "ResourceNotAvailable", "Resource is not available")
        return _saying(entry, gone)
    except ApiError as exc:
        why = f"Failed to fetch resource: {exc.message}"
        return _saying(entry, say("Available", "Unknown", "FetchingResourceFailed", why))
    entry = _saying(entry, say("Available", "True", "ResourceAvailable", "Resource is available"))
    entry = _with_feedback(entry, manifest, there, say)
    return _with_rules(work, entry, manifest, there, say) if freezes else entry


def summarize(
    work: Work, entries: Iterable[ManifestStatus], say: MakeCondition
) -> Iterator[AgentCondition]:
    """The work's own conditions."""
    for condition in _summary(entries, say):
        yield _of(work, condition)


def _summary(entries: Iterable[ManifestStatus], say: MakeCondition) -> Iterator[AgentCondition]:
    told = list(entries)
    states = [c.status for e in told if (c := find(e.conditions, "Available")) is not None]
    missing = states.count("False")
    if missing:
        text = f"{missing} of {len(told)} resources are not available"
        yield say("Available", "False", "ResourcesNotAvailable", text)
    elif "Unknown" in states:
        text = f"{states.count('Unknown')} of {len(told)} resources have unknown status"
        yield say("Available", "Unknown", "ResourcesStatusUnknown", text)
    else:
        yield say("Available", "True", "ResourcesAvailable", "All resources are available")
    for condition in (c for e in told if (c := find(e.conditions, "Complete")) is not None):
        yield say("Complete", condition.status, "ConditionRulesAggregated", condition.message)


def _with_feedback(
    entry: ManifestStatus, manifest: Manifest, there: Mapping[str, Any], say: MakeCondition
) -> ManifestStatus:
    rules = manifest.config.feedback_rules or ()
    if not rules:
        return _saying(entry, say("StatusFeedbackSynced", "True", NOT_SYNCED, ""))
    values = []
    for rule in rules:
        for wanted in rule.json_paths or ():
            value = read(there, wanted.path)
            if value is not None:
                values.append({"name": wanted.name, "fieldValue": _typed(value)})
    feedback = {"values": values} if values else {}
    said = say("StatusFeedbackSynced", "True", "StatusFeedbackSynced", "")
    conditions: Conditions = entry.conditions or ()
    if feedback != entry.status_feedback:  # the time tells when the values changed
        conditions = tuple(c for c in conditions if c.type != said.type)
    conditions = set_condition(conditions, said)
    return msgspec.structs.replace(entry, conditions=conditions, status_feedback=feedback)


def _with_rules(
    work: Work,
    entry: ManifestStatus,
    manifest: Manifest,
    there: Mapping[str, Any],
    say: MakeCondition,
) -> ManifestStatus:
    for rule in manifest.config.condition_rules or ():
        if rule.type == "WellKnownConditions" and manifest.kind == JOB:
            ended = _has_ended(there)
            text = "Job is finished" if ended else "Job is not finished"
            status = "True" if ended else "False"
            said = say(rule.condition, status, "ConditionRuleEvaluated", text)
            entry = _saying(entry, _of(work, said))
    return entry


def _has_ended(job: Mapping[str, Any]) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


def _typed(value: str | int | bool) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"type": "Boolean", "boolean": value}
    if isinstance(value, int):
        return {"type": "Integer", "integer": value}
    return {"type": "String", "string": value}


def _of(work: Work, condition: AgentCondition) -> AgentCondition:
    """The condition as one about the work as it is now."""
    return msgspec.structs.replace(condition, observed_generation=work.metadata.generation)


def _saying(entry: ManifestStatus, condition: AgentCondition) -> ManifestStatus:
    return msgspec.structs.replace(entry, conditions=set_condition(entry.conditions, condition))
