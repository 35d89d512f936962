"""Where every node pulls, something is made outside of the namespace: it goes again, whatever happens."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talm.api.kinds import ACTION, VIEW
from talm.api.pod import Nodes, StoreKind
from talm.api.words import MANUAL_NAMESPACE, Action, Phase, View
from talm.core.model import Effect
from talm.spokes.base import PodTerms
from talm.spokes.existing import EXISTING
from talm.spokes.own import TALM
from talm.spokes.profile import CREATES, NODE_DELETES, Profile
from tests.spokes.world import ORDER, World, other

ALL = other(pod=PodTerms(nodes=Nodes.ALL))
READER = f"{MANUAL_NAMESPACE}-nodes"
OUTSIDE = [("clusterrole", READER), ("clusterrolebinding", READER)]


def outside(world: World) -> list[tuple[str, str]]:
    return sorted(key for key in world.spoke.objects if key[0].startswith("clusterrole"))


async def active(profile: Profile = TALM) -> World:
    world = World(profile, ALL)
    world.spoke.job_s = 600
    await world.run(Phase.ACTIVE)
    return world


async def test_a_run_makes_what_lists_nodes_and_takes_it_away_at_its_end() -> None:
    world = World(TALM, ALL)
    await world.run(Phase.ACTIVE)
    assert outside(world) == OUTSIDE
    assert world.hub.names(VIEW) == sorted([View.JOB, View.PROGRESS, View.NODE_READER])
    await world.run()
    assert world.hub.names(VIEW) == []
    world.wait(70)
    assert world.hub.names(ACTION) == []
    assert world.spoke.objects == {}
    assert world.spoke.jobs_made == 1
    assert world.hub.reads == 0


async def test_one_node_makes_the_requests_that_it_made_before_there_was_a_choice() -> None:
    world = World(TALM)
    await world.run()
    ours = {View.NODE_READER, *NODE_DELETES, Action.NODE_READER_CREATE, Action.NODE_BINDING_CREATE}
    assert not [line for line in world.hub.trace if line.split()[-1] in ours]
    assert world.hub.writes <= 22


@pytest.mark.parametrize("profile", [TALM, EXISTING], ids=lambda profile: profile.name)
async def test_a_run_on_one_node_removes_what_a_run_on_all_has_left(profile: Profile) -> None:
    world = await active()
    world.profile, world.order, world.phase = profile, other(run="run-2"), Phase.NOT_STARTED
    world.restart()
    world.spoke.job_s = 20
    await world.run()
    world.wait(70)
    assert world.spoke.objects == {}
    assert world.hub.names(VIEW) == world.hub.names(ACTION) == []


async def test_a_wish_that_changes_while_the_job_runs_leaves_nothing() -> None:
    world = await active()
    world.order = ORDER
    await world.do(Effect.REMOVE)
    world.wait(70)
    assert world.spoke.objects == {}
    assert world.hub.names(VIEW) == []


async def test_whoever_withdraws_keeps_what_tells_that_something_is_left() -> None:
    world = await active()
    await world.do(Effect.WITHDRAW)
    assert world.hub.names(VIEW) == [View.NODE_READER]
    await world.do(Effect.REMOVE)
    assert world.hub.names(VIEW) == []
    world.wait(70)
    assert world.spoke.objects == {}


async def test_a_deletion_of_an_earlier_run_does_not_hit_what_is_made_now() -> None:
    world = await active()
    world.agents.lost = {*NODE_DELETES}  # carried out, and never reported
    await world.do(Effect.REMOVE)
    world.wait(30)
    world.order, world.phase = other(ALL, run="run-2"), Phase.NOT_STARTED
    await world.run(Phase.ACTIVE)
    world.agents.come_back()  # restarts, and takes up whatever is still there
    world.wait(60)
    assert outside(world) == OUTSIDE


@pytest.mark.parametrize("step", range(1, 8))
async def test_a_killed_operator_leaves_nothing_either(step: int) -> None:
    world = World(TALM, ALL)
    world.killed_at = {step}
    await world.run()
    world.wait(130)
    assert world.spoke.objects == {}
    assert world.hub.names(VIEW) == world.hub.names(ACTION) == []
    assert world.spoke.jobs_made == 1


async def test_a_deletion_outside_that_failed_is_repeated_with_the_namespaces() -> None:
    world = await active()
    world.order, world.phase = other(run="run-2"), Phase.NOT_STARTED
    world.spoke.job_s = 20
    timeout = ["etcdserver: request timed out"] * 2
    world.agents.failing = {action: [*timeout] for action in (Action.NS_DELETE, *NODE_DELETES)}
    await world.run(within_s=300)
    world.wait(70)
    assert outside(world) == []


async def test_a_deletion_that_failed_after_the_end_is_made_up_for_by_the_next_run() -> None:
    world = await active()
    world.agents.failing = {action: ["etcdserver: timed out"] for action in NODE_DELETES}
    await world.do(Effect.REMOVE)
    world.wait(20)
    assert outside(world) == OUTSIDE
    world.order, world.phase = other(run="run-2"), Phase.NOT_STARTED
    world.spoke.job_s = 20
    await world.run()
    world.wait(70)
    assert world.spoke.objects == {}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    view_s=st.sampled_from([0.01, 0.3, 3.0]),
    action_s=st.sampled_from([0.01, 0.3, 3.0]),
    lost=st.sets(st.sampled_from([action.value for action in CREATES])),
    failing=st.sets(st.sampled_from([action.value for action in CREATES])),
    unstored=st.sets(st.integers(1, 12), max_size=3),
)
def test_whatever_is_slow_lost_failing_or_killed_the_next_run_ends_on_a_clean_spoke(
    view_s: float, action_s: float, lost: set[str], failing: set[str], unstored: set[int]
) -> None:
    async def play() -> None:
        world = World(TALM, ALL)
        world.agents.view_s, world.agents.action_s = view_s, action_s
        world.agents.lost = lost
        world.agents.failing = {action: ["conflict"] for action in failing}
        world.killed_at = unstored
        await world.run(within_s=900)
        assert world.spoke.jobs_made == 1, world.diary
        world.order, world.phase, world.killed_at = other(run="run-2"), Phase.NOT_STARTED, set()
        await world.run(within_s=900)
        world.wait(70)
        assert world.spoke.objects == {}, world.diary

    asyncio.run(play())


async def test_the_transports_terms_never_change_the_orders_nodes() -> None:
    world = World(TALM, ALL)
    await world.run(Phase.ACTIVE)
    job = world.spoke.objects["job", "pre-cache"]
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "nodes"
    assert StoreKind.OCI_LAYOUT in job["metadata"]["annotations"]["talm.ran.openshift.io/node-job"]
