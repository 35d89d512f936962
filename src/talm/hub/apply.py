"""Carries the effects of one decision out: clusters side by side, then the hub's own objects.

A cluster's failure is its own: the others go on, and what failed is told to `settle`.  The finalizer is
dropped last, and only when nothing failed before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.words import FINALIZER, Phase
from talm.core.decide import Decision, Stage
from talm.core.model import Move, Outcomes, Snapshot
from talm.core.report import EFFECT_FAILED
from talm.errors import ApiError, NotFound
from talm.kube.client import Client
from talm.spokes.base import Order, Transport

from .placements import Placements
from .records import Records
from .throttle import Throttle

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wave:
    """How long one pass begins with clusters, and how many of them are under way at once at most.

    Whoever was not begun with waits for the next pass, so that the first clusters of a thousand are
    not held up until the last has had its turn.
    """

    seconds: float = math.inf
    hands: float = math.inf


# Until the first Job is active waves are short and narrow, so that answers come soon; then they are
# long, since nothing is sent while a pass is decided and stored.
FIRST_WAVES: Final = Wave(0.1, 8)
LATER_WAVES: Final = Wave(1.5)
WHOLE: Final = Wave()
# Those who are further get their turn first: a pipeline that is emptied from its end.
TURN: Final = {phase: turn for turn, phase in enumerate(reversed(Phase))}


class Applier:
    """The hands of the operator."""

    def __init__(
        self,
        client: Client,
        transport: Transport,
        placements: Placements,
        records: Records,
        throttle: Throttle,
    ) -> None:
        self._client = client
        self._transport = transport
        self._placements = placements
        self._records = records
        self._throttle = throttle

    async def apply(
        self, seen: Snapshot, decision: Decision, order: Order
    ) -> tuple[Decision, Outcomes]:
        """Carry the decision out, or as much of it as one pass has time for.

        Returns the decision without the moves that were not begun, and what became of the rest.  A
        farewell is carried out whole.  Raises CredentialError (no request can succeed then) and what
        must end the process.
        """
        whole = decision.ends or decision.stage in {Stage.ENDED, Stage.DELETING}
        asking = _in_turn(seen, decision.moves)
        begun, failed = await self._wave(seen, asking, order, WHOLE if whole else _wave(seen))
        moves = tuple(m for m in decision.moves if not m.effects or m.cluster in begun)
        decision = replace(decision, fleet=replace(decision.fleet, moves=moves))
        hub_failed = ""
        try:
            await self._hub(seen, decision, clean=not failed)
        except ApiError as exc:
            hub_failed = str(exc)
            log.warning("hub", cgu=_key(seen.cgu), error=hub_failed)
        return decision, Outcomes(failed, hub_failed)

    async def _wave(
        self, seen: Snapshot, moves: Sequence[Move], order: Order, wave: Wave
    ) -> tuple[set[str], dict[str, str]]:
        """Begin with clusters, and finish those; who was begun with, and who failed."""
        until = time.monotonic() + wave.seconds
        begun: set[str] = set()
        failed: dict[str, str] = {}
        waiting = iter(moves)

        async def hand() -> None:
            for move in waiting:
                begun.add(move.cluster)
                try:
                    async with self._throttle.slot():
                        own = order.for_cluster(move.cluster)
                        await self._records.note(seen, move, own)
                        await self._transport.carry_out(move.cluster, move.effects, own)
                except ApiError as exc:
                    failed[move.cluster] = str(exc)
                if time.monotonic() >= until:
                    return

        number = min(len(moves), self._throttle.limit, wave.hands)
        hands = [asyncio.ensure_future(hand()) for _ in range(int(number))]
        try:
            await asyncio.gather(*hands)
        finally:
            for task in hands:
                task.cancel()
            await asyncio.gather(*hands, return_exceptions=True)
        return begun, failed

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


def _wave(seen: Snapshot) -> Wave:
    precaching = seen.cgu.status.precaching
    phases = (precaching.status if precaching is not None else None) or {}
    return LATER_WAVES if Phase.ACTIVE in phases.values() else FIRST_WAVES


def _in_turn(seen: Snapshot, moves: Iterable[Move]) -> list[Move]:
    """The moves that ask for something: whoever failed last time lets the others go first.

    Else a few clusters whose requests end in a time-out would have every wave to themselves.
    """
    precaching = seen.cgu.status.precaching
    entries = (precaching.failures if precaching is not None else None) or ()
    failed = {entry.cluster for entry in entries if entry.reason == EFFECT_FAILED}

    def turn(move: Move) -> tuple[bool, int]:
        return move.cluster in failed, TURN[move.goto] if move.goto is not None else 0

    return sorted((move for move in moves if move.effects), key=turn)


def _key(cgu: ClusterGroupUpgrade) -> str:
    return "/".join(cgu.metadata.key)
