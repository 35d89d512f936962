"""The policy engine's rows in memory: the simulated one in virtual time, milliseconds a row."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from talm.api import kinds
from talm.api.words import CLUSTER_NAME_LABEL
from talm.sim.clock import Clock
from talm.sim.hubside.feed import Feed
from talm.sim.hubside.placements import Cluster, Decision, Placement
from talm.sim.hubside.policyengine import Propagator
from talm.sim.hubside.policywire import Binding, Policy
from talm.sim.hubside.scheduler import Scheduler
from talm.sim.links import Link
from talm.sim.site import POLICIES, Site, build_site
from talm.sim.spoke.memoryspoke import MemorySpoke
from tests.sim.fakehub import FakeHub
from tests.sim.virtual import VirtualLoop

from .memory import HubHand
from .policyplays import Theatre, plan_of
from .policyrows import CLUSTERS

_START: Final = dt.datetime(2024, 5, 1, 12, 0, 0, tzinfo=dt.UTC)


def perform_in_memory(slug: str) -> str:
    """Play one row in a world of its own; its transcript."""

    async def main() -> str:
        world = _World()
        try:
            return (await Theatre(HubHand(world.hub), world.spoil).play([slug]))[slug]
        finally:
            world.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class _World:
    """A hub with scheduler and propagator, and the clusters' policy controllers."""

    def __init__(self) -> None:
        self.hub = FakeHub()
        self._clock = Clock(start=_START)
        self._scheduler = Scheduler(self.hub, self._clock, CLUSTERS)
        self._propagator = Propagator(self.hub, is_cluster=CLUSTERS.__contains__)
        self._links: dict[str, Link] = {}
        self._policies: Feed[Policy] = Feed(
            self._links, POLICIES, also=self._propagator.policy_changed
        )
        self._sites = {name: self._build_site(name) for name in CLUSTERS}
        self._links |= {name: site.link for name, site in self._sites.items()}
        self._connect()

    async def spoil(self, cluster: str, child: str) -> None:
        self._sites[cluster].policies.spoil(child)

    def close(self) -> None:
        """End everything."""
        self._scheduler.stop()
        self._propagator.stop()
        for site in self._sites.values():
            site.stop()

    def _build_site(self, name: str) -> Site:
        return build_site(
            name,
            MemorySpoke(name, self._clock),
            self._clock,
            self.hub,
            listing=lambda number: self._policies.of(name) if number == POLICIES else [],
            policies=plan_of,
        )

    def _connect(self) -> None:
        hub, scheduler, propagator = self.hub, self._scheduler, self._propagator
        hub.watch(kinds.MANAGED_CLUSTER, Cluster, scheduler.cluster_changed)
        hub.watch(kinds.PLACEMENT, Placement, scheduler.placement_changed)
        hub.watch(kinds.PLACEMENT_DECISION, Decision, scheduler.decision_changed)
        hub.watch(kinds.PLACEMENT_DECISION, Decision, propagator.decision_changed)
        hub.watch(kinds.PLACEMENT_BINDING, Binding, propagator.binding_changed)
        hub.watch(kinds.POLICY, Policy, _news(self._policies))
        for name in CLUSTERS:
            meta = {"name": name, "labels": {CLUSTER_NAME_LABEL: name}}
            hub.put(kinds.MANAGED_CLUSTER, {"metadata": meta})


def _news(feed: Feed[Any]) -> Callable[[str, str, Any], None]:
    return lambda namespace, name, new: feed.on_change((namespace, name), None, new)
