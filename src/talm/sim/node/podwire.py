"""A Pod as the simulated node reads it, and the statuses that it writes, as a kubelet words them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from talm.api.meta import ObjectMeta, Wire

_KILLED: Final = 137
TERMINAL: Final = ("Succeeded", "Failed")
_OURS: Final = ("PodScheduled", "Initialized", "ContainersReady", "Ready")


class PodMeta(ObjectMeta, frozen=True, kw_only=True):
    """`metadata` with the grace that a deletion grants."""

    deletion_grace_period_seconds: int | None = None


class PodObject(Wire, frozen=True, kw_only=True):
    """A Pod; spec and status stay as they come."""

    metadata: PodMeta
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}

    @property
    def container(self) -> dict[str, Any]:
        """Its only container (see `unsupported`)."""
        found: dict[str, Any] = self.spec["containers"][0]
        return found

    @property
    def node_name(self) -> str:
        """The node it is bound to, "" before that."""
        return str(self.spec.get("nodeName") or "")

    @property
    def phase(self) -> str:
        """`status.phase`."""
        return str(self.status.get("phase") or "Pending")


def may_go_to(spec: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    """Whether a scheduler might bind a pod to this node: node selector, and affinity by name alone."""
    wanted = spec.get("nodeSelector") or {}
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = required["nodeSelectorTerms"] if required else None
    return wanted.items() <= labels.items() and (
        terms is None or any(_names(term, name) for term in terms)
    )


def _names(term: Mapping[str, Any], name: str) -> bool:
    """One term; a requirement of another form than `metadata.name In [...]` is met by no node here."""
    by_name = {"key": "metadata.name", "operator": "In"}
    fields = term.get("matchFields") or ()
    return (
        bool(fields)
        and not term.get("matchExpressions")
        and all(by_name.items() <= field.items() and name in field["values"] for field in fields)
    )


def unsupported(spec: Mapping[str, Any]) -> str:
    """Say why the simulated node will not run a pod; "" when it will."""
    if len(spec.get("containers") or ()) != 1 or spec.get("initContainers"):
        return "a simulated node runs pods of one container and no init container"
    if spec.get("restartPolicy") != "Never":
        return "a simulated node runs pods with restartPolicy Never"
    if spec["containers"][0].get("envFrom"):
        return "a simulated node does not know envFrom"
    return ""


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """The state of a container that has not started."""
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def running(since: str) -> dict[str, Any]:
    """The state of a container that runs."""
    return {"running": {"startedAt": since}}


def terminated(code: int, message: str, since: str, until: str) -> dict[str, Any]:
    """The state of a container that has ended by itself or by a signal."""
    end: dict[str, Any] = {"exitCode": code, "reason": "Error" if code else "Completed"}
    if message:
        end["message"] = message
    return {"terminated": end | {"startedAt": since, "finishedAt": until}}


def not_started(code: int, reason: str, message: str) -> dict[str, Any]:
    """The state of a container that could not be started."""
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def lost(occasion: str) -> dict[str, Any]:
    """The state of a container of which nothing is known, e.g. after a restart of its node."""
    message = f"The container could not be located when the pod was {occasion}"
    return not_started(_KILLED, "ContainerStatusUnknown", message)


def status(pod: PodObject, state: Mapping[str, Any], *, now: str) -> dict[str, Any]:
    """Return the whole status for a container in `state`; conditions of others are kept."""
    ready = "running" in state
    if ended := state.get("terminated"):
        phase = "Failed" if ended["exitCode"] else "Succeeded"
    else:
        phase = "Running" if ready else "Pending"
    why = {"reason": "PodCompleted"} if phase == "Succeeded" else {"reason": "ContainersNotReady"}
    conditions = [c for c in pod.status.get("conditions") or () if c.get("type") not in _OURS]
    for name in _OURS:
        holds = ready or name in ("PodScheduled", "Initialized")
        conditions.append(
            {"type": name, "status": str(holds), "lastTransitionTime": now} | ({} if holds else why)
        )
    container = {
        "name": pod.container["name"],
        "image": pod.container["image"],
        "imageID": "",
        "restartCount": 0,
        "ready": ready,
        "started": ready,
        "state": dict(state),
        "lastState": {},
    }
    return {
        "phase": phase,
        "startTime": pod.status.get("startTime") or now,
        "conditions": conditions,
        "containerStatuses": [container],
    }


def refused(reason: str, message: str, *, now: str) -> dict[str, Any]:
    """The status of a pod that the node will not admit."""
    return {"phase": "Failed", "reason": reason, "message": message, "startTime": now}


def wire_time() -> str:
    """Now, as the API writes times."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
