"""What is scraped from the operator's process is what the API server holds, in mid-run and after a kill."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from talm.api import kinds
from talm.sim.spoke.spokejobs import JobPlan, Outcome
from tests.hub.figures import Figures, added_up, measured, scraped

from .commands import pulling
from .conftest import SetScene
from .operator import Operator
from .scene import PLAIN, Scene
from .world import until

pytestmark = pytest.mark.integration

# What an operator has written reaches its figures when the answer is back.
BACK_S = 5.0


def plan(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
    """Jobs that tell how far they are, end one after the other, and one of which fails."""
    number = int(cluster.rpartition("-")[2])
    outcome = Outcome.FAILS if number == 1 else Outcome.SUCCEEDS
    return JobPlan(duration_s=1.0 + number / 2, outcome=outcome, steps=20, progress=pulling)


async def scrape(operator: Operator) -> str:
    """`/metrics`, of the process that was started last."""
    lines = [line for line in operator.log.read_text().splitlines() if '"started"' in line]
    port = json.loads(lines[-1])["probes"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        return await answer.text()


async def agreed(scene: Scene, operator: Operator) -> Figures:
    """Scrape between two looks at all CGUs that see the same: the figures are theirs."""
    loop = asyncio.get_running_loop()
    versions, since = "", loop.time()
    while True:
        before = await scene.client.list(kinds.CGU)
        figures = scraped(await scrape(operator))
        after = await scene.client.list(kinds.CGU)
        if before == after:
            if figures == added_up(after):
                return figures
            now = str([cgu["metadata"]["resourceVersion"] for cgu in after])
            versions, since = (versions, since) if now == versions else (now, loop.time())
            assert loop.time() - since < BACK_S, (figures, added_up(after))


@pytest.mark.parametrize(
    "kind_of_hub",
    [{}, pytest.param(PLAIN, marks=pytest.mark.long)],
    ids=["views-and-actions", "works"],
)
async def test_totals_are_the_statuses_in_mid_run_and_after_the_operator_was_killed(
    scenes: SetScene, kind_of_hub: Mapping[str, Any]
) -> None:
    dice = random.Random(1)
    async with (
        scenes(6, scenario=plan, **kind_of_hub) as scene,
        scene.operator(leader_elect=False) as operator,
    ):
        await scene.create("up")
        seen: list[Figures] = []

        async def half_way() -> bool:
            await asyncio.sleep(dice.uniform(0, 0.2))
            seen.append(await agreed(scene, operator))
            return "clusters/Succeeded" in seen[-1]

        await until(half_way, "the first cluster has succeeded")
        assert any("clusters/Active" in one and "bytes/done" in one for one in seen)
        operator.kill()
        operator.start()
        await operator.works(2)
        await scene.says("up", "PrecachingSuceeded", "True", "PartiallyDone")
        figures = await agreed(scene, operator)
        assert figures["clusters/Succeeded"] == 5
        assert figures["clusters/UnrecoverableError"] == 1
        ends = measured(await scrape(operator))
        assert 0 < sum(ends.values()) <= 6 - seen[-1]["clusters/Succeeded"], "by this process alone"
