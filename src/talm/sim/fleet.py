"""A fleet: N spokes, their agents and the hub's own controllers, in one process, over a hub's
real API server.

    hub API server -> one informer per kind -> Feed -> Link (per cluster) -> agents -> spoke
                                            -> collector, scheduler, propagator

    async with Fleet(client, 20) as fleet:
        fleet["spoke-0003"].link.down()
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import structlog

from talm.api import kinds
from talm.errors import SetupError
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.sim.agents.policyagent import PolicyScenario, not_yet_compliant
from talm.sim.agents.wire import Action, View, own_bytes
from talm.sim.agents.workagent import WorkHabits
from talm.sim.agents.workwire import Work
from talm.sim.clock import Clock
from talm.sim.faults import Faults
from talm.sim.hubside import policywire
from talm.sim.hubside.actiongc import KEEP_S, ActionCollector
from talm.sim.hubside.boundedhub import BoundedHub
from talm.sim.hubside.clusters import GRACE_S, ClusterFacts, ClusterKeeper
from talm.sim.hubside.feed import Feed
from talm.sim.hubside.placements import Cluster, Decision, Placement, SetBinding
from talm.sim.hubside.policyengine import Propagator
from talm.sim.hubside.policywire import Binding, Policy
from talm.sim.hubside.scheduler import Scheduler
from talm.sim.links import Link
from talm.sim.mischief import Mischief, with_outcomes
from talm.sim.site import ACTIONS, POLICIES, VIEWS, WORKS, Site, build_site
from talm.sim.spoke.memoryspoke import MemorySpoke, always_succeeds
from talm.sim.spoke.spokejobs import Scenario, SpokeTimes
from talm.sim.spoke.spokes import SpokeApi

log = structlog.get_logger(__name__)

SYNC_S: Final = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class FleetSettings:
    """How a fleet behaves.  Seconds are real ones on the hub's side, at `pace` on spokes.

    `register`: create the clusters' hub objects where they are missing.
    `controllers`: play the hub's own too (collector, placements, policies, availability);
    off where the hub has real ones.
    `agents`: play the view agents, the action agents and their collector; off where real ones run.
    `add_ons`: the clusters have the add-on that answers views and carries out actions, but those
    in `plain`.
    `work_agents`: play the work agents, with `habits`; off where real ones run.
    `policy_engine`: play the policy propagator and the clusters' policy controllers; the same.
    """

    pace: float = 1.0
    times: SpokeTimes = dataclasses.field(default_factory=SpokeTimes)
    scenario: Scenario = always_succeeds
    policies: PolicyScenario = not_yet_compliant
    faults: Faults = dataclasses.field(default_factory=Faults)
    facts: ClusterFacts = dataclasses.field(default_factory=ClusterFacts)
    rtt_s: float = 0.0
    quiet: bool = False
    keep_actions_s: float = KEEP_S
    grace_s: float = GRACE_S
    require_set_binding: bool = False
    writers: int = 32
    register: bool = True
    controllers: bool = True
    agents: bool = True
    add_ons: bool = True
    plain: Collection[str] = ()
    work_agents: bool = True
    policy_engine: bool = True
    habits: WorkHabits = dataclasses.field(default_factory=WorkHabits)


class Fleet:
    """Use it as an async context manager; sites by cluster name."""

    def __init__(
        self,
        client: Client,
        clusters: int | Sequence[str],
        settings: FleetSettings | None = None,
        *,
        spokes: Mapping[str, SpokeApi] | None = None,
    ) -> None:
        """`clusters`: names, or how many (spoke-0001 ...); `spokes` replaces in-memory ones."""
        self.names = cluster_names(clusters) if isinstance(clusters, int) else list(clusters)
        self.settings = settings or FleetSettings()
        self.sites: dict[str, Site] = {}
        self.propagator: Propagator | None = None
        """The hub's, while it is played."""
        self._client = client
        self._spokes = spokes or {}
        self._links: dict[str, Link] = {}
        self._feeds: dict[int, Feed[Any]] = {}
        self._informers: list[Informer[Any]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._stops: list[Any] = []

    def __getitem__(self, cluster: str) -> Site:
        return self.sites[cluster]

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites.values())

    def __len__(self) -> int:
        return len(self.sites)

    async def __aenter__(self) -> Self:
        """Register the clusters and start everything; raises ApiError, SetupError."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def job_uids(self) -> dict[tuple[str, str, str], list[str]]:
        """Jobs ever created on in-memory spokes: (cluster, namespace, name) -> uids in order."""
        return {
            (site.name, *key): uids
            for site in self
            if isinstance(site.spoke, MemorySpoke)
            for key, uids in site.spoke.job_uids().items()
        }

    def leftovers(self) -> dict[str, list[str]]:
        """What is on in-memory spokes beyond a fresh one, by cluster; empty when all are clean."""
        found = {s.name: s.spoke.leftovers() for s in self if isinstance(s.spoke, MemorySpoke)}
        return {name: left for name, left in found.items() if left}

    async def stop(self) -> None:
        """End everything; hub objects stay."""
        for part in self._stops:
            part.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for site in self:
            site.stop()
        await asyncio.sleep(0)  # lets what was cancelled end before the loop may close

    async def _start(self) -> None:
        settings = self.settings
        clock = Clock(pace=settings.pace)
        hub = BoundedHub(self._client, writers=settings.writers)
        struck = settings.faults.plan(self.names)
        scenario = with_outcomes(settings.scenario, struck)
        for name in self.names:
            own = clock.beside(skew=dt.timedelta(seconds=struck[name].skew_s))
            spoke = self._spokes.get(name) or MemorySpoke(
                name, own, times=settings.times, scenario=scenario
            )
            self.sites[name] = build_site(
                name,
                spoke,
                own,
                hub,
                listing=_Lister(name, self._feeds),
                policies=settings.policies,
                habits=settings.habits,
                rtt_s=settings.rtt_s,
                quiet=settings.quiet,
            )
            self._links[name] = self.sites[name].link
        if settings.register:
            await self._register(hub, clock)
        self._watch(hub, clock)
        await self._synced()
        mischief = Mischief(self.sites, struck)
        self._stops.append(mischief)
        mischief.start()
        log.info("fleet runs", clusters=len(self), hub=self._client.server)

    async def _register(self, hub: BoundedHub, clock: Clock) -> None:
        add_ons = self.settings.add_ons and await self._client.serves(kinds.ADD_ON)
        keeper = ClusterKeeper(
            hub,
            clock,
            grace_s=self.settings.grace_s,
            add_ons=add_ons,
            plain=self.settings.plain,
        )
        facts = self.settings.facts
        await asyncio.gather(*(keeper.register(name, facts) for name in self.names))
        if self.settings.controllers:
            self._stops.append(keeper)
            for name, link in self._links.items():
                keeper.follow(name, link)

    def _watch(self, hub: BoundedHub, clock: Clock) -> None:
        settings = self.settings
        links = self._links
        also_action = None
        if settings.controllers and settings.agents:
            collector = ActionCollector(hub, clock, keep_s=settings.keep_actions_s)
            self._stops.append(collector)
            also_action = collector.deliver
        if settings.controllers:
            scheduler = Scheduler(
                hub, clock, self.names, require_set_binding=settings.require_set_binding
            )
            self._stops.append(scheduler)
            if settings.policy_engine:
                self.propagator = Propagator(hub, is_cluster=scheduler.knows)
                self._stops.append(self.propagator)
            self._follow_placements(scheduler, self.propagator)
        also_policy = self.propagator.policy_changed if self.propagator else None
        views: Feed[View] = Feed(links, VIEWS, shrink=own_bytes)
        actions: Feed[Action] = Feed(links, ACTIONS, also=also_action)
        policies: Feed[Policy] = Feed(
            links, POLICIES, shrink=policywire.own_bytes, also=also_policy
        )
        works: Feed[Work] = Feed(links, WORKS)
        self._feeds |= {VIEWS: views, ACTIONS: actions, POLICIES: policies, WORKS: works}
        if settings.work_agents:
            self._inform(kinds.MANIFEST_WORK, Work, works)
        if settings.agents and settings.add_ons:
            self._inform(kinds.VIEW, View, views)
            self._inform(kinds.ACTION, Action, actions)
        if self.propagator:
            self._inform(kinds.POLICY, Policy, policies)

    def _follow_placements(self, scheduler: Scheduler, propagator: Propagator | None) -> None:
        def decided(namespace: str, name: str, new: Decision | None) -> None:
            scheduler.decision_changed(namespace, name, new)
            if propagator:
                propagator.decision_changed(namespace, name, new)

        self._inform(kinds.MANAGED_CLUSTER, Cluster, Feed({}, 0, also=scheduler.cluster_changed))
        self._inform(kinds.PLACEMENT, Placement, Feed({}, 0, also=scheduler.placement_changed))
        self._inform(kinds.PLACEMENT_DECISION, Decision, Feed({}, 0, also=decided))
        self._inform(
            kinds.CLUSTER_SET_BINDING, SetBinding, Feed({}, 0, also=scheduler.binding_changed)
        )
        if propagator:
            bound: Feed[Binding] = Feed({}, 0, also=propagator.binding_changed)
            self._inform(kinds.PLACEMENT_BINDING, Binding, bound)

    def _inform(self, kind: kinds.Kind, struct: type[Any], feed: Feed[Any]) -> None:
        informer = Informer(self._client, kind, struct, feed.on_change, optional=True)
        self._informers.append(informer)
        self._tasks.append(asyncio.get_running_loop().create_task(informer.run()))

    async def _synced(self) -> None:
        waits = [informer.synced.wait() for informer in self._informers]
        try:
            async with asyncio.timeout(SYNC_S):
                await asyncio.gather(*waits)
        except TimeoutError:
            late = [str(i.kind) for i in self._informers if not i.synced.is_set()]
            raise SetupError(
                f"the hub {self._client.server} did not list {', '.join(late)} in {SYNC_S:.0f} s"
            ) from None


class _Lister:
    """The hub's present objects for one cluster's agents."""

    def __init__(self, cluster: str, feeds: Mapping[int, Feed[Any]]) -> None:
        self._cluster = cluster
        self._feeds = feeds

    def __call__(self, number: int) -> list[tuple[str, Any]]:
        feed = self._feeds.get(number)
        return feed.of(self._cluster) if feed else []


def cluster_names(count: int) -> list[str]:
    """`spoke-0001` and so on."""
    return [f"spoke-{number:04d}" for number in range(1, count + 1)]
