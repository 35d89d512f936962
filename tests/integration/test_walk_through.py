"""The whole way of a CGU, as the operator ships: pre-caching while disabled, then the update."""

from __future__ import annotations

import pytest

from talm.api.words import Phase

from .conftest import SetScene
from .scene import jobs

pytestmark = pytest.mark.integration

PATH = ["NotStarted", "PreparingToStart", "Starting", "Active", "Succeeded"]

REQUIRED = (
    ("Ready", "False", "PrecachingRequired", "Precaching is not completed (required)"),
    ("PrecachingDone", "False", "PrecachingNotDone", "Precaching is required and not done"),
    (
        "PrecacheSpecValid",
        "True",
        "PrecacheSpecIsWellFormed",
        "Pre-caching spec is valid and consistent",
    ),
)
DONE = ("PrecachingDone", "True", "PrecachingCompleted", "Precaching is completed")
NOT_ENABLED = ("Ready", "False", "UpgradeNotStarted", "The ClusterGroupUpgrade CR is not enabled")
RUNNING = (
    "Ready",
    "False",
    "UpgradeNotCompleted",
    "The ClusterGroupUpgrade CR has upgrade policies that are still non compliant",
)
COMPLETED = (
    "Ready",
    "True",
    "UpgradeCompleted",
    "The ClusterGroupUpgrade CR has all clusters compliant with all the managed policies",
)


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


async def test_every_condition_of_the_manual_comes_in_its_turn(scenes: SetScene) -> None:
    async with (
        scenes(2) as scene,
        scene.operator(conditions="manual"),
        scene.watch("up") as journal,
    ):
        await scene.create("up")
        await scene.says("up", "Ready", "False", "UpgradeNotStarted")
        await scene.edit("up", enable=True)
        await scene.completes("up")
        assert journal.conditions() == [
            [],
            list(REQUIRED),
            [NOT_ENABLED, DONE],
            [RUNNING, DONE],
            [COMPLETED, DONE],
        ]
