"""The script's world on real API servers: a hub and a spoke, and agents of either kind, each
cluster's behind gates of its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from talm.api import kinds
from talm.errors import TooBusy
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.sim.agents.wire import Action
from talm.sim.clock import Clock
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.hubside.actiongc import ActionCollector
from talm.sim.hubside.feed import Feed
from talm.sim.plane import foreign_crds
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.sim.plane.identities import write_private
from talm.sim.plane.realagents import action_collector, view_action_agent
from talm.sim.spoke.kubespoke import KubeSpoke

from .journal import Change, Faults, Journal, Side
from .proxy import Gate, now
from .script import Row, perform
from .stage import HELD

WATCH_S: Final = 3600.0
BUSY_S: Final = 0.2
WATCHES: Final = 2
"""An agent has one of views and one of actions."""
SHARED: Final = 3
"""Clusters for the rows that disturb nobody; an agent sends the hub 5 requests a second."""


class Agents(Protocol):
    """The view agent and the action agent of one cluster."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """As a crash."""
        ...


class RealAgents:
    """OCM's, in a process."""

    def __init__(self, cluster: str, hub: Path, spoke: Path) -> None:
        log = hub.with_name(f"{cluster}.log")
        self._child = view_action_agent(cluster, hub=hub, spoke=spoke, log=log)

    async def start(self) -> None:
        self._child.start()

    async def stop(self) -> None:
        self._child.kill()


class SimulatedAgents:
    """Ours, in a fleet of one."""

    def __init__(self, cluster: str, hub: Path, spoke: Path) -> None:
        self._cluster = cluster
        self._hub = hub
        self._spoke = spoke
        self._running = contextlib.AsyncExitStack()

    async def start(self) -> None:
        hub = await Client.connect(self._hub, user_agent="simulated-agents")
        await self._running.enter_async_context(hub)
        spoke = await Client.connect(self._spoke, user_agent="simulated-agents")
        await self._running.enter_async_context(spoke)
        # The transcript is of views and actions: a third watch would be one that nobody plays here.
        settings = FleetSettings(register=False, controllers=False, work_agents=False)
        spokes = {self._cluster: KubeSpoke(spoke)}
        fleet = Fleet(hub, [self._cluster], settings, spokes=spokes)
        await self._running.enter_async_context(fleet)

    async def stop(self) -> None:
        await self._running.aclose()


class RealLane:
    """Implements Lane."""

    patience_s = 150.0

    def __init__(self, cluster: str, world: RealWorld) -> None:
        self.cluster = cluster
        self.hub = world.hub_client
        self.spoke = world.spoke_client
        self.journal = Journal()
        self.faults = Faults()
        self._gates = {
            side: Gate(side, plane, self.journal, self.faults)
            for side, plane in ((Side.HUB, world.hub), (Side.SPOKE, world.spoke))
        }
        files = [self._kubeconfig(side, world.directory) for side in Side]
        self._agents: Agents = world.kind_of_agents(cluster, *files)

    def now(self) -> dt.datetime:
        return now()

    async def start(self) -> None:
        """Open the gates, start the agents."""
        for gate in self._gates.values():
            await gate.open()
        await self.start_agents()

    async def stop(self) -> None:
        """End everything."""
        await self._agents.stop()
        for gate in self._gates.values():
            await gate.release()

    async def hold_namespace(self, name: str) -> None:
        meta = {"name": HELD, "namespace": name, "finalizers": ["talm.example/hold"]}
        await self.spoke.create(kinds.CONFIG_MAP, {"metadata": meta})

    async def cut_hub(self) -> None:
        await self._gates[Side.HUB].close()

    async def mend_hub(self, *, expired: bool = False) -> None:
        if expired:
            self._gates[Side.HUB].expired = WATCHES
        await self._gates[Side.HUB].open()

    async def freeze_watches(self) -> None:
        self._gates[Side.HUB].freeze_watches()

    async def thaw_watches(self) -> None:
        self._gates[Side.HUB].thaw_watches()

    async def stop_spoke(self) -> None:
        await self._gates[Side.SPOKE].close()

    async def start_spoke(self) -> None:
        await self._gates[Side.SPOKE].open()

    async def stop_agents(self) -> None:
        await self._agents.stop()
        await self._gates[Side.HUB].watched(0)

    async def start_agents(self) -> None:
        await self._agents.start()
        await self._gates[Side.HUB].watched(WATCHES)

    def _kubeconfig(self, side: Side, directory: Path) -> Path:
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": self._gates[side].server}}],
            "users": [{"name": "agent", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "agent"}}],
            "current-context": "it",
        }
        path = directory / f"{self.cluster}-{side.value}.kubeconfig"
        write_private(path, json.dumps(config).encode())
        return path


