"""The hub's garbage collector of actions."""

from __future__ import annotations

import asyncio

import pytest

from talm.api import kinds
from talm.errors import AlreadyExists
from talm.sim.agents.wire import Action
from talm.sim.hubside.actiongc import ActionCollector

from ..oneworld import CLUSTER, World, config_map
from ..virtual import virtual


def collected(world: World) -> ActionCollector:
    collector = ActionCollector(world.hub, world.clock)
    world.hub.watch(kinds.ACTION, Action, collector.deliver)
    return collector


def left(world: World) -> list[str]:
    return [action["metadata"]["name"] for action in world.hub.list(kinds.ACTION)]


@virtual
async def test_done_and_failed_actions_go_after_sixty_seconds() -> None:
    world = World()
    collected(world)
    world.action("done", "Create", template=config_map("cm"))
    world.action("failed", "Create", template=config_map("cm", "nowhere"))
    await asyncio.sleep(59)
    assert left(world) == ["done", "failed"]
    await asyncio.sleep(2)
    assert left(world) == []


@virtual
async def test_an_action_without_condition_is_kept_for_ever() -> None:
    world = World()
    collected(world)
    world.link.down()
    world.action("waiting", "Create", template=config_map("cm"))
    await asyncio.sleep(30 * 24 * 3600)
    assert left(world) == ["waiting"]


@pytest.mark.parametrize(("skew_s", "lives_s"), [(-120, 0), (-30, 30), (0, 60), (100, 160)])
@virtual
async def test_the_minute_is_counted_from_the_spokes_clock(skew_s: float, lives_s: int) -> None:
    world = World(skew_s=skew_s)
    collected(world)
    world.action("a", "Create", template=config_map("cm"))
    await asyncio.sleep(max(lives_s - 1, 0.0005))
    if lives_s:
        assert left(world) == ["a"]
    await asyncio.sleep(2)
    assert left(world) == []


@virtual
async def test_within_the_minute_the_name_is_taken_and_nothing_is_done() -> None:
    world = World()
    collected(world)
    world.action("a", "Create", template=config_map("cm"))
    await world.settle()
    await world.spoke.delete(kinds.CONFIG_MAP, "default", "cm", "Foreground")
    meta = {"name": "a", "namespace": CLUSTER}
    with pytest.raises(AlreadyExists):
        await world.hub.create(kinds.ACTION, {"metadata": meta, "spec": {}})
    await world.settle()
    assert world.spoke.leftovers() == []


@virtual
async def test_an_action_whose_result_is_lost_is_not_collected_before_it_is_known() -> None:
    world = World()
    collected(world)
    world.link.lose_puts = 1.0
    world.action("a", "Create", template=config_map("cm"))
    await asyncio.sleep(100)
    assert left(world) == ["a"]


@virtual
async def test_a_stopped_collector_takes_nothing() -> None:
    world = World()
    collector = collected(world)
    world.action("a", "Create", template=config_map("cm"))
    await world.settle()
    collector.stop()
    await asyncio.sleep(600)
    assert left(world) == ["a"]
