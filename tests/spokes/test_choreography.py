"""Whole runs over the core's real table, in virtual time, with honest and with flawed agents."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talm.api.kinds import ACTION, VIEW
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Action, Phase, View
from talm.core.model import Effect, Fact
from talm.spokes.existing import EXISTING
from talm.spokes.own import TALM
from talm.spokes.profile import CREATES, Profile
from tests.spokes.agents import CLUSTER
from tests.spokes.hub import LOST_ANSWER, Object
from tests.spokes.world import World, other

BOTH = pytest.mark.parametrize("profile", [TALM, EXISTING], ids=lambda profile: profile.name)

DELETES = [Action.CRB_DELETE, Action.NS_DELETE]


def namespace(**labels: str) -> Object:
    meta = {"name": MANUAL_NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def old_job() -> Object:
    meta = {"name": "pre-cache", "namespace": MANUAL_NAMESPACE}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}}


# ---- the ordinary course ---------------------------------------------------------------------------


async def test_profile_talm_takes_six_moves_and_at_most_22_writes_without_a_read() -> None:
    world = World(TALM)
    await world.run()
    assert world.diary == [
        "NotStarted: UNASKED -> CLEAN_UP",
        "PreparingToStart: CLEAN",
        "Starting: CLEAN -> PREPARE",
        "Starting: JOB_UNASKED -> ASK_JOB",
        "Starting: JOB_ACTIVE -> DROP_SETUP",
        "Active: JOB_SUCCEEDED -> REMOVE",
    ]
    assert world.hub.writes <= 22
    assert world.hub.reads == 0
    assert world.spoke.jobs_made == 1


async def test_profile_existing_keeps_the_order_of_the_existing_operator() -> None:
    world = World(EXISTING)
    world.agents.action_s = 0.001  # actions land before the first view is read
    world.spoke.job_s = 60
    await world.run()
    assert world.diary == [
        "NotStarted: UNASKED -> CLEAN_UP",
        "PreparingToStart: CLEAN",
        "Starting: CLEAN -> PREPARE",
        "Starting: JOB_UNASKED -> ASK_JOB",
        "Starting: JOB_MISSING -> START_JOB",
        "Starting: JOB_ACTIVE -> DROP_SETUP",
        "Active: JOB_SUCCEEDED -> REMOVE",
    ]
    assert world.hub.reads == 0
    assert world.spoke.jobs_made == 1
    start = world.hub.trace.index(f"delete {View.JOB}")
    assert world.hub.trace[start : start + 3] == [
        f"delete {View.JOB}", f"create {Action.JOB_CREATE}", f"create {View.JOB}",
    ]  # fmt: skip


async def test_the_first_answer_about_the_job_does_not_race_the_action() -> None:
    world = World(TALM)
    await world.run(Phase.ACTIVE)
    assert world.hub.trace.count(f"create {View.JOB}") == 1
    assert world.seconds < 4


@BOTH
async def test_at_the_end_only_the_two_deletions_are_left_and_the_spoke_gets_clean(
    profile: Profile,
) -> None:
    world = World(profile)
    await world.run()
    assert world.hub.names(VIEW) == []
    world.wait(70)
    assert world.hub.names(ACTION) == []
    assert world.spoke.objects == {}


async def test_objects_on_hub_and_spoke_carry_the_run() -> None:
    world = World(TALM)
    await world.run(Phase.ACTIVE)
    bodies = [*world.hub.objects.values(), *world.spoke.objects.values()]
    assert all(body["metadata"]["labels"][RUN_LABEL] == "run-1" for body in bodies)


# ---- leftovers -------------------------------------------------------------------------------------


@BOTH
async def test_leftovers_of_any_run_are_removed_first(profile: Profile) -> None:
    world = World(profile)
    for makers in (TALM, EXISTING):  # hub objects of both, as if operators had changed
        past = World(makers, other(run="past"))
        past.spoke.job_s = 600
        await past.run(Phase.ACTIVE)
        for (kind, _, _), body in past.hub.objects.items():
            world.hub.plant(kind, body)
    world.spoke.create(namespace())
    world.spoke.create(old_job())
    world.restart()
    await world.run()
    assert "PreparingToStart: CLEAN" in world.diary
    assert world.spoke.jobs_made == 2  # the old one and ours
    assert world.hub.names(VIEW) == []


@BOTH
async def test_a_failed_deletion_is_repeated_with_a_growing_pause(profile: Profile) -> None:
    world = World(profile)
    world.spoke.create(namespace())
    world.agents.failing = {Action.NS_DELETE: ["etcdserver: request timed out"] * 3}
    await world.run(within_s=300)
    again = [line for line in world.diary if "REMOVE_AGAIN" in line]
    assert len(again) == 3
    assert world.seconds > 5 + 10 + 20


@BOTH
async def test_a_lost_deletion_is_repeated(profile: Profile) -> None:
    world = World(profile)
    world.spoke.create(namespace())
    world.agents.action_s = 1
    await world.settle()
    world.hub.vanish(ACTION, CLUSTER, Action.NS_DELETE)
    await world.run()
    assert any("REMOVE_AGAIN" in line for line in world.diary)


async def test_a_namespace_that_is_going_is_waited_for_and_not_deleted_again() -> None:
    world = World(TALM)
    world.spoke.create(namespace())
    world.spoke.deletion_s = 100  # longer than the action that asked for it is kept
    await world.run(within_s=200)
    assert not any("REMOVE_AGAIN" in line for line in world.diary)


async def test_a_pending_deletion_of_an_earlier_run_is_left_to_its_agent() -> None:
    world = World(TALM)
    await world.do(Effect.REMOVE)
    kept = world.hub.find(ACTION, Action.NS_DELETE)
    world.order = other(run="run-2")
    await world.do(Effect.CLEAN_UP)
    assert world.hub.find(ACTION, Action.NS_DELETE) == kept


async def test_a_pending_deletion_of_another_namespace_is_replaced() -> None:
    world = World(TALM)
    await world.do(Effect.REMOVE)
    kept = world.hub.find(ACTION, Action.NS_DELETE)
    assert kept is not None
    kept["spec"]["kube"]["name"] = "openshift-talo-pre-cache"
    world.hub.plant(ACTION, kept)
    world.restart()
    await world.do(Effect.CLEAN_UP)
    renewed = world.hub.find(ACTION, Action.NS_DELETE)
    assert renewed is not None
    assert renewed["spec"]["kube"]["name"] == MANUAL_NAMESPACE


# ---- races and losses ------------------------------------------------------------------------------


@BOTH
async def test_views_that_answer_before_their_actions_are_asked_again(profile: Profile) -> None:
    world = World(profile, other(clusters=100))  # an interval of 300 s in profile existing
    world.agents.action_s = 0.5
    world.spoke.job_s = None
    await world.settle()
    while world.spoke.jobs_made == 0:
        world.clock.run_until(world.clock.now.replace(year=2030))
        await world.settle()
    world.spoke.set_job({"active": 1})
    await world.run(Phase.ACTIVE)
    assert world.seconds < 15


@BOTH
async def test_a_view_whose_answer_was_under_way_when_the_action_ended_is_asked_again(
    profile: Profile,
) -> None:
    """Read before the action, written after it: the later write is the older truth."""
    world = World(profile)
    world.agents.answer_s = 0.4
    world.spoke.job_s = None
    await world.settle()
    while world.spoke.jobs_made == 0:
        world.clock.run_until(world.clock.now.replace(year=2030))
        await world.settle()
    world.spoke.set_job({"active": 1})
    await world.run(Phase.ACTIVE)
    assert world.seconds < 12


@BOTH
async def test_no_view_waits_for_the_end_of_an_action(profile: Profile) -> None:
    world = World(profile)
    world.agents.lost = {action.value for action in CREATES}
    await world.run(within_s=300)
    assert world.spoke.jobs_made == 1


@BOTH
async def test_actions_collected_while_nobody_looked_do_not_start_a_second_job(
    profile: Profile,
) -> None:
    world = World(profile)
    world.spoke.job_s = 600
    await world.run(Phase.STARTING)
    while not world.spoke.jobs_made:
        await world.settle()
        world.clock.run_until(world.clock.now.replace(year=2030))
    world.wait(90)  # the operator is down; the collector is not
    world.restart()
    await world.run(within_s=900)
    assert world.spoke.jobs_made == 1


@BOTH
async def test_an_agent_that_relists_by_name_is_healed(profile: Profile) -> None:
    """The Job comes before its namespace then, and fails."""
    world = World(profile)
    await world.run(Phase.STARTING)
    world.agents.online = False
    world.agents.queue.clear()
    await world.settle()
    world.agents.come_back()
    await world.run(within_s=300)
    assert world.spoke.jobs_made == 1


@BOTH
async def test_a_passing_failure_of_any_action_ends_no_cluster(profile: Profile) -> None:
    for action in Action:
        world = World(profile)
        world.agents.failing = {action.value: ["the server is currently unable"] * 2}
        await world.run(within_s=400)
        assert world.phase is Phase.SUCCEEDED, action


async def test_what_the_pod_needs_is_tried_again_although_the_job_is_there() -> None:
    world = World(TALM)
    world.agents.failing = {Action.SPEC_CREATE: ["etcdserver: leader changed"]}
    world.spoke.job_s = None
    await world.settle()
    while world.spoke.jobs_made == 0:
        world.clock.run_until(world.clock.now.replace(year=2030))
        await world.settle()
    world.spoke.set_job({"active": 1, "ready": 0})
    world.wait(7)
    await world.settle()
    world.wait(1)
    assert ("configmap", "pre-cache-spec") in world.spoke.objects
    assert world.look().fact is Fact.JOB_ACTIVE


@BOTH
async def test_a_job_deleted_on_the_spoke_is_started_again(profile: Profile) -> None:
    world = World(profile)
    world.spoke.job_s = 200
    await world.run(Phase.ACTIVE)
    world.wait(90)
    world.spoke.delete("job", "pre-cache")
    world.spoke.job_s = 20
    await world.run(within_s=900)
    assert world.spoke.jobs_made == 2


@BOTH
async def test_a_namespace_deleted_on_the_spoke_is_set_up_again(profile: Profile) -> None:
    world = World(profile)
    world.spoke.job_s = 200
    await world.run(Phase.ACTIVE)
    world.spoke.delete("namespace", MANUAL_NAMESPACE)
    world.spoke.job_s = 20
    await world.run(within_s=900)
    assert world.spoke.jobs_made == 2


async def test_a_namespace_that_another_run_has_made_meanwhile_is_not_taken_for_ours() -> None:
    world = World(TALM)
    await world.run(Phase.PREPARING)
    world.wait(0.5)
    world.spoke.create(namespace(**{RUN_LABEL: "somebody-else"}))
    await world.run()
    assert any("JOB_OTHER" in line for line in world.diary)
    assert world.phase is Phase.SUCCEEDED


async def test_a_lost_answer_to_the_namespace_s_creation_is_no_other_run() -> None:
    """The agent tries again and reports "already exists" about its own work."""
    world = World(TALM)
    world.agents.failing = {Action.NS_CREATE: [f'namespaces "{MANUAL_NAMESPACE}" already exists']}
    await world.run(Phase.STARTING)
    world.spoke.create(namespace(**{RUN_LABEL: "run-1"}))
    await world.run()
    assert not any("JOB_OTHER" in line for line in world.diary)
    assert world.spoke.jobs_made == 1


# ---- kills and a failing hub -----------------------------------------------------------------------


@BOTH
async def test_an_operator_that_restarts_before_any_step_starts_one_job(profile: Profile) -> None:
    undisturbed = World(profile)
    await undisturbed.run()
    for step in range(len(undisturbed.diary) + 1):
        world = World(profile)
        world.killed_at = {step}  # with its effects carried out and its phase not stored
        await _run_with(world, lambda world: len(world.diary) == step)  # noqa: B023 - called here
        assert world.spoke.jobs_made == 1, world.diary


@BOTH
@pytest.mark.parametrize("failure", ["connection reset", LOST_ANSWER])
async def test_an_operator_that_dies_at_any_request_starts_one_job(
    profile: Profile, failure: str
) -> None:
    undisturbed = World(profile)
    await undisturbed.run()
    for request in range(undisturbed.hub.writes):
        world = World(profile)
        world.hub.outages = [""] * request + [failure]
        await _run_with(world, lambda world: bool(world.diary) and "failed" in world.diary[-1])
        assert world.spoke.jobs_made == 1, world.diary
        assert world.hub.names(VIEW) == []


async def _run_with(world: World, restarts: Callable[[World], bool]) -> None:
    """Run to the end; restart the operator once, when `restarts(world)` says so."""
    done = False
    for _ in range(2000):
        if world.phase is Phase.SUCCEEDED:
            return
        if not done and restarts(world):
            world.restart()
            done = True
        world.hub.deliver()
        if not await world.step():
            recheck = world.look().recheck
            limit = world.clock.now + recheck if recheck else world.clock.now.replace(year=2030)
            world.clock.run_until(limit)
    raise AssertionError(f"no end: {world.diary[-8:]}")


FLAWS = st.fixed_dictionaries(
    {
        "view_s": st.sampled_from([0.01, 0.3, 3.0]),
        "answer_s": st.sampled_from([0.01, 0.3, 3.0]),
        "action_s": st.sampled_from([0.01, 0.3, 3.0]),
        # A deletion that nobody ever reports would be repeated for ever, in profile existing, too.
        "lost": st.sets(st.sampled_from([action.value for action in CREATES])),
        "failing": st.dictionaries(
            st.sampled_from([action.value for action in Action]),
            st.lists(
                st.sampled_from(["etcdserver: timed out", "conflict"]), min_size=1, max_size=2
            ),
        ),
    }
)


@BOTH
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    flaws=FLAWS,
    kills=st.sets(st.integers(0, 40), max_size=4),
    unstored=st.sets(st.integers(1, 12), max_size=3),
    leftovers=st.booleans(),
)
def test_whatever_is_slow_lost_failing_or_killed_one_job_is_started(
    profile: Profile, flaws: dict[str, Any], kills: set[int], unstored: set[int], leftovers: bool
) -> None:
    world = World(profile)
    world.agents = replace(world.agents, **copy.deepcopy(flaws))
    world.hub.hooks = {kind: hooks[-1:] for kind, hooks in world.hub.hooks.items()}
    world.hub.outages = ["connection reset" if n in kills else "" for n in range(41)]
    world.killed_at = unstored
    if leftovers:
        world.spoke.create(namespace())
    asyncio.run(_run_with(world, lambda world: bool(world.diary) and "failed" in world.diary[-1]))
    assert world.spoke.jobs_made == 1, world.diary


@BOTH
@pytest.mark.parametrize("down_s", [0, 3, 50])
async def test_a_success_is_known_after_the_clean_up_although_it_was_not_stored(
    profile: Profile, down_s: float
) -> None:
    world = World(profile)
    await world.run()
    world.phase = Phase.ACTIVE
    world.wait(down_s)
    world.restart()
    assert world.look().fact is Fact.JOB_SUCCEEDED
    await world.run()
    world.order = other(run="run-2")
    assert world.look().fact is not Fact.JOB_SUCCEEDED


@BOTH
@pytest.mark.parametrize("answered", [0, 1, 2])
async def test_a_success_outlives_a_clean_up_that_fails_and_is_repeated(
    profile: Profile, answered: int
) -> None:
    world = World(profile)
    while world.look().fact is not Fact.JOB_SUCCEEDED:
        await world.settle()
        world.wait(1)
    for failures in ([LOST_ANSWER], [*[""] * answered, "connection reset"]):
        world.hub.outages = failures
        await world.step()
        world.wait(5)  # the spoke deletes the namespace, and the Job's view sees it
    world.hub.outages.clear()
    await world.run()
    assert world.spoke.jobs_made == 1, world.diary


@BOTH
async def test_a_success_on_record_outlives_all_that_is_on_the_hub_until_the_run_begins_anew(
    profile: Profile,
) -> None:
    world = World(profile)
    await world.run()
    world.successes.runs[CLUSTER] = world.order.run
    world.wait(300)  # the hub's collector has taken the deletion
    world.restart()
    assert world.look().fact is Fact.JOB_SUCCEEDED
    await world.do(Effect.CLEAN_UP)
    assert world.look().fact is not Fact.JOB_SUCCEEDED


async def test_a_new_run_under_the_same_name_does_not_inherit_a_success() -> None:
    world = World(TALM)
    await world.run()
    await world.do(Effect.CLEAN_UP)
    assert world.look().fact is Fact.UNANSWERED


# ---- offline ---------------------------------------------------------------------------------------


@BOTH
async def test_nothing_starts_late_on_a_spoke_whose_run_was_withdrawn(profile: Profile) -> None:
    world = World(profile)
    await world.run(Phase.STARTING)
    world.agents.online = False
    await world.settle()
    await world.do(Effect.WITHDRAW)
    assert world.hub.names(VIEW) == []
    assert not set(world.hub.names(ACTION)) - set(DELETES)
    world.agents.come_back()
    world.wait(60)
    assert world.spoke.jobs_made == 0


@BOTH
async def test_deletions_are_requested_and_never_waited_for(profile: Profile) -> None:
    world = World(profile)
    world.spoke.job_s = None
    await world.settle()
    while world.spoke.jobs_made == 0:
        world.clock.run_until(world.clock.now.replace(year=2030))
        await world.settle()
    world.agents.online = False
    await world.do(Effect.REMOVE)
    assert world.hub.names(VIEW) == []
    assert not set(world.hub.names(ACTION)) - set(DELETES), (
        "a run without success keeps no creation"
    )
    world.wait(600)
    # Profile talm makes no binding; the end of a leftover one was asked for before the run.
    wanted = DELETES if profile is EXISTING else [Action.NS_DELETE]
    assert world.hub.names(ACTION) == wanted
