"""Why the pod of a node's Job does not come to run, in the words of kubelet, scheduler or nobody."""

from __future__ import annotations

from collections.abc import Iterable

from talm.agent.pods import Pod
from talm.agent.record import cut


def why_waiting(pods: Iterable[Pod], job: str) -> str:
    """Say of the newest pod of this Job (by uid) what it waits for."""
    own = [pod for pod in pods if pod.job == job]
    if not own:
        return "it has no pod"
    status = max(own, key=lambda pod: pod.order).status
    for container in status.container_statuses or ():
        if (waiting := container.state.waiting) is not None:
            return cut(f"{waiting.reason}: {waiting.message}".strip(": "))
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return cut(f"{condition.reason}: {condition.message}".strip(": "))
    return f"its pod is {status.phase or 'unknown'}"
