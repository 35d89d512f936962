"""A CGU is deleted in mid-run: what it began is taken away, and it waits for nobody."""

from __future__ import annotations

import pytest

from talm.api import kinds
from talm.api.words import Action, Phase
from talm.errors import NotFound
from talm.sim.agents.policyagent import PolicyPlan

from .conftest import SetScene
from .scene import Scene, first_lasts, jobs
from .world import until

pytestmark = pytest.mark.integration


async def delete(scene: Scene, name: str) -> None:
    """Delete a CGU and wait until it is gone."""
    await scene.client.delete(kinds.CGU, name, scene.namespace)

    async def gone() -> bool:
        try:
            await scene.client.get(kinds.CGU, name, scene.namespace)
        except NotFound:
            return True
        return False

    await until(gone, f"{name} is gone")


async def test_a_cgu_deleted_in_mid_run_leaves_nothing(scenes: SetScene) -> None:
    async with scenes(4, scenario=jobs(60.0)) as scene, scene.operator():
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE, scene.names[:2])
        await delete(scene, "up")
        await scene.is_clean()


@pytest.mark.long
async def test_a_cgu_deleted_while_it_updates_takes_its_placements_along(scenes: SetScene) -> None:
    async with (
        scenes(2, policies=lambda _c, _p: PolicyPlan(remediation_s=None)) as scene,
        scene.operator(),
    ):
        await scene.create("up", enable=True)
        await scene.says("up", "Progressing", "True", "InProgress")
        assert len(await scene.placements()) == 2
        await delete(scene, "up")
        await scene.is_clean()


async def test_the_finalizer_waits_for_no_cluster_and_the_deletes_stay_for_the_one_that_is_away(
    scenes: SetScene,
) -> None:
    async with scenes(2, scenario=jobs(60.0)) as scene, scene.operator():
        away = scene.names[0]
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        scene.fleet[away].link.down()
        await delete(scene, "up")
        actions = await scene.client.list(kinds.ACTION, away)
        pending = [action["metadata"]["name"] for action in actions if "status" not in action]
        assert pending == [Action.NS_DELETE]

        async def other_is_clean() -> bool:
            left = [f"{away}/{Action.NS_DELETE}"]
            return await scene.on_hub() == left and scene.fleet.leftovers().keys() == {away}

        await until(other_is_clean, "the other cluster's deletes are carried out and collected")
        scene.fleet[away].link.up()
        await scene.is_clean()
        scene.each_job_ran_once()


@pytest.mark.long
async def test_a_cgu_that_is_deleted_and_made_anew_runs_anew(scenes: SetScene) -> None:
    async with scenes(2, scenario=first_lasts(60.0)) as scene, scene.operator():
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        await delete(scene, "up")
        await scene.create("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        assert scene.job_runs() == dict.fromkeys(scene.names, 2)
