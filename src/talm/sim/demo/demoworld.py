"""Everything that the demo runs on this machine, started in order and ended together.

    hub          etcd, API server, controllers       cnfdb1, cnfdb2, ...   API server, Job controller
      policy ──► update graph (loopback)               node ──► talm agent (a process per pod)
      talm run, under the role of deploy/rbac               └──► thin line ──► registry
      simulated agents and hub controllers  ◄──────►  each cluster's API server

All of it is a child or a part of this process, so nothing outlives it, however it ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from talm.api import kinds
from talm.errors import SetupError
from talm.kube.client import Client
from talm.sim import catalogs, images, waiting
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.demo import demoagents, demohub
from talm.sim.demo.demospoke import DemoSpoke, simulated_spoke
from talm.sim.demo.realspoke import real_spoke
from talm.sim.demo.thinline import ThinLine
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.graph import GraphServer
from talm.sim.plane import deployment
from talm.sim.plane.binaries import find_crds, find_program, find_programs
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.sim.plane.processes import Child, Progress, say_nothing
from talm.sim.plane.registry import Registry
from talm.sim.realnode import node as realnode
from talm.sim.spoke.kubespoke import KubeSpoke
from talm.sim.spoke.spokejobs import JobPlan
from talm.spokes.ownstore import AUTO, STORE_LABEL

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


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How a world differs from the one that `talm demo` shows.

    `transport`: the operator's setting; the manual walks through views and actions.  `real_agents`: OCM's
    agents, the actions' collector and the policy engine work in the place of ours; clusters that exist
    in memory alone have none then.  `plain`: no cluster has the add-on that answers views and carries
    out actions.  `real_node`: the workload's image, an OCI archive; with it the first cluster's node is a
    real one.
    """

    transport: str = "view-action"
    real_agents: bool = False
    plain: bool = False
    real_node: Path | None = None


class DemoWorld:
    """`async with DemoWorld(directory, clusters)`: ready when it is entered.

    Raises SetupError when something is missing or does not start, and ApiError.
    """

    def __init__(
        self,
        directory: Path,
        clusters: Sequence[str],
        settings: DemoSettings | None = None,
        *,
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
        self._settings = settings or DemoSettings()
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()

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
        for spoke in self.spokes.values():
            spoke.check()

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
        await waiting.together(self.hub.start(), self._start_registry())
        self.client = await self._client_of(self.hub)
        names = self.clusters[:REAL_AT_MOST]
        await waiting.together(
            deployment.install(self.client), *(self._start_spoke(n) for n in names)
        )
        self.spokes = {name: self.spokes[name] for name in names}
        await self._start_operator()
        await self._start_fleet()
        if self._settings.real_agents:
            await self._start_agents()
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
        archive = self._settings.real_node if name == self.clusters[0] else None
        plane = ControlPlane(
            self.directory / name, name, SPOKE_CONTROLLERS, etcd=self.hub, progress=self._progress
        )
        if archive:
            plane.controllers, plane.services = realnode.CONTROLLERS, realnode.SERVICES
        self._stack.push_async_callback(plane.stop, kill=True)
        await plane.start()
        client = await self._client_of(plane)
        if archive:
            starting = real_spoke(plane, client, archive, progress=self._progress)
            self.spokes[name] = await self._stack.enter_async_context(starting)
        else:
            simulated = simulated_spoke(plane, client, WORKLOAD_IMAGE)
            self.spokes[name] = await self._stack.enter_async_context(simulated)

    async def _start_fleet(self) -> None:
        settings = FleetSettings(
            policies=lambda _cluster, _policy: PolicyPlan(remediation_s=3.0),
            scenario=lambda _cluster, _job: JobPlan(duration_s=20.0),
            agents=not self._settings.real_agents,
            work_agents=not self._settings.real_agents,
            policy_engine=not self._settings.real_agents,
            add_ons=not self._settings.plain,
        )
        apis = {name: KubeSpoke(spoke.client) for name, spoke in self.spokes.items()}
        fleet = Fleet(self.client, self.clusters, settings, spokes=apis)
        self.fleet = await self._stack.enter_async_context(fleet)
        self._progress(f"simulated agents: {len(fleet)} clusters registered")
        if self._settings.real_node:
            await waiting.together(*(self._tell_store(*named) for named in self.spokes.items()))

    async def _tell_store(self, name: str, spoke: DemoSpoke) -> None:
        """Label a cluster with the kind of its store, since here it is not the same everywhere."""
        patch = {"metadata": {"labels": {STORE_LABEL: spoke.store}}}
        await self.client.merge_patch(kinds.MANAGED_CLUSTER, name, patch)

    async def _start_agents(self) -> None:
        logs = self.directory / "logs"
        self.agents = await demoagents.prepare(
            self.hub, self.client, self.spokes, logs=logs, plain=self._settings.plain
        )
        for child in self.agents:
            self._stack.callback(child.kill)
            child.start()

    async def _start_operator(self) -> None:
        self.operator = deployment.operator(
            self.hub,
            workload_image=WORKLOAD_IMAGE,
            log=self.directory / "logs" / "operator.log",
            settings={"transport": self._settings.transport}
            | ({"image_store": AUTO} if self._settings.real_node else {}),
        )
        self._stack.push_async_callback(self.operator.stop, patience_s=_STOP_S)
        self.operator.start()
