"""Carries the effects of one decision out: clusters side by side, then the hub's own objects.

A cluster's failure is its own: the others go on, and what failed is told to `settle`.  The finalizer is
dropped last, and only when nothing failed before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.words import FINALIZER
from talm.core.decide import Decision
from talm.core.model import Move, Outcomes, Snapshot
from talm.errors import ApiError, NotFound
from talm.kube.client import Client
from talm.spokes.base import Order, Transport

from .placements import Placements
from .throttle import Throttle

log = structlog.get_logger(__name__)


class Applier:
    """The hands of the operator."""

    def __init__(
        self, client: Client, transport: Transport, placements: Placements, throttle: Throttle
    ) -> None:
        self._client = client
        self._transport = transport
        self._placements = placements
        self._throttle = throttle

    async def apply(self, seen: Snapshot, decision: Decision, order: Order) -> Outcomes:
        """Carry everything out; raises nothing but what must end the process."""
        failed = await self._moves(decision.moves, order)
        hub_failed = ""
        try:
            await self._hub(seen, decision, clean=not failed)
        except ApiError as exc:
            hub_failed = str(exc)
            log.warning("hub", cgu=_key(seen.cgu), error=hub_failed)
        return Outcomes(failed, hub_failed)

    async def _moves(self, moves: Iterable[Move], order: Order) -> dict[str, str]:
        failed: dict[str, str] = {}

        async def one(move: Move) -> None:
            async with self._throttle.slot():
                await self._transport.carry_out(move.cluster, move.effects, order)

        asking = [move for move in moves if move.effects]
        results = await asyncio.gather(*map(one, asking), return_exceptions=True)
        for move, result in zip(asking, results, strict=True):
            if isinstance(result, ApiError):
                failed[move.cluster] = str(result)
            elif isinstance(result, BaseException):
                raise result
        return failed

    async def _hub(self, seen: Snapshot, decision: Decision, *, clean: bool) -> None:
        if decision.placements is not None:
            await self._placements.bring_about(seen.cgu, decision.placements)
        if decision.drop_placements:
            await self._drop_placements(seen, required=not decision.drop_finalizer)
        if decision.add_finalizer:
            await self._finalizers(seen.cgu, (*(seen.cgu.metadata.finalizers or ()), FINALIZER))
        if decision.drop_finalizer and clean:
            others = tuple(f for f in seen.cgu.metadata.finalizers or () if f != FINALIZER)
            await self._finalizers(seen.cgu, others)

    async def _drop_placements(self, seen: Snapshot, *, required: bool) -> None:
        """A deleted CGU must not hang on a Placement whose policy or namespace is gone."""
        try:
            await self._placements.delete_all(seen.cgu)
        except ApiError as exc:
            if required:
                raise
            log.warning("placements not deleted", cgu=_key(seen.cgu), error=str(exc))

    async def _finalizers(self, cgu: ClusterGroupUpgrade, finalizers: tuple[str, ...]) -> None:
        """Written against the version that was seen: somebody else may have one there too."""
        meta = cgu.metadata
        patch = {
            "metadata": {
                "finalizers": list(finalizers) or None,
                "resourceVersion": meta.resource_version,
            }
        }
        try:
            await self._client.merge_patch(kinds.CGU, meta.name, patch, meta.namespace)
        except NotFound:
            return


def _key(cgu: ClusterGroupUpgrade) -> str:
    return "/".join(cgu.metadata.key)
