"""A pod's status as a line that says why it has not started."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from talm.api.ocm import ViewedStatus
from talm.spokes.podcause import LONGEST, has_started, is_being_prepared, one_line, pod_cause

ON_NODE = {"type": "PodScheduled", "status": "True"}
NOWHERE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient memory.",
}


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "pre-cache-container", "state": state}]}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = container(waiting={"reason": reason, "message": message})
    return {"phase": "Pending", "conditions": [ON_NODE], **state}


def ended(code: int, reason: str = "", message: str = "") -> dict[str, Any]:
    state = {"exitCode": code, "reason": reason, "message": message}
    return {"phase": "Failed" if code else "Succeeded", **container(terminated=state)}


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: disk"}

TABLE = [
    ("nothing yet", {}, ""),
    (
        "not scheduled",
        {"phase": "Pending", "conditions": [NOWHERE]},
        "Unschedulable: 0/1 nodes are available: 1 Insufficient memory.",
    ),
    ("no image", waiting("ErrImagePull", "not found"), "ErrImagePull: not found"),
    (
        "no image, later",
        waiting("ImagePullBackOff", 'Back-off pulling image "x"'),
        'ImagePullBackOff: Back-off pulling image "x"',
    ),
    (
        "no Secret",
        waiting("CreateContainerConfigError", 'secret "s" not found'),
        'CreateContainerConfigError: secret "s" not found',
    ),
    (
        "no program",
        ended(128, "StartError", "exec: talm: not found"),
        "StartError: exit code 128: exec: talm: not found",
    ),
    ("no words", ended(1), "Error: exit code 1"),
    ("sent away", EVICTED, "Evicted: The node was low on resource: disk"),
    ("at work", waiting("ContainerCreating"), ""),
    ("runs", {"phase": "Running", **container(running={})}, ""),
    ("done", ended(0, "Completed"), ""),
]


@pytest.mark.parametrize("status, cause", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_cause_is_told_in_kubernetes_own_words(status: dict[str, Any], cause: str) -> None:
    assert pod_cause(msgspec.convert(status, ViewedStatus)) == cause


def test_a_pod_has_started_when_it_runs_or_is_done() -> None:
    started = [row[0] for row in TABLE if has_started(msgspec.convert(row[1], ViewedStatus))]
    assert started == ["runs", "done"]


def test_a_pod_with_a_node_and_no_word_yet_is_being_prepared() -> None:
    prepared = [row[0] for row in TABLE if is_being_prepared(msgspec.convert(row[1], ViewedStatus))]
    assert prepared == ["at work"]


def test_a_registry_s_page_is_cut_to_one_line() -> None:
    line = one_line("ErrImagePull", "a\n b" * 1000)
    assert "\n" not in line
    assert len(line) == LONGEST
    assert line.startswith("ErrImagePull: a ba b")
