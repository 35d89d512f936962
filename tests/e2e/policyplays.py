"""The rows of the policy engine, played by the real or the simulated one on real API servers.

Placements are decided by the simulated scheduler in both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from talm.api import kinds
from talm.kube.client import Client
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.plane import foreign_crds, policyagents
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.processes import Child

from .lane import Place
from .policyrows import CLUSTERS, DEFAULT_PLAN, OBJECTS, PLANS, ROWS
from .policystage import Never, PolicyStage, Spoil


@dataclass(frozen=True, slots=True)
class Theatre:
    """A hub with an engine: rows are played with a client of it and a hand on the clusters."""

    hub: Place
    spoil: Spoil

    async def play(self, slugs: Iterable[str]) -> dict[str, str]:
        """Rows beside each other; transcripts by name."""
        stages = {slug: PolicyStage(slug, self.hub, CLUSTERS, self.spoil) for slug in slugs}
        async with asyncio.TaskGroup() as rows:
            for slug, stage in stages.items():
                rows.create_task(_perform(slug, stage))
        return {slug: "\n".join(stage.lines) for slug, stage in stages.items()}


async def _perform(slug: str, stage: PolicyStage) -> None:
    """What never happens ends the row and is written down."""
    await stage.open()
    try:
        await ROWS[slug](stage)
        await stage.leave()
    except Never as never:
        stage.lines.append(f"! never: {never}")


async def play_all(directory: Path, *, real_engine: bool) -> dict[str, str]:
    """Every row by one engine on a hub of its own; transcripts by name."""
    async with new_hub(directory) as hub:
        engine = real(directory, hub) if real_engine else simulated(hub)
        async with engine as theatre:
            return await theatre.play(ROWS)


@contextlib.asynccontextmanager
async def new_hub(directory: Path) -> AsyncIterator[ControlPlane]:
    """A hub that knows OCM's kinds."""
    async with ControlPlane(directory / "hub", fsync=False) as hub, client_of(hub) as client:
        await foreign_crds.install(client)
        yield hub


@contextlib.asynccontextmanager
async def client_of(plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(plane.kubeconfig, user_agent="script") as client:
        yield client


@contextlib.asynccontextmanager
async def simulated(hub: ControlPlane) -> AsyncIterator[Theatre]:
    """The simulated engine at work, on clusters in memory."""
    settings = FleetSettings(policies=plan_of, agents=False, work_agents=False)
    async with client_of(hub) as client, Fleet(client, CLUSTERS, settings) as fleet:

        async def spoil(cluster: str, child: str) -> None:
            fleet[cluster].policies.spoil(child)

        yield Theatre(client, spoil)


def plan_of(_cluster: str, policy: str) -> PolicyPlan:
    return PLANS.get(policy.partition(".")[0], DEFAULT_PLAN)


@contextlib.asynccontextmanager
async def real(directory: Path, hub: ControlPlane) -> AsyncIterator[Theatre]:
    """The real engine at work, on clusters with API servers of their own."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_of(hub))
        settings = FleetSettings(agents=False, work_agents=False, policy_engine=False)
        await stack.enter_async_context(Fleet(client, CLUSTERS, settings))
        await policyagents.install_on_hub(client, CLUSTERS)
        spokes = {name: ControlPlane(directory / name, name, etcd=hub) for name in CLUSTERS}
        await asyncio.gather(*map(stack.enter_async_context, spokes.values()))
        clients = {
            name: await stack.enter_async_context(client_of(spoke))
            for name, spoke in spokes.items()
        }
        await asyncio.gather(*(policyagents.install_on_spoke(clients[n], n) for n in CLUSTERS))
        for child in _agents(directory, hub, spokes):
            stack.callback(child.kill)
            child.start()

        async def spoil(cluster: str, child: str) -> None:
            name = f"{child.partition('.')[0]}-main"
            patch = {"data": {"n": "2"}}
            await clients[cluster].merge_patch(kinds.CONFIG_MAP, name, patch, OBJECTS)

        yield Theatre(client, spoil)


def _agents(directory: Path, hub: ControlPlane, spokes: dict[str, ControlPlane]) -> list[Child]:
    agents = [policyagents.propagator(hub, log=directory / "propagator.log")]
    for name, spoke in spokes.items():
        log = directory / f"framework-{name}.log"
        agents.append(policyagents.framework(name, hub=hub, spoke=spoke, log=log))
        log = directory / f"controller-{name}.log"
        agents.append(policyagents.controller(name, spoke=spoke, log=log))
    return agents
