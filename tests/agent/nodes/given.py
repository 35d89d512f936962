"""Nodes, Jobs and records as they come from an API server, and an API server that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from talm.agent.nodes.children import Owner, job_body, owner_of, record_name
from talm.agent.nodes.choosing import Node
from talm.agent.nodes.standing import NodeJob
from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.pod import COORDINATOR_LABEL, NODE_ANNOTATION, NODE_JOB_ANNOTATION
from talm.api.progress import RECORD_KEY, ProgressRecord
from talm.errors import AlreadyExists, ApiError

NAMESPACE = "talm-x"
RUN = "pod-1"
NODE_SPEC: dict[str, Any] = {
    "backoffLimit": 6,
    "activeDeadlineSeconds": 14400,
    "template": {
        "metadata": {"labels": {"run": "run-1"}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "main",
                    "image": "registry.example/workload:1",
                    "env": [
                        {"name": "TALM_STORE", "value": "oci-layout:/images"},
                        {"name": "TALM_PROGRESS_CONFIGMAP", "value": "talm-x/pre-cache-progress"},
                        {"name": "TALM_JOB_DEADLINE", "value": "14400"},
                        {"name": "TALM_RUN", "valueFrom": {"fieldRef": {}}},
                    ],
                }
            ],
        },
    },
}


def own_job(annotation: str = json.dumps(NODE_SPEC)) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "pre-cache",
            "namespace": NAMESPACE,
            "uid": "job-1",
            "labels": {"run": "run-1"},
            "annotations": {NODE_JOB_ANNOTATION: annotation},
        }
    }


def owner() -> Owner:
    return owner_of(own_job())


def node_data(name: str, *, ready: bool = True, system: str = "linux") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": system}},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "nodeInfo": {"operatingSystem": system},
        },
    }


def node(name: str, *, ready: bool = True) -> Node:
    return msgspec.convert(node_data(name, ready=ready), Node)


def ended(reason: str = "", message: str = "") -> dict[str, Any]:
    """The status of a Job that has ended; without a reason well."""
    kind = "Failed" if reason else "Complete"
    end = {"type": kind, "status": "True", "reason": reason, "message": message}
    return {"conditions": [end]}


RUNNING = {"active": 1, "ready": 1}
PENDING = {"active": 1, "ready": 0}


def node_job(name: str, status: Mapping[str, Any] = RUNNING) -> NodeJob:
    body = job_body(owner(), name, None) | {"status": dict(status)}
    return msgspec.convert(body, NodeJob)


class Cluster:
    """An API server with the coordinating Job and its pod; `failing` answers the next creates."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.failing: list[Exception] = []
        pod = {
            "metadata": {
                "name": "pre-cache-abcde",
                "namespace": NAMESPACE,
                "uid": RUN,
                "creationTimestamp": "2022-01-28T12:00:00Z",
                "ownerReferences": [{"kind": "Job", "uid": "job-1"}],
            }
        }
        self.objects: dict[tuple[str, str], dict[str, Any]] = {
            ("Pod", "pre-cache-abcde"): pod,
            ("Job", "pre-cache"): own_job(),
        }
        for one in nodes:
            self.objects["Node", one["metadata"]["name"]] = one

    async def list(
        self, kind: Kind, namespace: str = "", *, label_selector: str = ""
    ) -> list[dict[str, Any]]:
        label, _, value = label_selector.partition("=")
        return [
            found
            for (of, _), found in self.objects.items()
            if of == kind.kind
            and (not label or (found["metadata"].get("labels") or {}).get(label) == value)
        ]

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.failing:
            raise self.failing.pop(0)
        name = body["metadata"]["name"]
        if (kind.kind, name) in self.objects:
            raise AlreadyExists("POST", f"{kind}/{name}", 409, f'{kind} "{name}" already exists')
        self.objects[kind.kind, name] = {**body}
        return {**body}

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The nodes' Jobs by node."""
        return {
            found["metadata"]["annotations"][NODE_ANNOTATION]: found
            for (of, _), found in self.objects.items()
            if of == "Job" and COORDINATOR_LABEL in found["metadata"]["labels"]
        }

    def set_job(self, name: str, status: Mapping[str, Any]) -> None:
        self.jobs()[name]["status"] = dict(status)

    def tell(self, name: str, record: ProgressRecord) -> None:
        """A node's pod writes its record."""
        found = self.objects[kinds.CONFIG_MAP.kind, record_name(name)]
        found["data"] = {RECORD_KEY: msgspec.json.encode(record).decode()}


def refused(kind: type[ApiError], text: str = "no") -> ApiError:
    return kind("POST", "jobs", 403, text)