class RealWorld:
    """A hub and a spoke, running; `lane` starts the agents of one more cluster."""

    def __init__(self, directory: Path, *, real: bool) -> None:
        self.directory = directory
        self.kind_of_agents = RealAgents if real else SimulatedAgents
        self.hub = ControlPlane(directory / "hub", "hub", fsync=False)
        self.spoke = ControlPlane(directory / "spoke", "spoke", SPOKE_CONTROLLERS, fsync=False)
        self.hub_client: Client
        self.spoke_client: Client
        self._real = real
        self._journals: dict[str, Journal] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._running = contextlib.AsyncExitStack()

    async def __aenter__(self) -> RealWorld:
        self.directory.mkdir(parents=True, exist_ok=True)
        enter = self._running.enter_async_context
        try:
            await asyncio.gather(enter(self.hub), enter(self.spoke))
            self.hub_client = await enter(
                await Client.connect(self.hub.kubeconfig, user_agent="script")
            )
            self.spoke_client = await enter(
                await Client.connect(self.spoke.kubeconfig, user_agent="script")
            )
            await foreign_crds.install(self.hub_client)
            await self._watch()
            await self._collect()
        except BaseException:
            await self._running.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._running.aclose()

    def check(self) -> None:
        """Raise what ended a watch of ours."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def lane(self, cluster: str) -> RealLane:
        """One more cluster with its agents."""
        await self.hub_client.create(kinds.NAMESPACE, {"metadata": {"name": cluster}})
        lane = RealLane(cluster, self)
        self._journals[cluster] = lane.journal
        await lane.start()
        self._running.push_async_callback(lane.stop)
        return lane

    async def _watch(self) -> None:
        for kind in (kinds.VIEW, kinds.ACTION):
            page = await anext(self.hub_client.pages(kind))
            self._run(self._follow(kind, page.resource_version))

    async def _follow(self, kind: kinds.Kind, version: str) -> None:
        while True:
            try:
                async for lines in self.hub_client.watch(kind, version, idle_s=WATCH_S):
                    for line in lines:
                        version = self._put_down(kind, json.loads(line))
            except TooBusy:  # a kind that has just come to be served
                await asyncio.sleep(BUSY_S)

    def _put_down(self, kind: kinds.Kind, event: Mapping[str, Any]) -> str:
        """Tell the journal what a watch says; the version from which it goes on."""
        meta = event["object"]["metadata"]
        if event["type"] != "BOOKMARK":
            obj = None if event["type"] == "DELETED" else event["object"]
            self._journals[meta["namespace"]].change(Change(kind, meta["name"], obj))
        return str(meta["resourceVersion"])

    async def _collect(self) -> None:
        if self._real:
            log = self.directory / "action-gc.log"
            child = action_collector(hub=self.hub.kubeconfig, log=log)
            child.start()
            self._running.callback(child.kill)
            return
        collector = ActionCollector(self.hub_client, Clock())
        feed: Feed[Action] = Feed({}, 0, also=collector.deliver)
        informer = Informer(self.hub_client, kinds.ACTION, Action, feed.on_change)
        self._run(informer.run())
        self._running.callback(collector.stop)

    def _run(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))


async def perform_for_real(rows: list[Row], directory: Path, *, real: bool) -> dict[str, str]:
    """Play rows beside each other on real API servers; transcripts by slug."""
    async with RealWorld(directory, real=real) as world:
        alone = [row for row in rows if row.alone]
        shared = [row for row in rows if not row.alone]
        names = [f"shared-{number}" for number in range(min(SHARED, len(shared)))]
        lanes = await asyncio.gather(*map(world.lane, [row.slug for row in alone] + names))
        own, common = lanes[: len(alone)], lanes[len(alone) :]
        plays = [perform(row, lane) for row, lane in zip(alone, own, strict=True)]
        plays += [perform(row, common[i % len(common)]) for i, row in enumerate(shared)]
        transcripts = await asyncio.gather(*plays)
        world.check()
    return dict(zip([row.slug for row in (*alone, *shared)], transcripts, strict=True))
