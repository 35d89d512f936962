from __future__ import annotations

from typing import Any

import msgspec
import pytest

from talm.agent.nodes.choosing import Node, left_out

from .given import node, node_data


def read(data: dict[str, Any]) -> Node:
    return msgspec.convert(data, Node)


def test_a_linux_node_pulls_whatever_taints_it_has() -> None:
    data = node_data("a")
    data["spec"] = {"unschedulable": True, "taints": [{"key": "x", "effect": "NoExecute"}]}
    assert left_out(read(data)) == ""


def test_a_node_that_runs_another_system_is_left_out() -> None:
    assert left_out(read(node_data("a", system="windows"))) == "it runs windows"


def test_a_node_that_says_no_system_is_known_by_its_label() -> None:
    label = {"kubernetes.io/os": "windows"}
    assert left_out(read({"metadata": {"name": "a", "labels": label}})) == "it runs windows"
    assert left_out(read({"metadata": {"name": "a"}})) == ""


def test_a_node_that_is_no_machine_is_left_out() -> None:
    data = node_data("a")
    data["metadata"]["labels"]["type"] = "virtual-kubelet"
    assert "no machine" in left_out(read(data))


def test_a_node_that_is_being_deleted_is_left_out() -> None:
    data = node_data("a")
    data["metadata"]["deletionTimestamp"] = "2022-01-28T12:00:00Z"
    assert left_out(read(data)) == "it is being deleted"


@pytest.mark.parametrize("status, ready", [("True", True), ("False", False), ("Unknown", False)])
def test_a_node_is_ready_when_its_kubelet_says_so(status: str, ready: bool) -> None:
    data = node_data("a")
    data["status"]["conditions"] = [
        {"type": "DiskPressure", "status": "True"},
        {"type": "Ready", "status": status},
    ]
    assert read(data).is_ready is ready


def test_a_node_that_has_said_nothing_yet_is_not_ready() -> None:
    assert not read({"metadata": {"name": "a"}}).is_ready
    assert node("a").is_ready
