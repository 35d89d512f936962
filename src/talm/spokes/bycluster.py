"""Which way leads to a cluster, and leftovers of the other way.

Decided here: a cluster stays with the way by which its run was begun; what works have left is gone
before anything is begun by views and actions (the other direction is workeffects.py's).
Not here: what the hub knows of a cluster's agents (hub/reach.py).
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from typing import Final

from talm.core.model import Effect, Fact, Sight
from talm.core.removal import Removal
from talm.spokes.base import Order, Transport
from talm.spokes.manifestwork import ManifestWorkTransport

_BEFORE_ALL: Final = frozenset({Effect.CLEAN_UP, Effect.REMOVE_AGAIN})
# What a way sees only of what it has begun itself.
_BEGUN: Final = frozenset(
    {
        Fact.SETTING_UP,
        Fact.SETUP_LOST,
        Fact.JOB_UNASKED,
        Fact.JOB_MISSING,
        Fact.JOB_PENDING,
        Fact.JOB_ACTIVE,
        Fact.JOB_SUCCEEDED,
        Fact.JOB_DEADLINE,
        Fact.JOB_FAILED,
        Fact.JOB_UNREADY,
        Fact.JOB_PODLESS,
        Fact.JOB_RECOVERED,
    }
)


class Way(enum.StrEnum):
    """How a cluster is reached, as the setting `transport` names it."""

    VIEW_ACTION = "view-action"
    MANIFEST_WORK = "manifest-work"


class ByCluster:
    """A `Transport` that is one of two, cluster by cluster; `choose` is asked when a run begins."""

    def __init__(
        self,
        views: Transport,
        works: ManifestWorkTransport,
        choose: Callable[[str], Way],
    ) -> None:
        self._views = views
        self._works = works
        self._choose = choose
        self._ways: dict[str, tuple[str, Way]] = {}  # cluster -> run, way

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """Tell what the caches know of this cluster; no request is made."""
        if self._way(cluster, order, now) is Way.MANIFEST_WORK:
            return self._works.look(cluster, order, now)
        left = self._works.leftovers(cluster, order, now)
        return left or self._views.look(cluster, order, now)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        """Carry the effects out in order.  Raises `ApiError` at the first request that fails."""
        if Effect.FINISH_REMOVAL in effects:  # only deletions by actions have to be followed
            await self._views.carry_out(cluster, (Effect.FINISH_REMOVAL,), order)
            return
        if Effect.CLEAN_UP in effects or self._ways.get(cluster, ("",))[0] != order.run:
            self._ways[cluster] = (order.run, self._choose(cluster))
        if self._ways[cluster][1] is Way.MANIFEST_WORK:
            await self._works.carry_out(cluster, effects, order)
            return
        if _BEFORE_ALL.intersection(effects):
            await self._works.drop(cluster, order)
        await self._views.carry_out(cluster, effects, order)

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        """See Transport.  Those by works need none: their agent goes on deleting by itself."""
        return self._views.removals(order, now, asks)

    def watch(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change(cluster)` whenever something of either way has changed."""
        self._views.watch(on_change)
        self._works.watch(on_change)

    def _way(self, cluster: str, order: Order, now: dt.datetime) -> Way:
        """The way of this run: chosen at its clean-up; after a restart what it has made tells.

        A success that is only remembered tells of no way, since all that was made may be gone: it is
        chosen as it was then.
        """
        known = self._ways.get(cluster)
        if known is not None and known[0] == order.run:
            return known[1]
        if self._works.has_work(cluster, order.run):
            way = Way.MANIFEST_WORK
        elif self._works.remembers(cluster, order.run):
            way = self._choose(cluster)
        elif self._views.look(cluster, order, now).fact in _BEGUN:
            way = Way.VIEW_ACTION
        else:
            way = self._choose(cluster)
        self._ways[cluster] = (order.run, way)
        return way
