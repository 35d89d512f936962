"""Two CGUs on the same clusters: the older one has them, the younger waits for it."""

from __future__ import annotations

import datetime as dt

import pytest

from talm.api import kinds
from talm.api.words import Phase

from .conftest import SetScene
from .scene import Scene, first_lasts
from .world import until

pytestmark = pytest.mark.integration


async def create_younger(scene: Scene, name: str, than: str) -> None:
    """Create a CGU a second later: the API server's times have whole seconds."""
    older = await scene.client.get(kinds.CGU, than, scene.namespace)
    born = dt.datetime.fromisoformat(older["metadata"]["creationTimestamp"])

    async def later() -> bool:
        return dt.datetime.now(dt.UTC) > born + dt.timedelta(seconds=1)

    await until(later, "a second has gone by")
    await scene.create(name)


async def waits(scene: Scene, name: str, on: str) -> None:
    """All clusters of the CGU are NotStarted and wait for the other one."""
    wanted = ("WaitingForOtherCGU", f"waiting for {scene.namespace}/{on}")

    async def so() -> bool:
        return await scene.failures(name) == dict.fromkeys(scene.names, wanted)

    await until(so, f"{name} waits for {on}")
    assert await scene.phases(name) == dict.fromkeys(scene.names, "NotStarted")


@pytest.mark.long
async def test_the_younger_waits_until_the_older_has_finished_and_then_has_its_turn(
    scenes: SetScene,
) -> None:
    async with (
        scenes(3, scenario=first_lasts(10.0)) as scene,
        scene.operator(),
        scene.watch("older") as older,
        scene.watch("younger") as younger,
    ):
        await scene.create("older")
        await scene.reach("older", Phase.ACTIVE)
        await create_younger(scene, "younger", than="older")
        await waits(scene, "younger", on="older")
        await scene.reach("older", Phase.SUCCEEDED)
        await scene.reach("younger", Phase.SUCCEEDED)
        assert older.ever_bad() == younger.ever_bad() == set()
        assert scene.job_runs() == dict.fromkeys(scene.names, 2)
        await scene.edit("older", enable=True)
        await scene.completes("older")
        await scene.edit("younger", enable=True)
        await scene.completes("younger")
        await scene.is_clean()


@pytest.mark.long
async def test_the_younger_goes_on_when_the_older_is_deleted_in_mid_run(scenes: SetScene) -> None:
    async with (
        scenes(3, scenario=first_lasts(60.0)) as scene,
        scene.operator(),
        scene.watch("younger") as younger,
    ):
        await scene.create("older")
        await scene.reach("older", Phase.ACTIVE)
        await create_younger(scene, "younger", than="older")
        await waits(scene, "younger", on="older")
        await scene.client.delete(kinds.CGU, "older", scene.namespace)
        await scene.reach("younger", Phase.SUCCEEDED)
        assert younger.ever_bad() == set()
        await scene.is_clean(placements=True)
