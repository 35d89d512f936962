"""The manual's walk-through with OCM's own agents: one hub, two clusters, nothing of ours between
the operator and the spokes' API servers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from talm.api.words import Phase
from talm.cli.render import Screen
from talm.cli.walk import Walk
from talm.sim.demo.demoworld import DemoWorld
from talm.sim.demo.expectations import read_manual
from tests.conftest import skip_without, skip_without_program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CLUSTERS = ("cnfdb1", "cnfdb2")


@pytest.mark.parametrize("transport", ["view-action", "manifest-work"])
async def test_every_line_of_the_manual_holds_with_the_real_agents(
    tmp_path: Path, transport: str
) -> None:
    skip_without(own=True)
    for program in ("registry", "view-action-agent", "action-gc", "work-agent"):
        skip_without_program(program)
    printed = io.StringIO()
    screen = Screen(Console(file=printed, width=120))
    async with DemoWorld(
        tmp_path, CLUSTERS, real_agents=True, transport=transport, progress=screen.note
    ) as world:
        walk = Walk(world, read_manual(), screen)
        assert await walk.run(), printed.getvalue()
        world.check()
        assert [agent.runs for agent in world.agents] == [True] * (1 + 2 * len(CLUSTERS))
        assert not world.fleet.settings.agents
        assert not world.fleet.settings.work_agents
    assert '"reason":"UpgradeCompleted"' in walk.record.outputs["complete"]
    ends = {states[-1] for states in walk.record.facts["states"].values()}
    assert ends == {Phase.SUCCEEDED.value}
