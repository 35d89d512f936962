"""Clusters that fall silent in mid-download, by whichever sign, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import ADD_ON_AVAILABLE_CONDITION, AVAILABLE_CONDITION, VIEW_ADD_ON, Phase
from talm.core.due import Voice
from talm.sim.spoke.spokejobs import JobPlan, Outcome, Scenario

from .conftest import SetScene
from .scene import Scene
from .test_deletion import delete
from .world import until

pytestmark = pytest.mark.integration

# Thresholds of seconds, where a fleet would have minutes.
QUICK: Mapping[str, Any] = {"workload_silence": 3, "agent_silence": 3, "agent_poll": 1}
# The hub itself notices nothing.
DEAF_S = 600.0
JOB_S = 14.0


def telling(seconds: float = JOB_S, outcome: Outcome = Outcome.SUCCEEDS) -> Scenario:
    """Jobs whose workload tells twice a second that it lives."""

    def record(done: float) -> Mapping[str, str]:
        return {"record": json.dumps({"phase": "Downloading", "imagesDone": int(done * 20)})}

    plan = JobPlan(seconds, outcome, progress=record, beat_s=0.5)
    return lambda _cluster, _job: plan


async def says(scene: Scene, cluster: str, reason: str, words: str) -> None:
    """Wait until the status names the cluster so."""

    async def named() -> bool:
        told, message = (await scene.failures("up")).get(cluster, ("", ""))
        return told == reason and words in message and " since " in message

    await until(named, f"{cluster} is {reason}: {words}")


async def is_heard(scene: Scene, cluster: str) -> None:
    """Wait until the status does not name the cluster any more."""

    async def unnamed() -> bool:
        return cluster not in await scene.failures("up")

    await until(unnamed, f"{cluster} is heard again")


async def has_told(scene: Scene, cluster: str) -> None:
    """Wait until the hub has a record of the cluster's workload."""

    async def told() -> bool:
        found = [
            *await scene.client.list(kinds.VIEW, cluster),
            *await scene.client.list(kinds.MANIFEST_WORK, cluster),
        ]
        return any("imagesDone" in str(body.get("status")) for body in found)

    await until(told, f"{cluster} has told something")


async def say_available(scene: Scene, cluster: str, status: str) -> None:
    """Have the hub say so of the cluster."""
    found = await scene.client.get(kinds.MANAGED_CLUSTER, cluster)
    conditions = found["status"]["conditions"]
    for condition in conditions:
        if condition["type"] == AVAILABLE_CONDITION:
            condition["status"] = status
    patch = {"status": {"conditions": conditions}}
    await scene.client.merge_patch(kinds.MANAGED_CLUSTER, cluster, patch, subresource="status")


async def say_add_on(scene: Scene, cluster: str, status: str) -> None:
    """Have the hub say so of the cluster's add-on; by a clock that is years behind."""
    condition = {
        "type": ADD_ON_AVAILABLE_CONDITION,
        "status": status,
        "reason": "ManagedClusterAddOnLeaseUpdateStopped",
        "message": "",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }
    patch = {"status": {"conditions": [condition]}}
    await scene.client.merge_patch(
        kinds.ADD_ON, VIEW_ADD_ON, patch, cluster, subresource="status"
    )  # fmt: skip


@pytest.mark.long
async def test_each_sign_of_silence_is_told_and_taken_back_when_the_cluster_is_heard(
    scenes: SetScene,
) -> None:
    async with (
        scenes(3, scenario=telling(), grace_s=DEAF_S) as scene,
        scene.operator(**QUICK),
        scene.watch("up") as journal,
    ):
        by_hub, by_add_on, by_view = scene.names
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        await say_available(scene, by_hub, "Unknown")
        await say_add_on(scene, by_add_on, "False")
        await has_told(scene, by_view)
        scene.fleet[by_view].link.down()
        await says(scene, by_hub, "ClusterUnavailable", "unavailable since ")
        await says(scene, by_add_on, "ClusterSilent", Voice.ADD_ON.value)
        await says(scene, by_view, "ClusterSilent", Voice.WORKLOAD.value)
        await say_available(scene, by_hub, "True")
        await say_add_on(scene, by_add_on, "True")
        scene.fleet[by_view].link.up()
        for cluster in scene.names:
            await is_heard(scene, cluster)
        await scene.reach("up", Phase.SUCCEEDED)
        scene.each_job_ran_once()
        assert journal.ever_bad() == set()


