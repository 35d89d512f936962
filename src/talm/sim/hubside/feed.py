"""One informer's hub objects, handed to the spokes that they belong to.

A thousand agents share one watch per kind: the namespace of an object is its cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from talm.kube.watch import HasMetadata
from talm.sim.links import Link

T = TypeVar("T", bound=HasMetadata)


class Feed(Generic[T]):
    """What the hub has, by cluster and name; tells each cluster's link of changes.

    `number` is the agents' number at their links (see `Link.connect`).  `shrink` makes an
    object independent of the bytes it was decoded from; `also` hears every change as well.
    """

    def __init__(
        self,
        links: Mapping[str, Link],
        number: int,
        *,
        shrink: Callable[[T], T] | None = None,
        also: Callable[[str, str, T | None], None] | None = None,
    ) -> None:
        self._links = links
        self._number = number
        self._shrink = shrink
        self._also = also
        self._objects: dict[str, dict[str, T]] = {}

    def on_change(self, key: tuple[str, str], _old: T | None, new: T | None) -> None:
        """An informer's callback."""
        namespace, name = key
        if new is None:
            self._objects.get(namespace, {}).pop(name, None)
        else:
            new = self._shrink(new) if self._shrink else new
            self._objects.setdefault(namespace, {})[name] = new
        if self._also is not None:
            self._also(namespace, name, new)
        link = self._links.get(namespace)
        if link is not None:
            link.offer(self._number, name, new)

    def of(self, cluster: str) -> list[tuple[str, T]]:
        """What a list of the cluster's namespace returns now: sorted by name."""
        return sorted(self._objects.get(cluster, {}).items())
