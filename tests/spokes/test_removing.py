"""A removal that the spoke refuses after a success is followed until nothing is left."""

from __future__ import annotations

import pytest

from talm.api.kinds import ACTION, VIEW
from talm.api.words import Action, Phase, View
from talm.core.model import Effect
from talm.core.removal import Removal, Standing
from talm.spokes.existing import EXISTING
from talm.spokes.own import TALM
from talm.spokes.profile import Profile
from talm.spokes.removing import MOST_TRIES
from tests.spokes.agents import CLUSTER
from tests.spokes.world import World, other

BOTH = pytest.mark.parametrize("profile", [TALM, EXISTING], ids=lambda profile: profile.name)
AWAY = "dial tcp 172.30.0.1:443: connect: connection refused"


async def refused(profile: Profile, tries: int = 1) -> World:
    """A world whose cluster has succeeded, and whose spoke refuses so many deletions at its end."""
    world = World(profile)
    await world.run(Phase.STARTING)
    world.agents.failing[Action.NS_DELETE] = [AWAY] * tries
    await world.run(Phase.SUCCEEDED)
    world.wait(2)
    return world


def seen(world: World) -> Removal | None:
    world.hub.deliver()
    found = world.transport.removals(world.order, world.clock.now, lambda _: True)
    return found.get(CLUSTER)


async def follow(world: World, steps: int) -> Removal | None:
    """Make so many next steps, each when it is due."""
    for _ in range(steps):
        found = seen(world)
        if found is None or (found.due is None and found.standing is not Standing.REPEATED):
            return found
        if found.due is not None:
            world.wait(found.due.total_seconds())
            await world.do(Effect.FINISH_REMOVAL)
        world.wait(1)
    return seen(world)


def is_clean(world: World) -> bool:
    return ("namespace", "openshift-talm-pre-cache") not in world.spoke.objects


@BOTH
async def test_a_removal_that_is_carried_out_leaves_nothing_to_follow(profile: Profile) -> None:
    world = World(profile)
    await world.run(Phase.SUCCEEDED)
    world.wait(10)
    assert seen(world) is None
    assert is_clean(world)


@BOTH
async def test_a_removal_that_was_refused_is_tried_again_until_the_spoke_is_clean(
    profile: Profile,
) -> None:
    world = await refused(profile, tries=3)
    found = seen(world)
    assert found is not None
    assert found.standing is Standing.FAILED
    assert AWAY in found.note
    assert await follow(world, 20) is None
    world.wait(20)
    assert is_clean(world)
    assert world.hub.names(VIEW) == []
    assert world.spoke.jobs_made == 1


async def test_an_operator_that_is_started_after_the_action_was_collected_goes_on() -> None:
    world = await refused(TALM)
    await follow(world, 1)
    world.wait(90)
    assert world.hub.find(ACTION, Action.NS_DELETE) is None
    world.restart()
    assert await follow(world, 20) is None
    world.wait(20)
    assert is_clean(world)
    assert world.hub.find(VIEW, View.NAMESPACE) is None


async def test_after_too_many_tries_it_is_given_up_and_says_so() -> None:
    world = await refused(TALM, tries=1000)
    found = await follow(world, 10 * MOST_TRIES)
    assert found is not None
    assert found.standing is Standing.GIVEN_UP
    asked = sum(line == f"create {Action.NS_DELETE}" for line in world.hub.trace)
    assert asked == MOST_TRIES + 1  # the first one belongs to the clean-up before the Job


async def test_what_somebody_else_has_removed_needs_no_other_try() -> None:
    world = await refused(TALM)
    world.spoke.objects.clear()
    world.agents.failing.clear()
    await follow(world, 1)
    before = len(world.hub.trace)
    assert await follow(world, 5) is None
    assert f"create {Action.NS_DELETE}" not in world.hub.trace[before:]
    assert world.hub.names(VIEW) == []


async def test_the_removal_of_another_run_is_not_ours() -> None:
    world = await refused(TALM)
    theirs = other(run="run-2")
    assert not world.transport.removals(theirs, world.clock.now, lambda _: True)
    assert seen(world) is not None
