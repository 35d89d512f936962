from __future__ import annotations

from typing import Any

import msgspec
import pytest

from talm.agent.nodes.waiting import why_waiting
from talm.agent.pods import Pod


def pod(status: dict[str, Any], minute: int = 0, job: str = "job-a") -> Pod:
    metadata = {
        "name": f"pod-{minute}",
        "creationTimestamp": f"2022-01-28T12:{minute:02}:00Z",
        "ownerReferences": [{"kind": "Job", "uid": job}],
    }
    return msgspec.convert({"metadata": metadata, "status": status}, Pod)


PULLING = {
    "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]
}
UNPLACED = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}
    ],
}


@pytest.mark.parametrize(
    "status, why",
    [
        (PULLING, "ErrImagePull: no"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
         "ContainerCreating"),
        (UNPLACED, "Unschedulable: 0/3"),
        ({"phase": "Pending"}, "its pod is Pending"),
        ({}, "its pod is unknown"),
    ],
)  # fmt: skip
def test_a_pod_waits_for_what_kubelet_or_scheduler_say(status: dict[str, Any], why: str) -> None:
    assert why_waiting([pod(status)], "job-a") == why


def test_the_newest_pod_of_the_job_counts() -> None:
    pods = [pod(UNPLACED, 2), pod(PULLING, 1), pod(PULLING, 3, job="another")]
    assert why_waiting(pods, "job-a") == "Unschedulable: 0/3"


def test_a_job_without_a_pod_is_told() -> None:
    assert why_waiting([pod(PULLING, job="another")], "job-a") == "it has no pod"
