"""The resolved children of policies with hub templates, followed from the first time that somebody asks.

    of(root) ── followed? ──► what it asks of each cluster (None until all children were listed)
        └─ not yet ──► one informer for the children of this root

Of all other policies it is enough to know that a child is there: nobody pays for templates who uses none.
What a child asks for is kept once for all clusters that it is the same for.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from talm.api import kinds, ocm
from talm.api.words import ROOT_POLICY_LABEL
from talm.core.model import ResolvedPolicy
from talm.kube.watch import Informer, Source

from .policyreader import read_child

Key = tuple[str, str]
OnChange = Callable[[Key, Any, Any], None]


@dataclass(slots=True)
class _Followed:
    """One root policy's children by cluster."""

    informer: Informer[ocm.Policy]
    by_cluster: dict[str, ResolvedPolicy] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class Children:
    """`on_change` hears of each child's change, and of each root whose children were listed."""

    def __init__(self, client: Source, on_change: OnChange) -> None:
        self._client = client
        self._on_change = on_change
        self._followed: dict[Key, _Followed] = {}
        self._known: weakref.WeakValueDictionary[bytes, ResolvedPolicy] = (
            weakref.WeakValueDictionary()
        )
        self._wanted: asyncio.Queue[Key] = asyncio.Queue()

    async def run(self) -> None:
        """Follow whatever is asked for, until cancelled.  Raises what an informer raises."""
        async with asyncio.TaskGroup() as group:
            while True:
                root = await self._wanted.get()
                followed = self._followed.get(root)
                if followed is not None and followed.task is None:
                    followed.task = group.create_task(self._follow(root, followed))

    def of(self, root: Key) -> Mapping[str, ResolvedPolicy] | None:
        """What the root policy (namespace, name) asks of each cluster; a copy would cost too much.

        None until all children were listed: then `on_change` is called.
        """
        followed = self._followed.get(root)
        if followed is None:
            followed = self._followed[root] = _Followed(self._informer(root))
            self._wanted.put_nowait(root)
        return followed.by_cluster if followed.informer.synced.is_set() else None

    def forget(self, root: Key) -> None:
        """The root policy is gone."""
        followed = self._followed.pop(root, None)
        if followed is not None and followed.task is not None:
            followed.task.cancel()

    def _informer(self, root: Key) -> Informer[ocm.Policy]:
        """By name: the label that marks a child may have any value (existing operator)."""
        return Informer(
            self._client,
            kinds.POLICY,
            ocm.Policy,
            lambda key, old, new: self._heard(root, key, old, new),
            label_selector=ROOT_POLICY_LABEL,
            field_selector=f"metadata.name={'.'.join(root)}",
            optional=True,
        )

    def _heard(self, root: Key, key: Key, old: ocm.Policy | None, new: ocm.Policy | None) -> None:
        followed = self._followed.get(root)
        if followed is None:
            return
        before = followed.by_cluster.get(key[0])
        if new is None:
            after = None
            followed.by_cluster.pop(key[0], None)
        else:
            after = followed.by_cluster[key[0]] = self._one_of(read_child(new))
        if after is not before:  # a status that changes is no news here
            self._on_change(key, old, new)

    def _one_of(self, found: ResolvedPolicy) -> ResolvedPolicy:
        key = msgspec.json.encode((found.objects, found.broken), order="deterministic")
        return self._known.setdefault(key, found)

    async def _follow(self, root: Key, followed: _Followed) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(followed.informer.run())
            await followed.informer.synced.wait()
            self._on_change(("", ".".join(root)), None, None)
