"""The operator is killed again and again in mid-run: nothing is done twice, nothing forgotten."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping
from typing import Any

import pytest

from talm.sim.spoke.spokejobs import JobPlan, SpokeTimes

from .conftest import SetScene
from .operator import Operator
from .scene import Scene

pytestmark = pytest.mark.integration

# Slow enough for kills to meet every state.
TIMES = SpokeTimes(
    call_s=0.05, job_sync_s=0.2, pod_start_s=0.5, pod_grace_s=1.0, collect_s=0.1, namespace_s=1.5
)
SEED = "TALM_TEST_SEED"
# Longer than a start takes on a busy machine: what an action came to is read when the operator is back.
# The real collector keeps actions for 60 s.
KEEP_S = 20.0


async def kill_again_and_again(operator: Operator, dice: random.Random, kills: int) -> None:
    """Let it work for a moment, kill it, start it again."""
    for number in range(1, kills + 1):
        moment = dice.uniform(0.0, 2.0)
        await asyncio.sleep(moment)
        print(f"kill {number} {moment:.2f} s after it began to work")
        operator.kill()
        operator.start()
        await operator.works(number + 1)


async def survives(scene: Scene, dice: random.Random, kills: int) -> None:
    # No election: a successor would wait for the Lease of the killed one, and meet fewer states.
    async with scene.operator(leader_elect=False) as operator, scene.watch("up") as journal:
        await scene.create("up", enable=True)
        await kill_again_and_again(operator, dice, kills)
        await scene.completes("up")
        assert await scene.phases("up") == dict.fromkeys(scene.names, "Succeeded")
        assert journal.ever_bad() == set()
        await scene.is_clean()
        scene.each_job_ran_once()


@pytest.mark.parametrize(
    ("clusters", "kills"),
    [
        pytest.param(6, 4, marks=pytest.mark.long),
        pytest.param(50, 20, marks=[pytest.mark.long, pytest.mark.timeout(280)]),
    ],
)
async def test_every_cluster_succeeds_with_one_job_however_often_the_operator_is_killed(
    scenes: SetScene, clusters: int, kills: int
) -> None:
    seed = os.environ.get(SEED) or str(random.randrange(10_000))
    print(f"{SEED}={seed}")
    dice = random.Random(seed)
    durations = random.Random(f"jobs {seed}")

    def plan(_cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        return JobPlan(duration_s=durations.uniform(0.5, kills * 1.5))

    async with scenes(clusters, times=TIMES, scenario=plan, keep_actions_s=KEEP_S) as scene:
        await survives(scene, dice, kills)
