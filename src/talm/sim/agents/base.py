"""What the view agent and the action agent of a spoke have in common: where they stand, what
they know of the hub, and how they start again.

Each is a controller with one worker on a cache of one kind of hub objects of its cluster's
namespace.  They know nothing of each other: there is no order between an action and a view.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from talm.api.kinds import Kind
from talm.kube.watch import HasMetadata
from talm.sim.agents.restmapper import RestMapper
from talm.sim.agents.workqueue import SerialQueue
from talm.sim.clock import Clock
from talm.sim.links import Link
from talm.sim.spoke.spokes import SpokeApi


class Hub(Protocol):
    """What the agents and the hub's controllers write; `talm.kube.client.Client` is one."""

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST; AlreadyExists."""
        ...

    async def replace(
        self, kind: Kind, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        """PUT; Conflict."""
        ...

    async def merge_patch(
        self,
        kind: Kind,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> dict[str, Any]:
        """PATCH with a JSON merge patch."""
        ...

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """DELETE; NotFound."""
        ...


ObjectT = TypeVar("ObjectT", bound=HasMetadata)


@dataclasses.dataclass(frozen=True, slots=True)
class Post:
    """Where an agent stands: its spoke, its clock, its way to the hub.

    `quiet`: leave out a PUT of the status that would change nothing; nobody can see the
    difference but the API server's CPU (a view is written back every interval).
    """

    cluster: str
    spoke: SpokeApi
    mapper: RestMapper
    clock: Clock
    link: Link
    hub: Hub
    quiet: bool = False


class Agent(Generic[ObjectT]):
    """A cache of hub objects by name and a queue with one worker; see SerialQueue."""

    def __init__(self, post: Post, *, name: str) -> None:
        self.post = post
        self.cache: dict[str, ObjectT] = {}
        self.queue = SerialQueue(self.reconcile, name=f"{name} {post.cluster}")
        self.number = post.link.connect(self)

    async def reconcile(self, name: str) -> float | None:
        """Look after one object; returns seconds to the next look of its own accord."""
        raise NotImplementedError

    def deliver(self, name: str, obj: ObjectT | None) -> None:
        """See links.Receiver."""
        if obj is None:
            self.cache.pop(name, None)
        else:
            self.cache[name] = obj
        self.queue.add(name)

    def relist(self, objects: Iterable[tuple[str, ObjectT]]) -> None:
        """See links.Receiver.  Even unchanged objects are looked at, in the order given."""
        gone = set(self.cache)
        self.cache.clear()
        for name, obj in objects:
            self.cache[name] = obj
            self.queue.add(name)
        for name in sorted(gone - set(self.cache)):
            self.queue.add(name)

    def crash(self) -> None:
        """The process ends: work in hand is cut off, timers and back-offs are forgotten."""
        self.queue.reset()
        self.cache.clear()

    def stop(self) -> None:
        """End for good."""
        self.queue.stop()

    async def put_status(self, kind: Kind, body: Mapping[str, Any], *, loses: bool = False) -> None:
        """`PUT .../status` over the link; raises ApiError."""
        hub = self.post.hub
        await self.post.link.call(
            lambda: hub.replace(kind, body, subresource="status"), loses=loses
        )
