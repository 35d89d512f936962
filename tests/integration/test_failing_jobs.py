"""Jobs that fail or hang: whose fault it is said to be, and what becomes of the rest."""

from __future__ import annotations

import pytest

from talm.api import kinds
from talm.api.words import Phase
from talm.sim.spoke.spokejobs import Outcome, SpokeTimes

from . import world
from .conftest import SetScene
from .scene import jobs

pytestmark = pytest.mark.integration


async def test_a_cluster_whose_job_fails_is_left_out_of_the_update(scenes: SetScene) -> None:
    fails = jobs(0.5, ending={"002": Outcome.FAILS})
    async with scenes(3, scenario=fails) as scene, scene.operator():
        first, failed, last = scene.names
        await scene.create("up")
        text = await scene.says("up", "PrecachingSuceeded", "True", "PartiallyDone")
        assert text == "Precaching failed for 1 clusters"
        assert await scene.phases("up") == {
            first: Phase.SUCCEEDED,
            failed: Phase.FAILED,
            last: Phase.SUCCEEDED,
        }
        reason, _ = (await scene.failures("up"))[failed]
        assert reason == "UnrecoverableError"

        await scene.edit("up", enable=True)
        await scene.completes("up")
        status = await scene.status("up")
        assert status["remediationPlan"] == [[first, last]]
        assert status["clusters"] == [{"name": c, "state": "complete"} for c in (first, last)]
        assert status["precaching"]["clusters"] == scene.names
        root = await scene.client.get(kinds.POLICY, world.POLICY, scene.namespace)
        found = {e["clustername"]: e["compliant"] for e in root["status"]["status"]}
        assert found == {first: "Compliant", failed: "NonCompliant", last: "Compliant"}
        await scene.is_clean()
        scene.each_job_ran_once()


async def test_a_cgu_all_of_whose_jobs_fail_ends_and_says_so(scenes: SetScene) -> None:
    fails = jobs(0.5, ending={"001": Outcome.FAILS, "002": Outcome.FAILS})
    async with scenes(2, scenario=fails) as scene, scene.operator():
        await scene.create("up")
        none_left = "No clusters available for remediation (Precaching failed)"
        assert await scene.says("up", "Succeeded", "False", "Failed") == none_left
        found = world.conditions(await scene.status("up"))
        assert found["Progressing"] == ("False", "Completed", none_left)
        assert found["PrecachingSuceeded"] == (
            "False",
            "Failed",
            "Precaching failed for all clusters",
        )
        assert found["PrecachingDone"][0] == "False"
        assert found["Ready"] == (
            "False",
            "UpgradeCannotStart",
            "The ClusterGroupUpgrade CR has no clusters left: pre-caching failed for all clusters",
        )
        assert (await scene.status("up"))["status"].keys() == {"completedAt"}
        await scene.is_clean()


@pytest.mark.long
async def test_a_job_that_meets_its_deadline_times_out_that_cluster_alone(
    scenes: SetScene,
) -> None:
    hangs = jobs(1.0, ending={"001": Outcome.HANGS})
    # A minute of a spoke is over in three seconds.
    async with (
        scenes(2, scenario=hangs, times=SpokeTimes(), pace=20.0, keep_actions_s=60.0) as scene,
        scene.operator(),
        scene.watch("up") as journal,
    ):
        hung, good = scene.names
        await scene.create("up", remediationStrategy={"maxConcurrency": 2, "timeout": 1})
        await scene.says("up", "PrecachingSuceeded", "True", "PartiallyDone")
        assert await scene.phases("up") == {hung: Phase.TIMED_OUT, good: Phase.SUCCEEDED}
        await journal.catch_up()
        assert journal.states()[hung][-2:] == ["Active", "PrecacheTimeout"]
        reason, _ = (await scene.failures("up"))[hung]
        assert reason == "PrecacheTimeout"
        scene.each_job_ran_once()