@pytest.mark.long
async def test_a_work_tells_of_a_silent_workload_and_of_a_silent_agent(scenes: SetScene) -> None:
    async with (
        scenes(2, scenario=telling(), grace_s=DEAF_S, transport="auto") as scene,
        scene.operator(**QUICK),
        scene.watch("up") as journal,
    ):
        before, during = scene.names
        await scene.client.delete(
            kinds.ADD_ON, VIEW_ADD_ON, before
        )  # its spoke is not proved clean
        scene.fleet[before].link.down()
        await scene.create("up")
        await says(scene, before, "ClusterSilent", Voice.WORK_AGENT.value)
        await scene.reach("up", Phase.ACTIVE, [during])
        await has_told(scene, during)
        scene.fleet[during].link.down()
        await says(scene, during, "ClusterSilent", Voice.WORKLOAD.value)
        for cluster in (during, before):
            scene.fleet[cluster].link.up()
        for cluster in scene.names:
            await is_heard(scene, cluster)
        await scene.reach("up", Phase.SUCCEEDED)
        scene.each_job_ran_once()
        assert journal.ever_bad() == set()


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("transport", ["view-action", "manifest-work"])
async def test_a_cluster_that_stays_silent_fails_by_the_grace_once_enabled_and_never_before(
    scenes: SetScene, transport: str
) -> None:
    hanging = telling(1.0, Outcome.HANGS)
    async with (
        scenes(2, scenario=hanging, grace_s=DEAF_S, transport=transport) as scene,
        scene.operator(unavailable_grace=1, setup_deadline=1, **QUICK),
        scene.watch("up") as journal,
    ):
        silent, other = scene.names
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        await has_told(scene, silent)
        scene.fleet[silent].link.down()
        await says(scene, silent, "ClusterSilent", Voice.WORKLOAD.value)
        await scene.edit("up", enable=True)
        await scene.reach("up", Phase.FAILED, [silent])
        reason, message = (await scene.failures("up"))[silent]
        assert reason == "UnrecoverableError"
        assert message.startswith("the cluster has been silent since ")
        assert (await scene.phases("up"))[other] == Phase.ACTIVE
        await delete(scene, "up")
        scene.fleet[silent].link.up()
        await scene.is_clean()
        assert scene.job_runs() == {silent: 1, other: 1}
        assert journal.ever_bad() == {silent}


@pytest.mark.long
@pytest.mark.timeout(200)
async def test_an_operator_that_starts_anew_counts_silence_from_then_and_keeps_the_cluster_time(
    scenes: SetScene,
) -> None:
    async with scenes(1, scenario=telling(30.0), grace_s=DEAF_S, transport="auto") as scene:
        (silent,) = scene.names
        async with scene.operator(**QUICK):
            await scene.create("up")
            await scene.reach("up", Phase.ACTIVE)
            await has_told(scene, silent)
            scene.fleet[silent].link.down()
            await says(scene, silent, "ClusterSilent", Voice.WORKLOAD.value)
            _, before = (await scene.failures("up"))[silent]
        async with scene.operator(name="second", **QUICK):

            async def counts_anew() -> bool:
                reason, message = (await scene.failures("up")).get(silent, ("", ""))
                return reason == "ClusterSilent" and message > before

            await until(counts_anew, "the silence counts from the second start")
            scene.fleet[silent].link.up()
            await scene.reach("up", Phase.SUCCEEDED)
            scene.each_job_ran_once()
