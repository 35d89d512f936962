"""A CGU is edited in mid-run: what was begun for others goes on, what is no longer wanted is taken away."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import Action, Phase
from talm.sim.spoke.spokejobs import JobPlan

from .conftest import SetScene
from .scene import QUICK, Scene, jobs
from .world import conditions, until

pytestmark = pytest.mark.integration


async def is_forgotten(scene: Scene, name: str, clusters: list[str]) -> None:
    """The status no longer has the clusters, and neither they nor the hub have anything of it."""

    async def forgotten() -> bool:
        known = set(await scene.phases(name))
        left = await scene.on_hub(clusters) or set(scene.fleet.leftovers()) & set(clusters)
        return not known & set(clusters) and not left

    await until(forgotten, f"{name} has forgotten {clusters}")


@pytest.mark.long
async def test_a_cluster_that_is_removed_is_cleaned_and_the_others_go_on(scenes: SetScene) -> None:
    async with scenes(3, scenario=jobs(3.0, lasting={"003": 60.0})) as scene, scene.operator():
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        *kept, removed = scene.names
        await scene.edit("up", clusters=kept)
        await is_forgotten(scene, "up", [removed])
        await scene.reach("up", Phase.SUCCEEDED, kept)
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        scene.each_job_ran_once()


@pytest.mark.long
async def test_a_cluster_that_is_added_is_pre_cached_and_the_others_are_not_disturbed(
    scenes: SetScene,
) -> None:
    async with scenes(3, scenario=jobs(2.0)) as scene, scene.operator():
        *first, added = scene.names
        await scene.create("up", first)
        await scene.reach("up", Phase.ACTIVE, first)
        await scene.edit("up", clusters=[*first, added])
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        scene.each_job_ran_once()


async def test_pre_caching_that_is_switched_off_is_taken_away_and_the_update_needs_none(
    scenes: SetScene,
) -> None:
    async with scenes(2, scenario=jobs(60.0)) as scene, scene.operator():
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        await scene.edit("up", preCaching=False)
        await is_forgotten(scene, "up", scene.names)
        await scene.says("up", "Ready", "False", "UpgradeNotStarted")
        assert not {"PrecachingDone", "PrecacheSpecValid", "PrecachingSuceeded"} & set(
            conditions(await scene.status("up"))
        )
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()


@pytest.mark.long
async def test_a_changed_timeout_replaces_the_request_for_a_job_that_is_not_there_yet(
    scenes: SetScene,
) -> None:
    deadlines: list[int] = []

    def plan(_cluster: str, job: Mapping[str, Any]) -> JobPlan:
        deadlines.append(job["spec"]["activeDeadlineSeconds"])
        return JobPlan(duration_s=1.0)

    slow = dataclasses.replace(QUICK, call_s=0.5)
    async with scenes(1, scenario=plan, times=slow) as scene, scene.operator():
        (cluster,) = scene.names
        await scene.create("up")

        async def requested() -> Any:
            action = await scene.client.get(kinds.ACTION, Action.JOB_CREATE, cluster)
            return action["spec"]["kube"]["template"]["spec"]["activeDeadlineSeconds"]

        assert await until(requested, "the Job is requested") == 240 * 60
        scene.fleet[cluster].link.down()
        await scene.edit("up", remediationStrategy={"timeout": 99})

        async def replaced() -> bool:
            return bool(await requested() == 99 * 60)

        await until(replaced, "the request has the new deadline")
        scene.fleet[cluster].link.up()
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.is_clean(placements=True)
        assert deadlines == [99 * 60]


@pytest.mark.long
async def test_max_concurrency_changes_the_plan_and_not_pre_caching(scenes: SetScene) -> None:
    async with scenes(3, scenario=jobs(2.0)) as scene, scene.operator():
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        await scene.edit("up", remediationStrategy={"maxConcurrency": 2})

        async def planned() -> bool:
            status = await scene.status("up")
            return bool(
                status["computedMaxConcurrency"] == 2
                and status["remediationPlan"] == [scene.names[:2], scene.names[2:]]
            )

        await until(planned, "the plan has two batches")
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        scene.each_job_ran_once()
