"""The way of a cluster that is reached by ManifestWorks: with a simulated agent, in virtual time."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

import pytest

from talm.api import kinds
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Phase
from talm.core.model import Effect, Fact
from talm.errors import NotFound
from talm.sim.agents.workagent import WorkHabits
from talm.sim.clock import format_time
from talm.sim.spoke.spokejobs import JobPlan, Outcome, Scenario
from talm.spokes.base import Transport
from talm.spokes.bycluster import Way
from talm.spokes.manifestwork import ManifestWorkTransport
from tests.sim.oneworld import CLUSTER
from tests.sim.virtual import virtual
from tests.spokes.workworld import WorkWorld
from tests.spokes.world import ORDER

OLD_AGENT = WorkHabits(watches=False, freezes=False)
SLOW_POLL = WorkHabits(poll_s=(60.0, 114.0), watches=False)


def ending(outcome: Outcome, seconds: float = 60.0) -> Scenario:
    return lambda _cluster, _job: JobPlan(duration_s=seconds, outcome=outcome)


def test_it_is_a_transport() -> None:
    _: type[Transport] = ManifestWorkTransport


@virtual
async def test_a_cluster_goes_its_way_with_one_work_and_two_writes() -> None:
    world = WorkWorld()
    await world.run()
    assert world.diary == [
        "NotStarted: CLEAN -> CLEAN_UP",
        "PreparingToStart: CLEAN",
        "Starting: CLEAN -> PREPARE",
        "Starting: JOB_ACTIVE -> DROP_SETUP",
        "Active: JOB_SUCCEEDED -> REMOVE",
    ]
    assert world.writes("POST", kinds.MANIFEST_WORK) == 1
    assert world.writes("DELETE", kinds.MANIFEST_WORK) == 1
    await world.clean()
    assert world.names() == []
    assert world.jobs() == 1


@virtual
async def test_where_views_are_answered_the_namespace_is_proved_gone_before_the_work_is_made() -> (
    None
):
    world = WorkWorld(views=True)
    await world.world.have(kinds.NAMESPACE, MANUAL_NAMESPACE)
    await world.run(Phase.STARTING)
    with pytest.raises(NotFound):
        await world.world.spoke.get(kinds.NAMESPACE, "", MANUAL_NAMESPACE)
    await world.run(Phase.ACTIVE)
    # Nothing is asked any more, and what deletes was carried out: it cannot meet what the work has made.
    assert world.names() == ["pre-cache-run-1", "precache-crb-delete", "precache-ns-delete"]
    deletion = world.hub.get(kinds.ACTION, "precache-ns-delete", CLUSTER)
    assert deletion["status"]["conditions"][0]["status"] == "True"
    await world.run()
    await world.clean()
    assert world.jobs() == 1


@virtual
async def test_the_work_of_an_earlier_run_is_deleted_and_waited_for() -> None:
    world = WorkWorld()
    world.plant_work("run-0")
    await asyncio.sleep(1)
    await world.run()
    assert "PreparingToStart: CLEAN" in world.diary
    await world.clean()
    assert world.names() == []


@virtual
async def test_leftover_works_go_before_views_and_actions_are_used() -> None:
    world = WorkWorld(views=True, way=Way.VIEW_ACTION)
    world.plant_work("run-0")
    await asyncio.sleep(1)
    await world.run()
    assert world.names()[:1] != ["pre-cache-run-0"]
    assert world.jobs() == 1


@virtual
async def test_views_and_actions_that_nobody_answers_any_more_are_taken_back() -> None:
    world = WorkWorld(views=True, way=Way.VIEW_ACTION)
    world.world.link.down()
    await world.run(Phase.PREPARING)
    assert {"precache-ns-delete", "view-precache-namespace"} <= set(world.names())
    world.views, world.default_way = False, Way.MANIFEST_WORK  # the add-on was taken away
    world.order, world.phase = replace(ORDER, run="run-2"), Phase.NOT_STARTED
    await world.run(Phase.STARTING)
    await world.step()
    assert world.names() == ["pre-cache-run-2", "precache-crb-delete"]


@virtual
async def test_a_work_that_is_going_is_waited_for_before_one_of_its_name_is_made() -> None:
    world = WorkWorld()
    await world.run(Phase.ACTIVE)
    world.phase = Phase.NOT_STARTED
    await world.run(Phase.ACTIVE)
    assert world.writes("POST", kinds.MANIFEST_WORK) == 2
    assert world.jobs() == 2
    await world.run()
    await world.clean()


@pytest.mark.parametrize("outcome", [Outcome.FAILS, Outcome.HANGS])
@virtual
async def test_a_job_that_fails_is_told_and_never_runs_again(outcome: Outcome) -> None:
    order = replace(ORDER, job_deadline_s=120)
    world = WorkWorld(scenario=ending(outcome, 30.0), order=order)
    end = Phase.FAILED if outcome is Outcome.FAILS else Phase.TIMED_OUT
    await world.run(end)
    await asyncio.sleep(10)
    assert world.names() == ["pre-cache-run-1"]  # there is something to look at until the farewell
    await world.world.spoke.delete(kinds.JOB, MANUAL_NAMESPACE, "pre-cache", "Background")
    await asyncio.sleep(900)
    assert world.jobs() == 1
    await world.do(Effect.REMOVE)
    await world.clean()


@virtual
async def test_an_agent_that_cannot_freeze_a_work_loses_it_when_its_job_has_failed() -> None:
    world = WorkWorld(habits=OLD_AGENT, scenario=ending(Outcome.FAILS))
    await world.run(Phase.FAILED)
    await world.clean()
    await asyncio.sleep(900)
    assert world.jobs() == 1


@virtual
async def test_where_an_older_hub_drops_the_rule_a_failed_job_never_runs_again_either() -> None:
    world = WorkWorld(old_crd=True, scenario=ending(Outcome.FAILS))
    await world.run(Phase.FAILED)
    await world.clean()
    await asyncio.sleep(900)
    assert world.jobs() == 1


@virtual
async def test_a_job_that_was_deleted_is_made_again_at_once() -> None:
    world = WorkWorld()
    await world.run(Phase.ACTIVE)
    await world.world.spoke.delete(kinds.JOB, MANUAL_NAMESPACE, "pre-cache", "Background")
    deleted = world.now()
    await world.run(Phase.STARTING)  # by the poll: a watch does not tell of deletions
    await world.run(Phase.ACTIVE)
    assert world.jobs() == 2
    assert world.now() - deleted < dt.timedelta(seconds=30)
    await world.run()


@virtual
async def test_a_job_of_another_run_is_never_taken_for_ours() -> None:
    world = WorkWorld()
    await world.world.have(kinds.NAMESPACE, MANUAL_NAMESPACE)
    meta = {"labels": {RUN_LABEL: "run-0"}, "name": "pre-cache"}
    job = {"metadata": meta, "spec": {"template": {}}}
    await world.world.spoke.create(kinds.JOB, MANUAL_NAMESPACE, job)
    await asyncio.sleep(120)  # it has succeeded long ago
    await world.run()
    assert "Starting: JOB_OTHER" in world.diary
    assert world.jobs() == 2
    await world.clean()


class TestWhoeverDiesInBetween:
    @virtual
    async def test_finds_the_success_whose_work_is_gone_already(self) -> None:
        world = WorkWorld()
        await world.run(Phase.ACTIVE)
        await world.until(Fact.JOB_SUCCEEDED)
        world.successes.runs[CLUSTER] = ORDER.run
        await world.do(Effect.REMOVE)  # and dies before the state is stored
        await world.clean()
        world.restart()
        await world.run()
        assert world.jobs() == 1

    @virtual
    async def test_starts_no_second_job_wherever_it_happens(self) -> None:
        world = WorkWorld(views=True)
        for phase in (Phase.PREPARING, Phase.STARTING, Phase.ACTIVE, Phase.SUCCEEDED):
            await world.run(phase)
            world.restart()
        assert world.jobs() == 1
        await world.clean()

    @virtual
    async def test_finds_the_way_by_which_the_run_was_begun(self) -> None:
        world = WorkWorld(views=True)
        await world.run(Phase.ACTIVE)
        world.default_way = Way.VIEW_ACTION
        world.restart()
        await world.run()
        assert world.jobs() == 1

    @virtual
    async def test_a_new_run_does_not_take_the_noted_success_for_its_own(self) -> None:
        world = WorkWorld()
        await world.run()
        world.phase = Phase.NOT_STARTED  # the same run begins anew
        await world.run()
        assert world.jobs() == 2
        world.order, world.phase = replace(ORDER, run="run-2"), Phase.NOT_STARTED
        await world.run()
        assert world.jobs() == 3


class TestAClusterThatIsAway:
    @virtual
    async def test_never_starts_once_it_was_given_up(self) -> None:
        world = WorkWorld()
        world.world.link.down()
        await world.run(Phase.STARTING)
        await world.step()
        assert world.look().fact is Fact.SETTING_UP
        await world.do(Effect.WITHDRAW)
        assert world.names() == []  # no agent has seen it: it is gone at once
        world.world.link.up(relist=True)
        await asyncio.sleep(900)
        assert world.jobs() == 0

    @virtual
    async def test_only_takes_away_when_it_returns_with_a_work_that_was_seen(self) -> None:
        world = WorkWorld()
        await world.run(Phase.ACTIVE)
        world.world.link.down()
        await world.do(Effect.WITHDRAW)
        assert world.look().fact is Fact.LEFTOVERS
        world.world.link.up()
        await world.clean()
        assert world.jobs() == 1
        assert world.names() == []

    @virtual
    async def test_tells_the_success_when_it_returns(self) -> None:
        world = WorkWorld()
        await world.run(Phase.ACTIVE)
        await asyncio.sleep(1)  # its pod is ready
        world.world.link.down()
        await asyncio.sleep(600)
        assert world.look().fact is Fact.JOB_ACTIVE
        world.world.link.up()
        await world.run(within_s=5)
        assert world.jobs() == 1

    @virtual
    async def test_is_asked_when_it_has_returned(self) -> None:
        world = WorkWorld()
        await world.run(Phase.ACTIVE)
        world.world.link.down()
        # The Job ends; the agent tries to tell, with longer and longer pauses.
        await asyncio.sleep(200)
        assert world.pokes == set()
        world.world.link.up()
        available = {
            "type": "ManagedClusterConditionAvailable",
            "status": "True",
            "lastTransitionTime": format_time(world.now() + dt.timedelta(seconds=1)),
        }
        status = {"metadata": {"name": CLUSTER}, "status": {"conditions": [available]}}
        world.hub.put(kinds.MANAGED_CLUSTER, status)
        await world.run(within_s=5)
        assert len(world.pokes) == 1


class TestFeedback:
    @virtual
    async def test_carries_the_record_while_the_job_runs(self) -> None:
        def record(done: float) -> Mapping[str, str]:
            return {"record": f'{{"phase":"Downloading","imagesDone":{int(done * 20)}}}'}

        plan = JobPlan(duration_s=60.0, progress=record)
        world = WorkWorld(scenario=lambda _cluster, _job: plan)
        await world.run(Phase.ACTIVE)
        await asyncio.sleep(40)
        assert world.look().progress == {"record": '{"phase":"Downloading","imagesDone":10}'}

    @virtual
    async def test_by_events_needs_no_poke(self) -> None:
        world = WorkWorld()
        await world.run()
        assert world.pokes == set()

    @virtual
    async def test_of_an_agent_that_polls_is_asked_for_where_news_is_due(self) -> None:
        def record(done: float) -> Mapping[str, str]:
            return {"record": f'{{"phase":"Downloading","etaS":{int((1 - done) * 300)}}}'}

        plan = JobPlan(duration_s=300.0, steps=10, progress=record)
        world = WorkWorld(habits=SLOW_POLL, scenario=lambda _cluster, _job: plan)
        began = world.now()
        await world.run(Phase.ACTIVE)
        assert world.now() - began < dt.timedelta(seconds=10)
        await world.run()
        assert world.now() - began < dt.timedelta(seconds=345)
        assert 0 < len(world.pokes) < 8
        assert world.jobs() == 1

    @virtual
    async def test_is_asked_for_where_an_older_hub_drops_the_wish_for_events(self) -> None:
        plan = JobPlan(duration_s=60.0, progress=lambda _done: {"record": '{"etaS":40}'})
        world = WorkWorld(old_crd=True, scenario=lambda _cluster, _job: plan)
        await world.run()
        assert world.pokes != set()
        assert world.jobs() == 1

    @virtual
    async def test_of_an_agent_that_was_never_heard_is_not_asked_for(self) -> None:
        world = WorkWorld()
        world.world.link.down()
        await world.run(Phase.STARTING)
        await world.step()
        before = len(world.hub.writes)
        for _ in range(100):
            await world.step()
            await asyncio.sleep(5)
        assert len(world.hub.writes) == before


@virtual
async def test_a_deadline_that_changes_before_the_job_is_made_is_written_into_the_work() -> None:
    world = WorkWorld()
    world.world.link.down()
    await world.run(Phase.STARTING)
    await world.step()
    world.order = replace(ORDER, job_deadline_s=600)
    assert world.look().fact is Fact.SETUP_LOST
    await world.step()
    assert world.look().fact is Fact.SETTING_UP
    world.world.link.up()
    await world.run(Phase.ACTIVE)
    job = await world.world.spoke.get(kinds.JOB, MANUAL_NAMESPACE, "pre-cache")
    assert job["spec"]["activeDeadlineSeconds"] == 600


@virtual
async def test_what_the_agent_cannot_apply_is_told_in_its_own_words() -> None:
    world = WorkWorld()
    world.world.spoke.hold_namespaces = True
    await world.world.have(kinds.NAMESPACE, MANUAL_NAMESPACE)
    await world.world.spoke.delete(kinds.NAMESPACE, "", MANUAL_NAMESPACE, "Background")
    await world.run(Phase.STARTING)
    await world.step()
    await asyncio.sleep(5)
    sight = world.look()
    assert sight.fact is Fact.SETTING_UP
    assert "because it is being terminated" in sight.note
    world.world.spoke.release()
    await world.run()
    assert world.jobs() == 1
