"""The spoke's API is away when the deletion after a success is carried out, and comes back."""

from __future__ import annotations

from typing import Final

import pytest

from talm.api import kinds
from talm.api.words import Action, Phase

from .conftest import SetScene
from .scene import Scene
from .test_deletion import delete
from .world import until

pytestmark = [pytest.mark.integration, pytest.mark.long]
# Longer than it takes to see the success, on a busy machine, too.
BUSY_S: Final = 20.0


async def fails_to_remove(scene: Scene) -> None:
    """Run pre-caching; of the first cluster the deletion at its end fails."""
    site = scene.fleet[scene.names[0]]

    async def has_failed() -> bool:
        found = await scene.client.list(kinds.ACTION, site.name)
        return any(
            body["metadata"]["name"] == Action.NS_DELETE and "connection refused" in str(body)
            for body in found
        )

    await scene.create("up")
    await scene.reach("up", Phase.ACTIVE)
    site.actions.busy_s = BUSY_S  # so that the deletion comes after the API has gone
    await scene.reach("up", Phase.SUCCEEDED)
    site.memory.api_down = True
    site.actions.busy_s = 0.0
    await until(has_failed, "the deletion has failed")
    site.memory.api_down = False


async def test_a_removal_that_failed_is_made_up_for(scenes: SetScene) -> None:
    async with scenes(2) as scene, scene.operator(), scene.watch("up") as journal:
        await fails_to_remove(scene)
        await scene.is_clean(placements=True)
        scene.each_job_ran_once()
        assert set((await scene.phases("up")).values()) == {Phase.SUCCEEDED}
        assert journal.ever_bad() == set()


async def test_a_cgu_deleted_right_after_goes_when_nothing_is_left(scenes: SetScene) -> None:
    async with scenes(2) as scene, scene.operator():
        await fails_to_remove(scene)
        await delete(scene, "up")
        await scene.is_clean()
        scene.each_job_ran_once()
