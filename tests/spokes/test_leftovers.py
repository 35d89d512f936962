"""What other runs, or the other way to a cluster, have left there: it goes first, and is waited for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from talm.api import kinds
from talm.api.words import Phase
from talm.core.model import Effect, Fact
from talm.spokes.bycluster import Way
from talm.spokes.workmanifests import work_name
from tests.sim.oneworld import CLUSTER
from tests.sim.virtual import virtual
from tests.spokes.workworld import WorkWorld
from tests.spokes.world import ORDER


async def with_a_seen_work(way: Way) -> WorkWorld:
    """A cluster that has gone away with a work of another run that its agent has seen."""
    world = WorkWorld(views=way is Way.VIEW_ACTION, way=way)
    world.plant_work("run-0")
    await asyncio.sleep(1)
    world.world.link.down()
    return world


@pytest.mark.parametrize("way", list(Way))
@virtual
async def test_a_work_that_is_terminating_is_waited_for_however_long_it_takes(way: Way) -> None:
    world = await with_a_seen_work(way)
    await world.run(Phase.PREPARING)
    for _ in range(100):
        await world.step()
        await asyncio.sleep(5)
    assert world.phase is Phase.PREPARING
    assert world.look().fact is Fact.LEFTOVERS
    assert work_name("run-0") in world.names()
    assert world.writes("POST", kinds.MANIFEST_WORK) == 0
    world.world.link.up(relist=True)
    await world.run(within_s=1500)
    assert world.jobs() == 1
    assert work_name("run-0") not in world.names()


@virtual
async def test_a_work_that_we_have_deleted_is_going_though_the_cache_does_not_show_it_yet() -> None:
    world = WorkWorld()
    await world.run(Phase.ACTIVE)
    key = (CLUSTER, work_name(ORDER.run))
    before = world.works.objects[key]
    world.world.link.down()  # so that it is not gone at once
    await world.do(Effect.CLEAN_UP)
    world.works.objects[key] = before
    assert world.look().fact is Fact.LEFTOVERS


@virtual
async def test_what_the_other_way_has_asked_for_is_taken_back_before_anything_is_begun() -> None:
    world = WorkWorld(views=True, way=Way.VIEW_ACTION)
    world.world.link.down()
    await world.do(Effect.PREPARE)
    assert "precache-job-create" in world.names()
    world.views, world.default_way = False, Way.MANIFEST_WORK  # the add-on was taken away
    world.order = replace(ORDER, run="run-2")
    await world.run(Phase.PREPARING)
    assert world.names() == []
    world.world.link.up(relist=True)
    await world.run()
    assert world.jobs() == 1


@virtual
async def test_questions_about_a_cluster_that_was_given_up_are_taken_back() -> None:
    world = WorkWorld(views=True)
    world.world.link.down()
    await world.run(Phase.PREPARING)
    assert "view-precache-namespace" in world.names()
    await world.do(Effect.WITHDRAW)
    assert [name for name in world.names() if not name.endswith("-delete")] == []
    world.world.link.up(relist=True)
    await asyncio.sleep(900)
    assert world.jobs() == 0
