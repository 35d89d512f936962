"""A Job whose pod does not get ready, along both ways: with simulated agents, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import Hindrance, Phase
from talm.core.model import Fact
from talm.sim.agents.workagent import WorkHabits
from talm.sim.spoke.spokejobs import JobPlan
from talm.sim.spoke.spokepods import Obstacle
from talm.spokes.bycluster import Way
from tests.sim.oneworld import CLUSTER
from tests.sim.virtual import virtual
from tests.spokes.workworld import WorkWorld
from tests.spokes.world import ORDER

BOTH = pytest.mark.parametrize("way", list(Way))
CAUSES: Mapping[Obstacle, str] = {
    Obstacle.PULL: "the Job's pod does not get ready: ImagePullBackOff: Back-off pulling image",
    Obstacle.UNSCHEDULABLE: "the Job's pod does not get ready: Unschedulable: 0/1 nodes are available",
    Obstacle.REFUSED: (
        'the Job\'s pod is refused: pods "pre-cache-diagnose" is forbidden: violates PodSecurity'
    ),
}
MINE = ("precache-diagnose-create", "precache-diagnose-delete", "view-precache-diagnose")


def world_with(way: Way, obstacle: Obstacle | None, **more: Any) -> WorkWorld:
    world = WorkWorld(way=way, views=way is Way.VIEW_ACTION, **more)
    if obstacle is not None:
        world.world.spoke.obstacles.put(obstacle)
    return world


async def go_on(world: WorkWorld, seconds: float) -> None:
    """Pass again and again for so long."""
    end = world.now().timestamp() + seconds
    while world.now().timestamp() < end:
        if not await world.step():
            await asyncio.sleep(0.25)


def diagnosis(world: WorkWorld) -> list[str]:
    """What is on hub and spoke of the pod that tells why, but for what the hub collects in a minute."""
    left = [
        name for name in world.names() if name in MINE or name.startswith("pre-cache-diagnose-")
    ]
    if "precache-diagnose-delete" in left:
        deletion = world.hub.get(kinds.ACTION, "precache-diagnose-delete", CLUSTER)
        if deletion["status"]["conditions"][0]["status"] == "True":
            left.remove("precache-diagnose-delete")
    return left + [line for line in world.world.spoke.leftovers() if "pre-cache-diagnose" in line]


@virtual
@BOTH
@pytest.mark.parametrize("obstacle", list(Obstacle), ids=lambda obstacle: obstacle.name)
async def test_after_a_minute_the_cause_is_told_and_while_it_lasts(
    way: Way, obstacle: Obstacle
) -> None:
    world = world_with(way, obstacle)
    await go_on(world, 50)
    assert world.phase is (Phase.STARTING if obstacle is Obstacle.REFUSED else Phase.ACTIVE)
    assert diagnosis(world) == []
    await go_on(world, 60)
    sight = world.look()
    assert sight.note.startswith(CAUSES[obstacle])
    assert sight.hindrance is Hindrance.POD_NOT_READY
    await go_on(world, 600)
    assert world.look().note.startswith(CAUSES[obstacle])


@virtual
@BOTH
@pytest.mark.parametrize("obstacle", list(Obstacle), ids=lambda obstacle: obstacle.name)
async def test_the_pod_is_asked_for_once_and_goes_when_the_job_s_own_is_ready(
    way: Way, obstacle: Obstacle
) -> None:
    world = world_with(way, obstacle)
    await go_on(world, 900)
    asked = world.diary.count("Active: JOB_UNREADY -> DIAGNOSE")
    asked += world.diary.count("Starting: JOB_PODLESS -> DIAGNOSE")
    # An action that is done is followed by the question: asked for twice, made once.
    assert asked == (2 if way is Way.VIEW_ACTION and obstacle is not Obstacle.REFUSED else 1)
    world.world.spoke.obstacles.lift()
    await go_on(world, 5)
    assert world.look().hindrance is None
    assert world.phase is Phase.ACTIVE
    await world.run()
    await world.clean()
    assert diagnosis(world) == []
    assert world.jobs() == 1


@virtual
@BOTH
async def test_the_pod_on_the_spoke_is_gone_while_the_job_goes_on(way: Way) -> None:
    world = world_with(way, Obstacle.PULL, scenario=lambda *_: JobPlan(duration_s=600))
    await go_on(world, 120)
    assert any("Pod" in line for line in diagnosis(world))
    world.world.spoke.obstacles.lift()
    await go_on(world, 90)
    assert diagnosis(world) == []
    assert world.look().fact is Fact.JOB_ACTIVE


@virtual
@BOTH
@pytest.mark.parametrize("obstacle", list(Obstacle), ids=lambda obstacle: obstacle.name)
async def test_the_job_s_deadline_ends_it_with_the_cause_and_nothing_is_left(
    way: Way, obstacle: Obstacle
) -> None:
    world = world_with(way, obstacle, order=replace(ORDER, job_deadline_s=300))
    await go_on(world, 290)
    while (sight := world.look()).fact is not Fact.JOB_DEADLINE:
        if not await world.step():
            await asyncio.sleep(0.25)
    assert sight.note.startswith("DeadlineExceeded: Job was active longer than specified deadline")
    assert CAUSES[obstacle] in sight.note
    await world.run(Phase.TIMED_OUT)
    await go_on(world, 90)
    assert diagnosis(world) == []


@virtual
@BOTH
async def test_a_pod_that_is_ready_within_a_minute_makes_nobody_ask(way: Way) -> None:
    world = world_with(way, Obstacle.UNSCHEDULABLE)
    await go_on(world, 50)
    world.world.spoke.obstacles.lift()
    await world.run()
    assert not any("DIAGNOSE" in line for line in world.diary)


@virtual
@BOTH
async def test_a_restart_in_between_neither_forgets_nor_repeats(way: Way) -> None:
    world = world_with(way, Obstacle.PULL)
    await go_on(world, 120)
    pods = [p["metadata"]["uid"] for p in world.world.spoke.store.all(kinds.POD)]
    world.restart()
    assert world.look().note.startswith(CAUSES[Obstacle.PULL])
    await go_on(world, 120)
    assert [p["metadata"]["uid"] for p in world.world.spoke.store.all(kinds.POD)] == pods
    world.world.spoke.obstacles.lift()
    world.restart()
    await world.run()
    await world.clean()
    assert diagnosis(world) == []


@virtual
async def test_a_cluster_whose_agent_only_polls_tells_the_cause_as_well() -> None:
    habits = WorkHabits(poll_s=(60.0, 114.0), watches=False, freezes=False)
    world = world_with(Way.MANIFEST_WORK, Obstacle.PULL, habits=habits, old_crd=True)
    await go_on(world, 400)
    assert "ImagePullBackOff" in world.look().note


@virtual
@BOTH
async def test_another_run_s_clean_up_takes_the_pod_s_traces_along(way: Way) -> None:
    world = world_with(way, Obstacle.PULL)
    await go_on(world, 120)
    assert diagnosis(world)
    world.order, world.phase = replace(world.order, run="run-2"), Phase.NOT_STARTED
    world.world.spoke.obstacles.lift()
    await world.run()
    await world.clean()
    assert diagnosis(world) == []
    assert world.jobs() == 2


@virtual
@BOTH
async def test_a_pod_that_starts_although_the_job_s_does_not_is_told_so(way: Way) -> None:
    """As where the Job controller is away."""
    world = world_with(way, None)
    world.world.spoke.jobs.lag_s = 10_000.0
    await go_on(world, 150)
    assert world.look().note == "the Job's pod does not get ready, although a pod like it starts"


class Killed(WorkWorld):
    """The operator dies after one of its moves was carried out and before it was stored."""

    killed_at = 0

    async def step(self) -> bool:
        before, moves = self.phase, len(self.diary)
        moved = await super().step()
        if len(self.diary) != moves and len(self.diary) == self.killed_at:
            self.phase = before
            self.restart()
        return moved


@virtual
@BOTH
async def test_whoever_is_killed_anywhere_leaves_nothing_and_starts_one_job(way: Way) -> None:
    for killed_at in range(1, 9):
        world = Killed(way=way, views=way is Way.VIEW_ACTION)
        world.killed_at = killed_at
        world.world.spoke.obstacles.put(Obstacle.PULL)
        await go_on(world, 200)
        assert world.look().note.startswith(CAUSES[Obstacle.PULL]), world.diary
        world.world.spoke.obstacles.lift()
        await world.run()
        await world.clean()
        await go_on(world, 5)
        assert diagnosis(world) == [], (killed_at, world.diary)
        assert world.jobs() == 1
