"""The whole way of a CGU, as the operator ships: pre-caching while disabled, then the update."""

from __future__ import annotations

import pytest

from talm.api.words import Phase

from .conftest import SetScene
from .scene import jobs
from .test_vocabularies import MANUAL

pytestmark = pytest.mark.integration

PATH = ["NotStarted", "PreparingToStart", "Starting", "Active", "Succeeded"]


@pytest.mark.parametrize("clusters", [2, pytest.param(50, marks=pytest.mark.long)])
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
        # On a busy machine a Job may be over before it is seen active; nothing else is ever left out.
        for path in journal.states().values():
            assert path == PATH or (clusters > 2 and path == [p for p in PATH if p != "Active"])
        assert journal.conditions(only={"Ready", "PrecachingDone", "PrecacheSpecValid"}) == [
            [],
            *MANUAL,
        ]
