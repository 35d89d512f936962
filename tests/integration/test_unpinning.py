"""A CGU that is over has its clusters let go of what it has pinned, and waits for none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from talm.api.words import Phase
from talm.sim.spoke.spokejobs import JobPlan
from talm.spokes.pinning import UNPIN

from .conftest import SetScene
from .scene import Scene
from .test_deletion import delete
from .world import until

pytestmark = pytest.mark.integration

UNPINS = 4  # actions where a Job unpins


def plan(_cluster: str, job: Mapping[str, Any]) -> JobPlan:
    return JobPlan(duration_s=0.2 if job["metadata"]["name"] == UNPIN else 1.0, steps=2)


def unpinned(scene: Scene) -> list[str]:
    """On which clusters a Job has unpinned, once for each time."""
    jobs = scene.fleet.job_uids().items()
    return sorted(c for (c, _, name), uids in jobs if name == UNPIN for _ in uids)


async def requested(scene: Scene, clusters: Sequence[str] | None = None) -> list[str]:
    return [name for name in await scene.on_hub(clusters) if "-unpin-" in name]


async def test_every_cluster_unpins_once_when_the_cgu_completes(scenes: SetScene) -> None:
    async with scenes(3, scenario=plan) as scene, scene.operator(image_store="containerd"):
        await scene.create("up", enable=True)
        await scene.completes("up")
        await scene.is_clean(placements=True)
        assert unpinned(scene) == scene.names
        await delete(scene, "up")
        await scene.is_clean()
        assert unpinned(scene) == scene.names


@pytest.mark.long
async def test_a_cluster_that_is_away_unpins_when_it_is_back_and_nobody_waits_for_it(
    scenes: SetScene,
) -> None:
    async with scenes(2, scenario=plan) as scene, scene.operator(image_store="containerd"):
        away, other = scene.names
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED)
        scene.fleet[away].link.down()
        await delete(scene, "up")
        assert len(await requested(scene, [away])) == UNPINS

        async def other_has_unpinned() -> bool:
            return unpinned(scene) == [other] and not await requested(scene, [other])

        await until(other_has_unpinned, "the other cluster has unpinned")
        scene.fleet[away].link.up()
        await scene.is_clean()
        assert unpinned(scene) == [away, other]


@pytest.mark.long
async def test_an_operator_that_is_killed_at_the_end_asks_again_and_nothing_is_left(
    scenes: SetScene,
) -> None:
    async with scenes(4, scenario=plan) as scene:
        async with scene.operator(image_store="containerd", name="first") as operator:
            await scene.create("up")
            await scene.reach("up", Phase.SUCCEEDED)
            await scene.edit("up", enable=True)

            async def asked() -> bool:
                return bool(await requested(scene))

            await until(asked, "the first request is there")
            operator.kill()
        async with scene.operator(image_store="containerd", name="second"):
            await scene.completes("up")
            await scene.is_clean(placements=True)
        assert set(unpinned(scene)) == set(scene.names)
