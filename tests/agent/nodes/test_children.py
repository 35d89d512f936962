from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.nodes.children import job_body, owner_of, record_body, record_name, suffix
from talm.errors import AgentError

from .given import NODE_SPEC, own_job, owner

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAINS = st.from_regex(
    re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?){0,3}"),
    fullmatch=True,
).filter(lambda name: len(name) <= 253)


@given(SUBDOMAINS)
def test_every_name_is_a_label_of_at_most_63_characters(node: str) -> None:
    for name in (job_body(owner(), node, None)["metadata"]["name"], record_name(node)):
        assert LABEL.fullmatch(name)
        assert len(name) <= 63


@given(st.sets(SUBDOMAINS, min_size=2, max_size=2))
def test_two_nodes_never_share_a_name(nodes: set[str]) -> None:
    assert len({suffix(node) for node in nodes}) == len(nodes)


def test_names_that_are_cut_or_replaced_alike_differ() -> None:
    long = "worker-of-a-far-away-site-"
    assert suffix(f"{long}1.example") != suffix(f"{long}2.example")
    assert suffix("a.b") != suffix("a-b")
    assert suffix("worker-1.example").startswith("worker-1-example-")


def test_a_nodes_job_is_the_template_but_for_what_is_the_nodes_own() -> None:
    job = job_body(owner(), "worker-1", 600.9)
    pod = job["spec"]["template"]["spec"]
    (term,) = pod.pop("affinity")["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {
        "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["worker-1"]}]
    }
    env = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    assert env == {
        "TALM_STORE": "oci-layout:/images",
        "TALM_PROGRESS_CONFIGMAP": f"talm-x/{record_name('worker-1')}",
        "TALM_JOB_DEADLINE": "600",
        "TALM_RUN": None,
    }
    assert job["spec"]["activeDeadlineSeconds"] == 600
    pod["containers"][0]["env"] = NODE_SPEC["template"]["spec"]["containers"][0]["env"]
    job["spec"]["activeDeadlineSeconds"] = NODE_SPEC["activeDeadlineSeconds"]
    assert job["spec"] == NODE_SPEC


def test_without_a_deadline_the_templates_stands() -> None:
    assert job_body(owner(), "a", None)["spec"]["activeDeadlineSeconds"] == 14400


def test_what_is_made_for_a_node_goes_with_the_coordinating_job() -> None:
    for body in (job_body(owner(), "a", None), record_body(owner(), "a")):
        meta = body["metadata"]
        assert meta["ownerReferences"] == [
            {"apiVersion": "batch/v1", "kind": "Job", "name": "pre-cache", "uid": "job-1"}
        ]
        assert meta["labels"] == {"run": "run-1", "talm.ran.openshift.io/coordinator": "job-1"}
        assert meta["annotations"] == {"talm.ran.openshift.io/node": "a"}
        assert meta["namespace"] == "talm-x"


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"template": {}}), "null"])
def test_a_job_without_a_job_for_a_node_is_refused(text: str) -> None:
    with pytest.raises(AgentError, match=r"InvalidSpec: Job pre-cache has no Job for a node"):
        owner_of(own_job(text))
