"""The manual's walk-through with nothing of ours between the operator and the spokes' stores: OCM's own
agents and policy engine, the real Job controller, and on one of two clusters a real node, whose
kubelet runs the workload's image and whose containerd keeps what it brings.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from scripts import agent_image

from talm.api.words import Phase
from talm.cli.render import Screen
from talm.cli.walk import Walk
from talm.errors import SetupError
from talm.sim.demo import demohub, demoplatform
from talm.sim.demo.demoworld import WORKLOAD_IMAGE, DemoSettings, DemoWorld
from talm.sim.demo.expectations import read_manual
from talm.sim.demo.realspoke import RealSpoke
from talm.sim.plane import policyagents
from talm.sim.realnode.node import check_machine
from tests.conftest import skip_without, skip_without_program

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
]

CLUSTERS = ("cnfdb1", "cnfdb2")
ON_HUB = 2  # collector of actions, propagator
ON_CLUSTER = 4  # views and actions, works, policy framework, policy controller


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workload's image as an archive, by the name that the operator puts into Jobs."""
    skip_without_parts()
    archive = tmp_path_factory.mktemp("workload") / "workload.tar"
    agent_image.build(archive, WORKLOAD_IMAGE)
    yield archive
    archive.unlink()


@pytest.mark.parametrize("transport", ["view-action", "manifest-work"])
async def test_every_line_of_the_manual_holds_when_everything_is_real(
    tmp_path: Path, workload: Path, transport: str
) -> None:
    printed = io.StringIO()
    screen = Screen(Console(file=printed, width=120))
    settings = DemoSettings(transport=transport, real_agents=True, real_node=workload)
    async with DemoWorld(tmp_path, CLUSTERS, settings, progress=screen.note) as world:
        walk = Walk(world, read_manual(), screen)
        assert await walk.run(), printed.getvalue()
        world.check()
        assert [agent.runs for agent in world.agents] == [True] * (ON_HUB + ON_CLUSTER * 2)
        assert not world.fleet.settings.agents
        assert not world.fleet.settings.work_agents
        assert not world.fleet.settings.policy_engine
        await see_that_images_are_in_containerd(world)
        for cluster in CLUSTERS:
            await see_that_the_policy_was_enforced(world, cluster)
    assert '"reason":"UpgradeCompleted"' in walk.record.outputs["complete"]
    ends = {states[-1] for states in walk.record.facts["states"].values()}
    assert ends == {Phase.SUCCEEDED.value}


def skip_without_parts() -> None:
    """Skip, saying why, where this machine lacks a part."""
    skip_without(own=True)
    agents = ("view-action-agent", "action-gc", "work-agent", *policyagents.PROGRAMS)
    for program in ("registry", *agents):
        skip_without_program(program)
    try:
        check_machine()
    except SetupError as error:
        pytest.skip(str(error))


async def see_that_images_are_in_containerd(world: DemoWorld) -> None:
    """The release, by the name and digest by which the kubelet will ask for it, and the catalog."""
    spoke = world.spokes[CLUSTERS[0]]
    assert isinstance(spoke, RealSpoke)
    rows = [line.split() for line in (await spoke.node.ctr("images", "ls")).splitlines()[1:]]
    listed = {row[0]: row[2] for row in rows}
    for image in (world.image, world.index):
        assert listed[image] == image.partition("@")[2]


async def see_that_the_policy_was_enforced(world: DemoWorld, cluster: str) -> None:
    """What was the old release is the new one, by the policy controller's hand."""
    client = world.spokes[cluster].client
    version = await client.get(demoplatform.CLUSTER_VERSION, "version")
    assert version["spec"]["desiredUpdate"] == {"version": demohub.VERSION}
    assert await client.list(demoplatform.SUBSCRIPTION)
