"""Clusters that cannot be reached, before, during and at the end of pre-caching."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from talm.api import kinds
from talm.api.words import AVAILABLE_CONDITION, Action, Phase
from talm.sim.clock import format_time

from .conftest import SetScene
from .scene import QUICK, Scene, jobs
from .world import until

pytestmark = pytest.mark.integration

# From the link's end to the hub's notice of it.
NOTICE_S = 0.3


async def is_named(scene: Scene, name: str, cluster: str) -> None:
    """The status names the cluster as unavailable."""

    async def named() -> bool:
        reason, message = (await scene.failures(name)).get(cluster, ("", ""))
        return reason == "ClusterUnavailable" and message.startswith("unavailable since ")

    await until(named, f"{name} names {cluster}")


async def age_outage(scene: Scene, cluster: str, minutes: int) -> None:
    """Let the outage have begun long ago: a grace has whole minutes."""
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    found = await scene.client.get(kinds.MANAGED_CLUSTER, cluster)
    conditions = found["status"]["conditions"]
    for condition in conditions:
        if condition["type"] == AVAILABLE_CONDITION:
            assert condition["status"] == "Unknown"
            condition["lastTransitionTime"] = format_time(long_ago)
    await scene.client.merge_patch(
        kinds.MANAGED_CLUSTER, cluster, {"status": {"conditions": conditions}}, subresource="status"
    )


@pytest.mark.long
async def test_a_cluster_that_is_away_while_disabled_is_named_and_succeeds_when_it_returns(
    scenes: SetScene,
) -> None:
    async with (
        scenes(5, scenario=jobs(2.0, lasting={"002": 10.0}), grace_s=NOTICE_S) as scene,
        scene.operator(unavailable_grace=1),
        scene.watch("up") as journal,
    ):
        before, during, late, *others = scene.names
        scene.fleet[before].link.down()
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE, [during])
        scene.fleet[during].link.down()
        await scene.reach("up", Phase.SUCCEEDED, [late, *others])
        # Its Job is done, what deletes it on the spoke has perhaps not been heard of.
        scene.fleet[late].link.down()
        for cluster in (before, during):
            await is_named(scene, "up", cluster)
            await age_outage(scene, cluster, 60)
        for cluster in (before, during, late):
            scene.fleet[cluster].link.up()
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.is_clean(placements=True)
        scene.each_job_ran_once()
        assert journal.ever_bad() == set()
        assert await scene.failures("up") == {}


@pytest.mark.long
async def test_an_enabled_cgu_gives_up_a_cluster_that_stays_away_and_never_starts_it_late(
    scenes: SetScene,
) -> None:
    async with (
        # Slow, so that the link is cut before the Job is created; it may be after that.
        scenes(
            3,
            scenario=jobs(1.0, lasting={"001": 60.0}),
            times=dataclasses.replace(QUICK, call_s=0.3),
            grace_s=NOTICE_S,
        ) as scene,
        scene.operator(unavailable_grace=1),
        scene.watch("up"),
    ):
        away, *others = scene.names
        await scene.create("up", enable=True)
        await scene.reach("up", Phase.STARTING, [away])
        scene.fleet[away].link.down()
        await until(lambda: unavailable(scene, away), "the hub knows")
        await age_outage(scene, away, 2)
        await scene.reach("up", Phase.FAILED, [away])
        reason, message = (await scene.failures("up"))[away]
        assert reason == "UnrecoverableError"
        assert message.startswith("the cluster has been unavailable since ")
        assert not pending_creations(await scene.on_hub([away]))
        ran = scene.job_runs()[away]
        await scene.completes("up")
        left = await scene.on_hub([away])
        assert left == [f"{away}/{Action.CRB_DELETE}", f"{away}/{Action.NS_DELETE}"]

        scene.fleet[away].link.up()
        await scene.is_clean()
        assert scene.job_runs() == {away: ran, **dict.fromkeys(others, 1)}


@pytest.mark.long
async def test_a_cluster_that_was_never_reached_is_given_up_and_never_starts(
    scenes: SetScene,
) -> None:
    async with (
        scenes(2, grace_s=NOTICE_S) as scene,
        scene.operator(unavailable_grace=1),
        scene.watch("up"),
    ):
        away, other = scene.names
        scene.fleet[away].link.down()
        await until(lambda: unavailable(scene, away), "the hub knows")
        await age_outage(scene, away, 2)
        await scene.create("up", enable=True)
        await scene.completes("up")
        assert await scene.phases("up") == {away: "UnrecoverableError", other: "Succeeded"}
        assert set(await scene.failures("up")) == {away}
        scene.fleet[away].link.up()
        await scene.is_clean()
        assert scene.job_runs() == {away: 0, other: 1}


async def unavailable(scene: Scene, cluster: str) -> bool:
    found = await scene.client.get(kinds.MANAGED_CLUSTER, cluster)
    return any(
        c["type"] == AVAILABLE_CONDITION and c["status"] == "Unknown"
        for c in found["status"]["conditions"]
    )


def pending_creations(names: list[str]) -> list[str]:
    return [name for name in names if name.endswith("-create")]
