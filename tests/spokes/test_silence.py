"""What is due of a cluster, and until when: with simulated agents, in virtual time."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pytest

from talm.api import kinds
from talm.api.words import Phase
from talm.core.due import Due, Voice
from talm.core.model import Fact
from talm.sim.agents.workagent import WorkHabits
from talm.sim.spoke.spokejobs import JobPlan, Outcome, Scenario
from talm.spokes.bycluster import Way
from tests.sim.oneworld import CLUSTER
from tests.sim.virtual import virtual
from tests.spokes.workworld import WorkWorld
from tests.spokes.world import ORDER

SLOW_POLL: Final = WorkHabits(poll_s=(60.0, 114.0), watches=False)
QUICK_POLL: Final = WorkHabits(poll_s=(10.0, 19.0), watches=False)
JOB_S: Final = 1500.0


def record(done: float) -> Mapping[str, str]:
    return {"record": json.dumps({"phase": "Downloading", "imagesDone": int(done * 20)})}


def telling(outcome: Outcome = Outcome.SUCCEEDS, seconds: float = JOB_S) -> Scenario:
    """Jobs whose workload tells as ours does: every 30 s that it lives."""
    plan = JobPlan(seconds, outcome, steps=5, progress=record, beat_s=30.0)
    return lambda _cluster, _job: plan


def is_silent(world: WorkWorld) -> bool:
    due = world.look().due
    return due is not None and world.now() >= due.since + due.within


async def silent_after(world: WorkWorld, voice: Voice, *, within_s: float) -> float:
    """Seconds until this voice counts as silent."""
    began = world.now()
    while not is_silent(world):
        assert world.now() - began < dt.timedelta(seconds=within_s), world.look().due
        await asyncio.sleep(1)
    due = world.look().due
    assert due is not None
    assert due.voice is voice
    return (world.now() - began).total_seconds()


async def run_without_silence(world: WorkWorld) -> None:
    """Go all the way; at no second is anything said to be silent."""
    while world.phase is not Phase.SUCCEEDED:
        assert not is_silent(world), (world.phase, world.look())
        if not await world.step():
            await asyncio.sleep(1)


def in_views(clusters: int = 2, scenario: Scenario | None = None) -> WorkWorld:
    order = replace(ORDER, clusters=clusters)
    return WorkWorld(
        views=True, way=Way.VIEW_ACTION, scenario=scenario or telling(), order=order
    )  # fmt: skip


# ---- a cluster that is heard is never silent ----------------------------------------------------


@pytest.mark.parametrize(
    "habits", [WorkHabits(), SLOW_POLL, QUICK_POLL], ids=["events", "slow-poll", "quick-poll"]
)
@virtual
async def test_a_work_that_gets_on_is_never_silent_however_its_agent_tells(
    habits: WorkHabits,
) -> None:
    await run_without_silence(WorkWorld(habits=habits, scenario=telling()))


@pytest.mark.parametrize("clusters", [2, 3_500, 15_000])
@virtual
async def test_views_that_get_on_are_never_silent_however_long_their_interval(
    clusters: int,
) -> None:
    await run_without_silence(in_views(clusters))


@virtual
async def test_a_job_whose_pod_does_not_get_ready_is_no_silence() -> None:
    for world in (WorkWorld(scenario=telling(Outcome.NEVER_READY)), in_views()):
        world.world.spoke.jobs.scenario = telling(Outcome.NEVER_READY)
        await world.run(Phase.ACTIVE)
        await asyncio.sleep(1000)
        assert world.look().fact is Fact.JOB_UNREADY
        assert world.look().due is None


@virtual
async def test_an_agent_that_goes_while_the_pod_is_not_ready_is_missed_when_it_is_asked_why() -> (
    None
):
    for world, voice in (
        (WorkWorld(scenario=telling(Outcome.NEVER_READY)), Voice.WORK_AGENT),
        (in_views(scenario=telling(Outcome.NEVER_READY)), Voice.VIEW_AGENT),
    ):
        await world.run(Phase.ACTIVE)
        world.world.link.down()
        began = world.now()
        while not is_silent(world):
            assert world.now() - began < dt.timedelta(seconds=300), world.look()
            if not await world.step():
                await asyncio.sleep(1)
        due = world.look().due
        assert due is not None
        assert due.voice is voice


@virtual
async def test_a_workload_that_has_never_told_anything_owes_nothing() -> None:
    world = WorkWorld(scenario=lambda _cluster, _job: JobPlan(JOB_S))
    await world.run(Phase.ACTIVE)
    await asyncio.sleep(300)
    assert world.look().due is None


# ---- the workload -------------------------------------------------------------------------------


async def loses_its_line(world: WorkWorld, *, after_s: float = 400) -> None:
    await world.run(Phase.ACTIVE)
    await asyncio.sleep(after_s)
    world.world.link.down()


@virtual
async def test_by_events_a_workload_is_silent_after_three_turns_and_speaks_when_it_is_back() -> (
    None
):
    world = WorkWorld(scenario=telling())
    await loses_its_line(world)
    assert 60 <= await silent_after(world, Voice.WORKLOAD, within_s=100) <= 91
    await asyncio.sleep(100)
    assert is_silent(world)
    world.world.link.up()
    await asyncio.sleep(150)  # the agent tries again after a pause as long as the outage
    assert not is_silent(world)
    await world.run(within_s=JOB_S)
    assert world.jobs() == 1


@pytest.mark.parametrize("old_crd", [False, True], ids=["old-agent", "old-hub"])
@virtual
async def test_by_polls_it_has_the_longest_poll_beside_them(old_crd: bool) -> None:
    world = WorkWorld(habits=None if old_crd else SLOW_POLL, old_crd=old_crd, scenario=telling())
    await loses_its_line(world)
    assert 90 < await silent_after(world, Voice.WORKLOAD, within_s=210) <= 205


@virtual
async def test_in_a_view_it_has_two_intervals_beside_them() -> None:
    for clusters, interval_s in ((2, 2), (5_000, 100)):
        world = in_views(clusters)
        await loses_its_line(world)
        took_s = await silent_after(world, Voice.WORKLOAD, within_s=300)
        assert 2 * interval_s + 90 - 30 - interval_s <= took_s <= 2 * interval_s + 91
        world.world.link.up()
        await asyncio.sleep(400)  # longer than the agent's pauses have grown
        assert not is_silent(world)


@virtual
async def test_a_workload_whose_clock_is_wrong_is_heard_all_the_same() -> None:
    world = WorkWorld(scenario=telling())
    stamps = iter(range(10_000, 0, -1))  # it runs backwards

    def backwards(_done: float) -> Mapping[str, str]:
        return {"record": json.dumps({"heartbeat": f"2021-01-01T00:00:00.{next(stamps):06}Z"})}

    plan = JobPlan(600.0, steps=20, progress=backwards)
    world.world.spoke.jobs.scenario = lambda _cluster, _job: plan
    await run_without_silence(world)


@virtual
async def test_an_operator_that_starts_counts_from_then() -> None:
    for world in (WorkWorld(scenario=telling()), in_views()):
        await loses_its_line(world)
        await silent_after(world, Voice.WORKLOAD, within_s=300)
        world.restart()
        due = world.look().due
        assert due is not None
        assert due.since == world.now()


# ---- agents -------------------------------------------------------------------------------------


@virtual
async def test_a_work_that_no_agent_applies_tells_of_a_silent_work_agent() -> None:
    world = WorkWorld(scenario=telling())
    world.world.link.down()
    await world.run(Phase.STARTING)
    await world.step()
    assert 119 <= await silent_after(world, Voice.WORK_AGENT, within_s=130) <= 121
    world.world.link.up()
    await world.run(Phase.ACTIVE, within_s=30)
    assert not is_silent(world)


@virtual
async def test_questions_that_nobody_answers_tell_of_a_silent_view_agent() -> None:
    for world in (in_views(), WorkWorld(views=True, scenario=telling())):
        world.world.link.down()
        await world.run(Phase.PREPARING)
        assert 118 <= await silent_after(world, Voice.VIEW_AGENT, within_s=130) <= 121
        world.world.link.up()
        await world.run(Phase.ACTIVE, within_s=60)
        assert not is_silent(world)


@virtual
async def test_an_agent_that_has_answered_something_has_its_time_from_then_on() -> None:
    world = in_views()
    world.world.link.down()
    await world.run(Phase.PREPARING)
    asked = world.now()
    await asyncio.sleep(60)
    deletion = world.hub.get(kinds.ACTION, "precache-crb-delete", CLUSTER)
    said = {"type": "Completed", "status": "True", "reason": "ActionDone", "message": "done"}
    world.hub.put(kinds.ACTION, {**deletion, "status": {"conditions": [said]}})
    due = world.look().due
    assert due == Due(Voice.VIEW_AGENT, asked + dt.timedelta(seconds=60), dt.timedelta(seconds=120))


@virtual
async def test_an_add_on_that_is_away_is_silent_at_once_but_not_once_the_job_has_ended() -> None:
    world = in_views(scenario=telling(seconds=60.0))
    await world.run(Phase.ACTIVE)
    away = world.now()
    world.away = away
    assert world.look().due == Due(Voice.ADD_ON, away, dt.timedelta(0))
    await world.until(Fact.JOB_SUCCEEDED)
    assert world.look().due is None


@virtual
async def test_an_add_on_that_is_away_is_nothing_to_a_work_that_is_at_work() -> None:
    world = WorkWorld(views=True, scenario=telling())
    await world.run(Phase.ACTIVE)
    world.away = world.now()
    await asyncio.sleep(60)
    due = world.look().due
    assert due is not None
    assert due.voice is Voice.WORKLOAD
