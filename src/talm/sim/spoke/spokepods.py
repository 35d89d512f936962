"""What becomes of pods on an in-memory spoke: the statuses that scheduler and kubelet write.

    {} -> scheduled -> container waits: ErrImagePull -> ImagePullBackOff    the image cannot be pulled
      |             -> Running -> Succeeded
      +-> not scheduled: Unschedulable                                      no node takes it
    (refused: never stored)                                                 admission says no

An obstacle is in the way of every pod of the spoke, those of Jobs included, until it is lifted.  A pod
that starts does what it was made for within a moment: only Jobs have work that takes time.
Texts: Kubernetes 1.31 and later with containerd.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from typing import Any, Final

from talm.api import kinds
from talm.errors import Forbidden
from talm.sim.clock import Clock
from talm.sim.spoke.objectstore import Object, ObjectStore


class Obstacle(enum.Enum):
    """What keeps pods from starting."""

    PULL = "their image cannot be pulled"
    UNSCHEDULABLE = "no node takes them"
    REFUSED = "admission refuses them"


class Obstacles:
    """What is in the way on one spoke, if anything."""

    def __init__(self) -> None:
        self.now: Obstacle | None = None
        self._changed = asyncio.Event()

    def put(self, obstacle: Obstacle) -> None:
        """From now on this is in the way."""
        self._set(obstacle)

    def lift(self) -> None:
        """Nothing is in the way any more."""
        self._set(None)

    async def gone(self, *which: Obstacle) -> None:
        """Wait until none of these is in the way; none named: nothing at all."""
        while self.now is not None and (not which or self.now in which):
            await self._changed.wait()

    def _set(self, now: Obstacle | None) -> None:
        self.now = now
        self._changed.set()
        self._changed = asyncio.Event()


NO_ROOM: Final = (
    "0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available:"
    " 1 Preemption is not helpful for scheduling."
)
_BACK_OFF_S: Final = 10.0


def refusal(name: str) -> Forbidden:
    """Pod Security admission's answer where a namespace does not allow what the workload needs."""
    text = (
        f'pods "{name}" is forbidden: violates PodSecurity "baseline:latest": host namespaces'
        ' (hostNetwork=true), hostPath volumes (volume "state")'
    )
    return Forbidden("POST", name, 403, text, reason="Forbidden")


async def live(
    pod: Object, store: ObjectStore, clock: Clock, way: Obstacles, start_s: float
) -> None:
    """Let a pod go its way until it has succeeded or is gone."""
    while way.now is Obstacle.UNSCHEDULABLE:
        store.put_status(kinds.POD, pod, _unscheduled(clock.stamp()))
        await way.gone(Obstacle.UNSCHEDULABLE)
    await clock.sleep(start_s)
    while way.now is Obstacle.PULL:
        for state in _pull_states(_image(pod)):
            store.put_status(kinds.POD, pod, _on_node(clock.stamp(), "Pending", {"waiting": state}))
            if way.now is Obstacle.PULL:
                await clock.sleep(_BACK_OFF_S * (state["reason"] == "ErrImagePull"))
        await way.gone(Obstacle.PULL)
    stamp = clock.stamp()
    store.put_status(kinds.POD, pod, _on_node(stamp, "Running", {"running": {"startedAt": stamp}}))
    end = {"exitCode": 0, "reason": "Completed", "startedAt": stamp, "finishedAt": clock.stamp()}
    store.put_status(kinds.POD, pod, _on_node(stamp, "Succeeded", {"terminated": end}))


def _image(pod: Object) -> str:
    (container,) = pod["spec"]["containers"]
    return str(container["image"])


def _pull_states(image: str) -> tuple[dict[str, str], ...]:
    failed = (
        f'failed to pull and unpack image "{image}": failed to resolve reference "{image}":'
        f" {image}: not found"
    )
    again = f'Back-off pulling image "{image}": ErrImagePull: {failed}'
    return (
        {"reason": "ErrImagePull", "message": failed},
        {"reason": "ImagePullBackOff", "message": again},
    )


def _unscheduled(stamp: str) -> dict[str, Any]:
    said = _condition("PodScheduled", "False", stamp, "Unschedulable", NO_ROOM)
    return {"phase": "Pending", "qosClass": "Burstable", "conditions": [said]}


def _on_node(stamp: str, phase: str, state: Mapping[str, Any]) -> dict[str, Any]:
    name = "pre-cache-container"
    unready = ("ContainersNotReady", f"containers with unready status: [{name}]")
    conditions = [
        _condition("PodReadyToStartContainers", "True", stamp),
        _condition("Initialized", "True", stamp),
        _condition("Ready", "False", stamp, *unready),
        _condition("ContainersReady", "False", stamp, *unready),
        _condition("PodScheduled", "True", stamp),
    ]
    container = {"name": name, "ready": False, "restartCount": 0, "state": dict(state)}
    return {
        "phase": phase,
        "qosClass": "Burstable",
        "conditions": conditions,
        "containerStatuses": [container],
    }


def _condition(
    kind: str, status: str, stamp: str, reason: str = "", message: str = ""
) -> dict[str, Any]:
    said = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": stamp}
    return said | ({"reason": reason, "message": message} if reason else {})
