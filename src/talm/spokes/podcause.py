"""What keeps a pod from starting, as its status tells: one line, in Kubernetes' own words.

    refused by the node, evicted ─► not scheduled ─► the container ended badly ─► it waits

Not here: refusals by the API server, which no pod tells (diagnosis.py).
Source: the kubelet's waiting reasons and the scheduler's condition `PodScheduled`.
"""

from __future__ import annotations

from typing import Final

from talm.api.meta import Condition
from talm.api.ocm import StateDetail, ViewedStatus

# A registry's whole answer and each node's reason may be in it; the cause is in the beginning.
LONGEST: Final = 400
PREPARING: Final = "ContainerCreating"
# The kubelet is at work, or waits for a volume or the network, which no pod's status tells.
_AT_WORK: Final = frozenset({PREPARING, "PodInitializing", ""})
_FAILED: Final = "Failed"
_STARTED: Final = frozenset({"Running", "Succeeded"})


def has_started(status: ViewedStatus) -> bool:
    """Whether the pod's container runs, or has done what it was to do."""
    end = _container(status)[1]
    if end is not None:
        return end.exit_code == 0
    return status.phase in _STARTED


def pod_cause(status: ViewedStatus) -> str:
    """Tell why the pod has not started; "" while nothing says so, or when it has."""
    if has_started(status):
        return ""
    waiting, ended = _container(status)
    scheduled = _scheduled(status)
    if scheduled is not None and scheduled.status == "False":
        return one_line(scheduled.reason or "Unschedulable", scheduled.message)
    if ended is not None:
        text = f"exit code {ended.exit_code}" if ended.exit_code is not None else ""
        return one_line(ended.reason or "Error", text, ended.message)
    if status.phase == _FAILED:
        return one_line(status.reason or _FAILED, status.message)
    if waiting is not None and waiting.reason not in _AT_WORK:
        return one_line(waiting.reason, waiting.message)
    return ""


def is_being_prepared(status: ViewedStatus) -> bool:
    """Whether the pod has its node, which has not got to its container yet."""
    scheduled = _scheduled(status)
    on_node = scheduled is not None and scheduled.status == "True"
    return on_node and not has_started(status) and not pod_cause(status)


def one_line(*parts: str) -> str:
    """Join what is there by colons, on one line that is not longer than LONGEST."""
    text = " ".join(": ".join(part for part in parts if part).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _scheduled(status: ViewedStatus) -> Condition | None:
    return next((c for c in status.conditions or () if c.type == "PodScheduled"), None)


def _container(status: ViewedStatus) -> tuple[StateDetail | None, StateDetail | None]:
    """Why the pod's only container waits, and how it ended."""
    state = status.container_statuses[0].state if status.container_statuses else None
    return (state.waiting, state.terminated) if state else (None, None)
