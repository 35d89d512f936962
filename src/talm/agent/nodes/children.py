"""A node's Job and the ConfigMap of its record, made from the Job that coordinates them.

That Job carries the `spec` of a node's Job in an annotation.  Added here is what is the node's own: its
name, an affinity, its ConfigMap, the time that is left.  Both are owned by the coordinating Job, so
that they go with it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from talm.agent.failures import invalid_spec
from talm.api.kinds import JOB
from talm.api.pod import (
    COORDINATOR_LABEL,
    JOB_DEADLINE_ENV,
    NODE_ANNOTATION,
    NODE_JOB_ANNOTATION,
    PROGRESS_ENV,
)
from talm.api.progress import PROGRESS_CONFIG_MAP

# A Job's name is a label of its pods, 63 characters at most: 20 + 1 + 24 + 1 + 10.
_OWNER: Final = 20
_SLUG: Final = 24
# 40 bits of the name's hash: among 5,000 nodes two meet with a chance of 1 in 90,000, and then only
# if they begin with the same 24 characters.
_HASH: Final = 10
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Owner:
    """The coordinating Job; `node_job` is the `spec` of a node's."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    node_job: Mapping[str, Any]

    @property
    def selector(self) -> str:
        """The label selector of what it owns."""
        return f"{COORDINATOR_LABEL}={self.uid}"


def owner_of(job: Mapping[str, Any]) -> Owner:
    """Read the coordinating Job.  Raises AgentError (InvalidSpec): it carries no Job for a node."""
    meta = job["metadata"]
    text = (meta.get("annotations") or {}).get(NODE_JOB_ANNOTATION, "")
    try:
        node_job = json.loads(text)
        node_job["template"]["spec"]["containers"]
    except (ValueError, KeyError, TypeError) as exc:
        raise invalid_spec(
            f"Job {meta['name']} has no Job for a node in its annotation {NODE_JOB_ANNOTATION}"
        ) from exc
    return Owner(meta["namespace"], meta["name"], meta["uid"], meta.get("labels") or {}, node_job)


def suffix(node: str) -> str:
    """Name a node in at most 35 characters: the beginning for people, the hash for certainty."""
    slug = _NOT_PLAIN.sub("-", node.lower())[:_SLUG].strip("-")
    return f"{slug}-{hashlib.sha256(node.encode()).hexdigest()[:_HASH]}"


def record_name(node: str) -> str:
    """The ConfigMap of a node's record."""
    return f"{PROGRESS_CONFIG_MAP}-{suffix(node)}"


def record_body(owner: Owner, node: str) -> dict[str, Any]:
    """An empty ConfigMap: the node's pod patches it, and creates nothing."""
    return {"metadata": _metadata(owner, node, record_name(node))}


def job_body(owner: Owner, node: str, deadline_s: float | None) -> dict[str, Any]:
    """The node's Job, to end `deadline_s` after its start (None: as its template says)."""
    spec: dict[str, Any] = copy.deepcopy(dict(owner.node_job))
    values = {PROGRESS_ENV: f"{owner.namespace}/{record_name(node)}"}
    if deadline_s is not None:
        seconds = max(1, int(deadline_s))
        spec["activeDeadlineSeconds"] = seconds
        values[JOB_DEADLINE_ENV] = str(seconds)
    pod = spec["template"]["spec"]
    pod["affinity"] = _only(node)
    for container in pod["containers"]:
        for variable in container.get("env") or ():
            if variable["name"] in values:
                variable["value"] = values[variable["name"]]
    name = f"{owner.name[:_OWNER].rstrip('-.')}-{suffix(node)}"
    return {"metadata": _metadata(owner, node, name), "spec": spec}


def _metadata(owner: Owner, node: str, name: str) -> dict[str, Any]:
    """Without `blockOwnerDeletion`, which takes a right of its own where owners are guarded."""
    reference = {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {**owner.labels, COORDINATOR_LABEL: owner.uid},
        "annotations": {NODE_ANNOTATION: node},
        "ownerReferences": [reference],
    }


def _only(node: str) -> dict[str, Any]:
    """Let the scheduler choose this node, as the DaemonSet controller does: by its name.

    A label may differ from the name, and a pod that is bound by its maker gets no room made for it.
    """
    by_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [by_name]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
