"""The whole way of a CGU, as the operator ships: pre-caching while disabled, then the update."""

from __future__ import annotations

import pytest

from talm.api.words import Phase

from .conftest import SetScene
from .scene import jobs

pytestmark = pytest.mark.integration

PATH = ["NotStarted", "PreparingToStart", "Starting", "Active", "Succeeded"]

@pytest.mark.parametrize("clusters", [2, 50])
async def test_a_cgu_pre_caches_while_disabled_and_updates_when_enabled(
    scenes: SetScene, clusters: int
) -> None:
    # Long enough for every cluster to be seen active.
    slow = jobs(1.0 + clusters / 10)
    async with (
        scenes(clusters, scenario=slow) as scene,
        scene.operator(),
        scene.watch("up") as journal,
    ):
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.says("up", "Ready", "False", "UpgradeNotStarted")
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        scene.each_job_ran_once()
        assert journal.states() == dict.fromkeys(scene.names, PATH)
