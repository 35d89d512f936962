"""What is real of Open Cluster Management in the demo, where it is to be: its agents, the actions'
collector, the policy engine.  The scheduler of placements stays a simulated one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from talm.kube.client import Client
from talm.sim import waiting
from talm.sim.demo import demoplatform
from talm.sim.demo.demospoke import DemoSpoke
from talm.sim.plane import foreign_crds, policyagents, realagents
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.processes import Child


async def prepare(
    hub: ControlPlane, client: Client, spokes: Mapping[str, DemoSpoke], *, logs: Path, plain: bool
) -> list[Child]:
    """Install what they need; returns them, not started.

    The clusters are registered.  `plain`: none has the add-on that answers views and carries out
    actions.  Raises ApiError, SetupError.
    """
    await waiting.together(
        policyagents.install_on_hub(client, tuple(spokes)),
        *(_install_on_spoke(name, spoke.client) for name, spoke in spokes.items()),
    )
    agents = [
        realagents.action_collector(hub=hub.kubeconfig, log=logs / "collector.log"),
        policyagents.propagator(hub, log=logs / "policy-propagator.log"),
    ]
    for name, spoke in spokes.items():
        agents += _of_cluster(name, hub, spoke.plane, logs=logs, plain=plain)
    return agents


async def _install_on_spoke(name: str, client: Client) -> None:
    await foreign_crds.install_on_spoke(client)
    await policyagents.install_on_spoke(client, name)
    await demoplatform.install(client)


def _of_cluster(
    name: str, hub: ControlPlane, spoke: ControlPlane, *, logs: Path, plain: bool
) -> list[Child]:
    admin, own = hub.kubeconfig, spoke.kubeconfig
    log = logs / f"agent-{name}.log"
    views = [] if plain else [realagents.view_action_agent(name, hub=admin, spoke=own, log=log)]
    log = logs / f"work-agent-{name}.log"
    works = realagents.work_agent(name, hub=admin, spoke=own, log=log)
    framework = policyagents.framework(
        name, hub=hub, spoke=spoke, log=logs / f"policy-framework-{name}.log"
    )
    controller = policyagents.controller(
        name, spoke=spoke, log=logs / f"policy-controller-{name}.log"
    )
    return [*views, works, framework, controller]
