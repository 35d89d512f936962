"""What a ManifestWork carries, which rules go with it, and what any OCM hub accepts."""

from __future__ import annotations

import json
from dataclasses import replace

from talm.api.pod import Nodes
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Action
from talm.sim.agents.fieldpaths import read
from talm.spokes.base import PodTerms
from talm.spokes.own import TALM
from talm.spokes.workmanifests import JOB_PATHS, RECORD_PATHS, work_body
from tests.spokes.world import ORDER

MOST_BYTES = 500 << 10  # OCM's admission webhook
LONGEST_NAME = 188  # beside the hash of the hub's URL it names an object on the spoke


def test_it_carries_what_the_actions_of_profile_talm_create_in_their_order() -> None:
    spec = work_body("c1", ORDER, MANUAL_NAMESPACE)["spec"]
    created = [TALM.kube(action, ORDER, MANUAL_NAMESPACE)["template"] for action in TALM.setup]
    assert spec["workload"]["manifests"] == created
    assert created[0]["kind"] == "Namespace"
    assert created[-1]["kind"] == "Job"


def test_for_all_nodes_it_carries_the_right_to_list_them_too() -> None:
    order = replace(ORDER, pod=PodTerms(nodes=Nodes.ALL))
    manifests = work_body("c1", order, MANUAL_NAMESPACE)["spec"]["workload"]["manifests"]
    setup = TALM.for_nodes(Nodes.ALL).setup
    assert len(manifests) == len(setup) > len(TALM.setup)
    assert Action.NODE_READER_CREATE in setup


def test_the_hub_accepts_its_size_and_its_name() -> None:
    whole = work_body("c1", replace(ORDER, run="r" * 63), MANUAL_NAMESPACE)
    assert len(json.dumps(whole["spec"]["workload"])) < MOST_BYTES
    assert len(whole["metadata"]["name"]) <= LONGEST_NAME
    manifests = whole["spec"]["workload"]["manifests"]
    assert all(m["metadata"]["labels"][RUN_LABEL] == "r" * 63 for m in manifests)


def test_job_and_record_are_made_once_and_never_overwritten() -> None:
    spec = work_body("c1", ORDER, MANUAL_NAMESPACE)["spec"]
    about = [config["resourceIdentifier"] for config in spec["manifestConfigs"]]
    assert [(a["resource"], a["name"]) for a in about] == [
        ("jobs", "pre-cache"),
        ("configmaps", "pre-cache-progress"),
    ]
    for config in spec["manifestConfigs"]:
        assert config["updateStrategy"] == {"type": "CreateOnly"}
        assert config["feedbackScrapeType"] == "Watch"


def test_a_job_that_has_ended_is_never_made_again() -> None:
    job, record = work_body("c1", ORDER, MANUAL_NAMESPACE)["spec"]["manifestConfigs"]
    assert job["conditionRules"] == [{"type": "WellKnownConditions", "condition": "Complete"}]
    assert "conditionRules" not in record


def test_every_path_finds_its_field() -> None:
    conditions = [
        {"type": kind, "status": "True", "reason": f"{kind}Reason", "message": f"{kind} it has"}
        for kind in ("FailureTarget", "Failed", "Complete")
    ]
    counts = {"active": 1, "ready": 1, "succeeded": 1, "failed": 1, "terminating": 1}
    meta = {"uid": "u1", "labels": {RUN_LABEL: "run-1"}}
    job = {"metadata": meta, "status": {**counts, "conditions": conditions}}
    assert {name: read(job, path) for name, path in JOB_PATHS.items()} == {
        "uid": "u1",
        "run": "run-1",
        **counts,
        "complete": "True",
        "failedReason": "FailedReason",
        "failedMessage": "Failed it has",
        "targetReason": "FailureTargetReason",
        "targetMessage": "FailureTarget it has",
    }
    record = {"metadata": meta, "data": {"record": "{}"}}
    told = {name: read(record, path) for name, path in RECORD_PATHS.items()}
    assert told == {"uid": "u1", "run": "run-1", "record": "{}"}
