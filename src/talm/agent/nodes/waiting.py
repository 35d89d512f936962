"""Why the pod of a node's Job does not come to run, in the words of kubelet, scheduler or nobody."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final

from talm.agent.record import cut
from talm.api.kinds import JOB
from talm.api.meta import Condition, ObjectMeta, Wire

_EPOCH: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


class _Waiting(Wire, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class _State(Wire, frozen=True, kw_only=True):
    waiting: _Waiting | None = None


class _Container(Wire, frozen=True, kw_only=True):
    state: _State = _State()


class _Status(Wire, frozen=True, kw_only=True):
    phase: str = ""
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[_Container, ...] | None = None


class WaitingPod(Wire, frozen=True, kw_only=True):
    """What is read of a pod that does not run."""

    metadata: ObjectMeta
    status: _Status = _Status()

    @property
    def job(self) -> str:
        """The uid of the Job that made it."""
        owners = self.metadata.owner_references or ()
        return next((owner.uid for owner in owners if owner.kind == JOB.kind), "")


def why_waiting(pods: Iterable[WaitingPod], job: str) -> str:
    """Say of the newest pod of this Job (by uid) what it waits for."""
    own = [pod for pod in pods if pod.job == job]
    if not own:
        return "it has no pod"
    status = max(own, key=lambda pod: pod.metadata.creation_timestamp or _EPOCH).status
    for container in status.container_statuses or ():
        if (waiting := container.state.waiting) is not None:
            return cut(f"{waiting.reason}: {waiting.message}".strip(": "))
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return cut(f"{condition.reason}: {condition.message}".strip(": "))
    return f"its pod is {status.phase or 'unknown'}"
