"""What the hub says of all cases, kept up to date by informers: nobody polls it.

CGUs whole; of views and works only that they are there, of actions whether they were carried out: those
are the hub's collector's, which keeps what clocks that are ahead have stamped for as long as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from talm.api import kinds
from talm.api.cgu import CguStatus, ClusterGroupUpgrade
from talm.api.meta import ObjectMeta, Wire
from talm.api.ocm import ManagedClusterAction
from talm.kube.client import Client
from talm.kube.watch import Informer


class Named(Wire, frozen=True, kw_only=True):
    """Any object, as far as its name goes."""

    metadata: ObjectMeta


OURS: Final = (kinds.VIEW, kinds.MANIFEST_WORK)


class Lookout:
    """`async with Lookout(client)`."""

    def __init__(self, client: Client) -> None:
        self._cgus = Informer(client, kinds.CGU, ClusterGroupUpgrade, lambda *_: None)
        self._ours = {kind: Informer(client, kind, Named, lambda *_: None) for kind in OURS}
        self._actions = Informer(client, kinds.ACTION, ManagedClusterAction, lambda *_: None)
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        informers: list[Informer[Any]] = [self._cgus, self._actions, *self._ours.values()]
        self._tasks = [asyncio.ensure_future(informer.run()) for informer in informers]
        await asyncio.gather(*(informer.synced.wait() for informer in informers))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def names(self, namespace: str) -> list[str]:
        """The CGUs that are there."""
        return [name for space, name in self._cgus.cache if space == namespace]

    def has_begun(self) -> bool:
        """Whether any CGU has clusters under way."""
        return any(cgu.status.precaching for cgu in self._cgus.cache.values())

    def phases(self, namespace: str, name: str) -> Mapping[str, str]:
        """State by cluster."""
        block = self._status(namespace, name).precaching
        return (block.status if block else None) or {}

    def failures(self, namespace: str, name: str) -> dict[str, tuple[str, str]]:
        """cluster -> (reason, message)"""
        block = self._status(namespace, name).precaching
        entries = (block.failures if block else None) or ()
        return {entry.cluster: (entry.reason, entry.message) for entry in entries}

    def conditions(self, namespace: str, name: str) -> dict[str, str]:
        """type -> status"""
        return {c.type: c.status for c in self._status(namespace, name).conditions or ()}

    def left(self, clusters: Iterable[str]) -> list[str]:
        """Views, works and actions that wait, in the clusters' namespaces: CLUSTER/NAME, sorted."""
        there = [key for informer in self._ours.values() for key in informer.cache]
        there += [
            key
            for key, action in self._actions.cache.items()
            if not (action.status and action.status.conditions)
        ]
        wanted = frozenset(clusters)
        return sorted(f"{space}/{name}" for space, name in there if space in wanted)

    def _status(self, namespace: str, name: str) -> CguStatus:
        found = self._cgus.get(name, namespace)
        return found.status if found is not None else CguStatus()
