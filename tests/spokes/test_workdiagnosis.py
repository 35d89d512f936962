"""The second work, whose pod tells why the Job's does not start: what it carries, what its feedback says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from talm.api.ocm import ManifestWork
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Hindrance
from talm.core.model import Fact, Sight
from talm.sim.agents.fieldpaths import read
from talm.spokes.diagnosis import ASKED, STARTS
from talm.spokes.workdiagnosis import POD_PATHS, diagnosis_body, told_diagnosis, told_with
from talm.spokes.workfacts import work_fact
from talm.spokes.workmanifests import diagnosis_name, is_diagnosis, work_name
from tests.spokes.test_workfacts import OURS, condition, values, work
from tests.spokes.world import ORDER

POD: Mapping[str, Any] = {
    "status": {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [
            {"name": "other", "state": {"running": {}}},
            {
                "name": "pre-cache-container",
                "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
            },
        ],
    }
}


def second(
    told: Mapping[str, int | str] = MappingProxyType({}), *, refused: str = ""
) -> ManifestWork:
    """The second work as its agent has told of it."""
    body = diagnosis_body("c1", ORDER, MANUAL_NAMESPACE)
    body["metadata"] |= {"uid": "w2", "generation": 1}
    applied = "False" if refused else "True"
    entry = {
        "resourceMeta": {"resource": "pods", "name": "pre-cache-diagnose"},
        "conditions": [condition("Applied", applied, refused)],
        "statusFeedback": values(**told) if told else {},
    }
    whole = [condition("Applied", applied, observedGeneration=1)]
    body["status"] = {"conditions": whole, "resourceStatus": {"manifests": [entry]}}
    return msgspec.json.decode(msgspec.json.encode(body), type=ManifestWork)


def test_it_carries_the_pod_alone_and_is_of_the_run() -> None:
    body = diagnosis_body("c1", ORDER, MANUAL_NAMESPACE)
    assert body["metadata"]["name"] == diagnosis_name(ORDER.run) == "pre-cache-diagnose-run-1"
    assert body["metadata"]["labels"][RUN_LABEL] == ORDER.run
    (pod,) = body["spec"]["workload"]["manifests"]
    (config,) = body["spec"]["manifestConfigs"]
    assert config["resourceIdentifier"] == {
        "group": "", "resource": "pods",
        "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"],
    }  # fmt: skip
    assert config["updateStrategy"] == {"type": "CreateOnly"}


def test_it_is_never_taken_for_the_run_s_own() -> None:
    assert is_diagnosis(diagnosis_name(ORDER.run))
    assert not is_diagnosis(work_name("0123456789abcdef"))


def test_what_is_fed_back_of_a_pod_is_its_cause() -> None:
    told = {
        name: value for name, path in POD_PATHS.items() if (value := read(POD, path)) is not None
    }
    assert told_diagnosis(second(told)).text == (
        "the Job's pod does not get ready: ErrImagePull: not found"
    )


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, "Evicted: disk"),
        (
            {
                "phase": "Pending",
                "scheduled": "False",
                "scheduledReason": "Unschedulable",
                "scheduledMessage": "0/1",
            },
            "Unschedulable: 0/1",
        ),
        (
            {
                "phase": "Failed",
                "exitCode": 128,
                "endReason": "StartError",
                "endMessage": "no talm",
            },
            "StartError: exit code 128: no talm",
        ),
    ],
)
def test_whatever_is_in_the_way_is_told(told: dict[str, int | str], cause: str) -> None:
    assert told_diagnosis(second(told)).text == f"the Job's pod does not get ready: {cause}"


def test_fields_that_are_missing_are_no_cause() -> None:
    assert told_diagnosis(second()).text == ASKED
    done: dict[str, int | str] = {"phase": "Succeeded", "exitCode": 0, "endReason": "Completed"}
    assert told_diagnosis(second(done)).text == STARTS


def test_a_refusal_is_told_in_the_api_server_s_words() -> None:
    words = 'pods "pre-cache-diagnose" is forbidden: exceeded quota: q'
    told = told_diagnosis(second(refused=f"Failed to apply manifest: {words}"))
    assert (told.text, told.told) == (f"the Job's pod is refused: {words}", True)


def test_whoever_looks_but_once_sees_what_both_works_tell() -> None:
    first = work(job=OURS | {"active": 1, "ready": 0})
    seen = work_fact(first, ORDER)
    told = told_with(seen, first, second({"phase": "Pending", "waitingReason": "ErrImagePull"}))
    assert told == Sight(
        Fact.JOB_ACTIVE,
        "the Job's pod does not get ready: ErrImagePull",
        hindrance=Hindrance.POD_NOT_READY,
    )
    assert told_with(seen, first, None).fact is Fact.JOB_ACTIVE
