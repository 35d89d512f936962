"""The hub as everything simulated writes to it: only so many requests at a time.

A thousand agents have a thousand clients in reality; here they share one connection pool and
one core, and more requests in flight only make all of them slower.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from talm.api.kinds import Kind
from talm.sim.agents.base import Hub


class BoundedHub:
    """Implements Hub over another one, at most `writers` requests at once."""

    def __init__(self, hub: Hub, *, writers: int) -> None:
        self._hub = hub
        self._turn = asyncio.Semaphore(writers)

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        """See Hub."""
        async with self._turn:
            return await self._hub.create(kind, body)

    async def replace(
        self, kind: Kind, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        """See Hub."""
        async with self._turn:
            return await self._hub.replace(kind, body, subresource=subresource)

    async def merge_patch(
        self,
        kind: Kind,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> dict[str, Any]:
        """See Hub."""
        async with self._turn:
            return await self._hub.merge_patch(
                kind, name, patch, namespace, subresource=subresource
            )

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """See Hub."""
        async with self._turn:
            await self._hub.delete(kind, name, namespace, uid=uid, propagation=propagation)
