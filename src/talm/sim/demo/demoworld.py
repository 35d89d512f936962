"""Everything that the demo runs on this machine, started in order and ended together.

    hub          etcd, API server, controllers       cnfdb1, cnfdb2, ...   API server, Job controller
      policy ──► update graph (loopback)               node ──► talm agent (a process per pod)
      talm run, under the role of deploy/rbac               └──► thin line ──► registry
      simulated agents and hub controllers  ◄──────►  each cluster's API server

All of it is a child or a part of this process, so nothing outlives it, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Self

from talm.errors import SetupError
from talm.kube.client import Client
from talm.sim import catalogs, images
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.demo import demohub
from talm.sim.demo.demospoke import DemoSpoke
from talm.sim.demo.thinline import ThinLine
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.graph import GraphServer
from talm.sim.node.node import SimulatedNode
from talm.sim.plane import deployment, foreign_crds, realagents
from talm.sim.plane.binaries import find_crds, find_program, find_programs
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.sim.plane.processes import Child, Progress, say_nothing
from talm.sim.plane.registry import Registry
from talm.sim.spoke.kubespoke import KubeSpoke
from talm.sim.spoke.spokejobs import JobPlan

WORKLOAD_IMAGE: Final = "registry.example.com/talm/workload:demo"
REAL_AT_MOST: Final = 6
"""A control plane takes some 450 MB; clusters beyond these exist in memory alone."""
_RELEASE_MIB: Final = 24.0
_OPERATOR_IMAGE_KIB: Final = 512
# A minute and a half for one cluster's release: longer than anybody needs to look at the Job.
THIN_BYTES_PER_S: Final = _RELEASE_MIB * 2**20 / 90
# Then a few seconds, which the progress can be seen in.
WIDE_BYTES_PER_S: Final = _RELEASE_MIB * 2**20 / 3
_STOP_S: Final = 3.0


def check_programs() -> None:
    """Raise SetupError, which says how to get it, when something is not on this machine."""
    try:
        find_programs()
        find_program("registry")
        find_crds()
    except SetupError as exc:
        raise SetupError(
            f"{exc}\nThe demo starts its own clusters, so 'make controlplane' is what it needs; "
            "an existing cluster cannot take their place"
        ) from exc


class DemoWorld:
    """`async with DemoWorld(directory, clusters)`: ready when it is entered.

    `real_agents`: OCM's agents and the actions' collector work in the place of ours; clusters that
    exist in memory alone have none then.  `transport`: the operator's setting; views and actions are
    what the manual walks through.  `plain`: no cluster has the add-on that answers views and carries out
    actions.  Raises SetupError when something is missing or does not start, and ApiError.
    """

    def __init__(
        self,
        directory: Path,
        clusters: Sequence[str],
        *,
        real_agents: bool = False,
        transport: str = "view-action",
        plain: bool = False,
        progress: Progress = say_nothing,
    ) -> None:
        self.directory = directory
        self.clusters = tuple(clusters)
        self.image = ""
        """The release image that the policy asks for, by digest."""
        self.index = ""
        """The image of the catalog that the policy's operators come from, by digest."""
        self.spokes: dict[str, DemoSpoke] = {}
        self.hub = ControlPlane(directory / "hub", fsync=False, progress=progress)
        self.client: Client
        self.fleet: Fleet
        self.line: ThinLine
        self.registry = Registry(directory / "registry")
        self.operator: Child | None = None
        self.agents: list[Child] = []
        """The real agents, when there are any."""
        self._real_agents = real_agents
        self._transport = transport
        self._plain = plain
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()
        self._nodes: list[asyncio.Task[None]] = []

    @property
    def logs(self) -> list[Path]:
        """The logs there are, by now."""
        return sorted(p for p in self.directory.rglob("*.log") if "storage" not in p.parts)

    def set_line(self, bytes_per_s: float) -> None:
        """Set how much of the line to the registry each cluster has."""
        self.line.set_rate(bytes_per_s * len(self.spokes or self.clusters))

    def held_bytes(self) -> dict[str, int]:
        """How many bytes of images each cluster with a node has by now."""
        return {name: spoke.held_bytes() for name, spoke in self.spokes.items()}

    def check(self) -> None:
        """Raise SetupError, with the end of its log, when some part has ended."""
        for plane in (self.hub, *(spoke.plane for spoke in self.spokes.values())):
            plane.check()
        for child in (*self.agents, *([self.operator] if self.operator else ())):
            child.check()
        for node in self._nodes:
            if node.done():
                raise SetupError(f"a simulated node has ended: {node.exception()!r}")

    async def __aenter__(self) -> Self:
        check_programs()
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    # --- the steps of a start ---

    async def _start(self) -> None:
        """Hub and registry first: the spokes keep their data in the hub's etcd."""
        self._stack.push_async_callback(self.hub.stop, kill=True)
        await _together(self.hub.start(), self._start_registry())
        self.client = await self._client_of(self.hub)
        names = self.clusters[:REAL_AT_MOST]
        await _together(deployment.install(self.client), *(self._start_spoke(n) for n in names))
        self.spokes = {name: self.spokes[name] for name in names}
        await self._start_operator()
        if self._real_agents:
            await self._start_agents()
        await self._start_fleet()
        graph = await self._stack.enter_async_context(GraphServer(demohub.releases(self.image)))
        await demohub.write_policy(self.client, graph.url, self.index)
        assert self.operator is not None  # noqa: S101 - just started
        await deployment.wait_leading(self.client, self.operator, progress=self._progress)

    async def _client_of(self, plane: ControlPlane) -> Client:
        client = await Client.connect(plane.kubeconfig, user_agent="talm-demo")
        return await self._stack.enter_async_context(client)

    async def _start_registry(self) -> None:
        self._stack.push_async_callback(self.registry.stop)
        await self.registry.start()
        line = ThinLine(self.registry.port)
        self.line = await self._stack.enter_async_context(line)
        self.image = await images.push(line.address, version=demohub.VERSION, size_mib=_RELEASE_MIB)
        catalog = catalogs.build_catalog(line.address, image_kib=_OPERATOR_IMAGE_KIB)
        self.index = await catalogs.push_catalog(line.address, catalog)
        self.set_line(THIN_BYTES_PER_S)
        self._progress(
            f"registry: release {demohub.VERSION} of {_RELEASE_MIB:g} MiB and an operator catalog"
        )

    async def _start_spoke(self, name: str) -> None:
        plane = ControlPlane(
            self.directory / name, name, SPOKE_CONTROLLERS, etcd=self.hub, progress=self._progress
        )
        self._stack.push_async_callback(plane.stop, kill=True)
        await plane.start()
        client = await self._client_of(plane)
        commands = {WORKLOAD_IMAGE: (sys.executable, "-m", "talm")}
        node = SimulatedNode(plane.kubeconfig, plane.directory / "node", images=commands)
        running = asyncio.ensure_future(node.run())
        self._nodes.append(running)
        self._stack.push_async_callback(_cancel, running)
        ready = asyncio.ensure_future(node.ready.wait())
        self._stack.push_async_callback(_cancel, ready)
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        self.check()
        self.spokes[name] = DemoSpoke(plane, node, client)

    async def _start_fleet(self) -> None:
        settings = FleetSettings(
            policies=lambda _cluster, _policy: PolicyPlan(remediation_s=3.0),
            scenario=lambda _cluster, _job: JobPlan(duration_s=20.0),
            agents=not self._real_agents,
            work_agents=not self._real_agents,
            add_ons=not self._plain,
        )
        apis = {name: KubeSpoke(spoke.client) for name, spoke in self.spokes.items()}
        fleet = Fleet(self.client, self.clusters, settings, spokes=apis)
        self.fleet = await self._stack.enter_async_context(fleet)
        self._progress(f"simulated agents: {len(fleet)} clusters registered")

    async def _start_agents(self) -> None:
        hub, logs = self.hub.kubeconfig, self.directory / "logs"
        self.agents.append(realagents.action_collector(hub=hub, log=logs / "collector.log"))
        for name, spoke in self.spokes.items():
            log = logs / f"agent-{name}.log"
            config = spoke.plane.kubeconfig
            if not self._plain:
                agent = realagents.view_action_agent(name, hub=hub, spoke=config, log=log)
                self.agents.append(agent)
            await foreign_crds.install_on_spoke(spoke.client)
            log = logs / f"work-agent-{name}.log"
            self.agents.append(realagents.work_agent(name, hub=hub, spoke=config, log=log))
        for child in self.agents:
            self._stack.callback(child.kill)
            child.start()

    async def _start_operator(self) -> None:
        self.operator = deployment.operator(
            self.hub,
            workload_image=WORKLOAD_IMAGE,
            log=self.directory / "logs" / "operator.log",
            settings={"transport": self._transport},
        )
        self._stack.push_async_callback(self.operator.stop, patience_s=_STOP_S)
        self.operator.start()


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _together(*parts: Coroutine[Any, Any, object]) -> None:
    """Do all of it; when one part fails the others are given up, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
