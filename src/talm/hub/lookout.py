"""A transport that remembers what it saw: a cluster is looked at again when something was heard of it.

A pass looks at every cluster that is under way, and of a thousand few have changed since the last one.
What was seen stands until an event of that cluster, an effect of ours on it, another order, or the moment
at which time alone may tell more.  The workload's record, of which thousands may come each second, is decoded
once for each that comes, and not at each pass.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from talm.api.progress import read_record
from talm.core.model import Effect, Sight
from talm.core.removal import Removal
from talm.spokes.base import Order, Transport

# Whatever a transport forgets with time without saying so is looked at again so often.
GOOD_FOR: Final = dt.timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Seen:
    sight: Sight
    # What of the order a look depends on; the specification is not part of it.
    asked: tuple[str, int, int]
    at: dt.datetime
    until: dt.datetime


class Lookout:
    """Implements `Transport` over another one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._seen: dict[str, _Seen] = {}
        transport.watch(self._forget)

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """Tell what was last seen of this cluster, looking again when that may have changed."""
        asked = (order.run, order.job_deadline_s, order.clusters)
        seen = self._seen.get(cluster)
        if seen is None or seen.asked != asked or now >= seen.until:
            sight = _decoded(self._transport.look(cluster, order, now))
            good_for = GOOD_FOR if sight.recheck is None else min(GOOD_FOR, sight.recheck)
            self._seen[cluster] = _Seen(sight, asked, now, now + good_for)
            return sight
        if seen.sight.recheck is None:
            return seen.sight
        return replace(seen.sight, recheck=seen.sight.recheck - (now - seen.at))

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        """Carry the effects out; whatever became of them, the cluster is looked at anew."""
        try:
            await self._transport.carry_out(cluster, effects, order)
        finally:
            self._forget(cluster)

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        """As the transport that is looked through, which keeps few clusters for it."""
        return self._transport.removals(order, now, asks)

    def watch(self, on_change: Callable[[str], None]) -> None:
        """As the transport that is looked through."""
        self._transport.watch(on_change)

    def _forget(self, cluster: str) -> None:
        self._seen.pop(cluster, None)


def _decoded(sight: Sight) -> Sight:
    """The sight with the record that came with it."""
    return replace(sight, record=read_record(sight.progress)) if sight.progress else sight
