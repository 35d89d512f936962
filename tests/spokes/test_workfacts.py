"""What a ManifestWork's status says: one fact, whatever is missing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from talm.api.ocm import ManifestWork
from talm.api.words import JOB_DEADLINE_ANNOTATION, MANUAL_NAMESPACE, RUN_LABEL, Hindrance
from talm.core.model import Fact, Sight
from talm.spokes.workfacts import is_watched, knows_rules, trimmed, work_fact
from talm.spokes.workmanifests import work_body
from tests.spokes.world import ORDER

OURS: dict[str, int | str] = {"uid": "u1", "run": ORDER.run}


def values(**told: int | str) -> dict[str, Any]:
    found = []
    for name, value in told.items():
        kind = "integer" if isinstance(value, int) else "string"
        found.append({"name": name, "fieldValue": {"type": kind.title(), kind: value}})
    return {"values": found}


def condition(kind: str, status: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "R", "message": message, **more}


def work(
    *,
    job: Mapping[str, int | str] | None = None,
    record: Mapping[str, int | str] | None = None,
    applied: str = "True",
    available: str = "True",
    refused: str = "",
    generation: int = 1,
    **meta: Any,
) -> ManifestWork:
    """The work of the run as its agent has told of it; `applied` "": it has not."""
    body = work_body("c1", ORDER, MANUAL_NAMESPACE)
    body["metadata"] |= {"uid": "w1", "generation": generation, **meta}
    entries = [
        {
            "resourceMeta": {"resource": "namespaces", "name": MANUAL_NAMESPACE},
            "conditions": [condition("Applied", "True"), condition("Available", "True")],
        },
        {
            "resourceMeta": {"resource": "configmaps", "name": "pre-cache-progress"},
            "conditions": [condition("Applied", "False" if refused else "True", refused)],
            "statusFeedback": values(**record) if record else {},
        },
        {
            "resourceMeta": {"resource": "jobs", "name": "pre-cache"},
            "conditions": [condition("Applied", "True"), condition("Available", available)],
            "statusFeedback": values(**job) if job else {},
        },
    ]
    if applied:
        whole = [condition("Applied", applied, "Failed to apply", observedGeneration=1)]
        body["status"] = {"conditions": whole, "resourceStatus": {"manifests": entries}}
    return msgspec.json.decode(msgspec.json.encode(body), type=ManifestWork)


def fact(found: ManifestWork) -> Fact:
    """The fact, which is the same when what nobody reads is left out."""
    sight = work_fact(found, ORDER)
    assert work_fact(trimmed(found), ORDER) == sight
    return sight.fact


def resources(found: ManifestWork) -> list[str]:
    assert found.status is not None
    return [e.resource_meta.resource for e in found.status.resource_status.manifests or ()]


def test_of_what_was_applied_well_nothing_is_kept_that_tells_nothing() -> None:
    found = work(job=OURS, record=OURS)
    assert resources(found) == ["namespaces", "configmaps", "jobs"]
    assert resources(trimmed(found)) == ["configmaps", "jobs"]
    assert resources(trimmed(work(available="False"))) == ["jobs"]
    assert resources(trimmed(work(applied="False", refused="no"))) == ["configmaps", "jobs"]
    untold = work(applied="")
    assert trimmed(untold) is untold


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({}, Fact.JOB_PENDING),
        ({"active": 0}, Fact.JOB_PENDING),
        ({"active": 1}, Fact.JOB_ACTIVE),
        ({"active": 1, "ready": 0, "failed": 2}, Fact.JOB_ACTIVE),
        ({"succeeded": 1}, Fact.JOB_SUCCEEDED),
        ({"complete": "True"}, Fact.JOB_SUCCEEDED),
        ({"failedReason": "BackoffLimitExceeded"}, Fact.JOB_FAILED),
        ({"failedReason": "DeadlineExceeded"}, Fact.JOB_DEADLINE),
        ({"targetReason": "DeadlineExceeded", "terminating": 1}, Fact.JOB_DEADLINE),
        ({"targetReason": "PodFailurePolicy", "active": 1}, Fact.JOB_FAILED),
    ],
)
def test_the_job_s_fields_make_its_fact_whichever_are_missing(
    told: dict[str, int | str], wanted: Fact
) -> None:
    assert fact(work(job=OURS | told)) is wanted


def test_a_bad_end_is_told_with_the_workload_s_own_words() -> None:
    record = '{"phase":"Failed","errorClass":"Unauthorized","errorText":"401 from the registry"}'
    told = {"failedReason": "BackoffLimitExceeded", "failedMessage": "Job has reached it"}
    sight = work_fact(work(job=OURS | told, record=OURS | {"record": record}), ORDER)
    assert sight == Sight(
        Fact.JOB_FAILED,
        "BackoffLimitExceeded: Job has reached it: Unauthorized: 401 from the registry",
        progress={"record": record},
    )


def test_a_record_of_another_run_is_none() -> None:
    old = {"uid": "u0", "run": "run-0", "record": '{"phase":"Failed"}'}
    assert work_fact(work(job=OURS | {"active": 1}, record=old), ORDER).progress == {}


@pytest.mark.parametrize("run", ["run-0", ""])
def test_a_job_that_carries_another_run_or_none_is_not_ours(run: str) -> None:
    told: dict[str, int | str] = {"uid": "u0", "succeeded": 1}
    assert fact(work(job=told | ({"run": run} if run else {}))) is Fact.JOB_OTHER


def test_a_work_that_nobody_has_applied_is_waited_for() -> None:
    assert work_fact(work(applied=""), ORDER) == Sight(
        Fact.SETTING_UP, "waiting for the cluster's work agent"
    )
    # What is said of an earlier version says nothing of this one.
    assert fact(work(generation=2)) is Fact.SETTING_UP


def test_what_could_not_be_applied_is_told_in_the_agent_s_words() -> None:
    text = "Failed to apply manifest: the namespace is being terminated"
    for job in (None, OURS):
        sight = work_fact(work(applied="False", refused=text, job=job), ORDER)
        assert sight == Sight(Fact.SETTING_UP, text, hindrance=Hindrance.REQUEST_REFUSED)


def test_a_job_whose_pod_runs_is_active_whatever_else_could_not_be_applied() -> None:
    assert fact(work(applied="False", refused="no", job=OURS | {"active": 1})) is Fact.JOB_ACTIVE


def test_a_job_that_is_gone_is_missing_though_its_last_values_stay() -> None:
    assert fact(work(job=OURS | {"active": 1}, available="False")) is Fact.JOB_MISSING
    assert fact(work(available="False")) is Fact.JOB_MISSING


def test_a_job_that_had_ended_has_ended_though_it_is_gone() -> None:
    assert fact(work(job=OURS | {"complete": "True"}, available="False")) is Fact.JOB_SUCCEEDED


def test_an_agent_that_could_not_look_tells_nothing_new() -> None:
    assert fact(work(job=OURS | {"active": 1}, available="Unknown")) is Fact.JOB_ACTIVE


def test_a_deadline_that_has_changed_matters_until_the_job_is_there() -> None:
    other = replace(ORDER, job_deadline_s=60)
    assert work_fact(work(), other).fact is Fact.SETUP_LOST
    assert work_fact(work(job=OURS), other).fact is Fact.JOB_PENDING
    bare = work(annotations={})
    assert JOB_DEADLINE_ANNOTATION not in (bare.metadata.annotations or {})
    assert work_fact(bare, other).fact is Fact.JOB_PENDING


def test_a_work_that_is_going_is_a_leftover_whatever_it_says() -> None:
    going = work(job=OURS | {"succeeded": 1}, deletionTimestamp="2026-03-01T12:00:00Z")
    assert fact(going) is Fact.LEFTOVERS


def test_events_are_wished_for_unless_the_hub_has_dropped_the_field() -> None:
    whole = work_body("c1", ORDER, MANUAL_NAMESPACE)
    assert is_watched(msgspec.convert(whole, ManifestWork))
    for config in whole["spec"]["manifestConfigs"]:
        del config["feedbackScrapeType"]
    assert not is_watched(msgspec.convert(whole, ManifestWork))


def test_an_agent_that_says_how_the_rule_is_kept_knows_it_before_the_job_has_ended() -> None:
    body: dict[str, Any] = {"metadata": {"labels": {RUN_LABEL: ORDER.run}}}
    assert not knows_rules(msgspec.convert(body, ManifestWork))
    for status in ("True", "False"):
        body["status"] = {"conditions": [condition("Complete", status)]}
        assert knows_rules(msgspec.convert(body, ManifestWork))
