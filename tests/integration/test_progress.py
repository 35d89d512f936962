"""The sums in a CGU's status on a real API server: they grow, and what finished clusters had stays."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.api.cgu import FinishedSums, PrecachingProgress, PrecachingStatus
from talm.api.words import Phase
from talm.sim.spoke.spokejobs import JobPlan, Outcome

from .commands import pulling
from .conftest import SetScene
from .scene import Journal, Scene
from .world import until

pytestmark = [pytest.mark.integration, pytest.mark.long]


def one_fails(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
    outcome = Outcome.FAILS if cluster.endswith("-002") else Outcome.SUCCEEDS
    return JobPlan(duration_s=4.0, outcome=outcome, progress=pulling, steps=8)


def blocks(journal: Journal) -> list[PrecachingStatus]:
    return [s.precaching for s in journal.statuses if s.precaching is not None]


def sums(block: PrecachingStatus) -> PrecachingProgress:
    assert block.progress is not None
    return block.progress


async def events(scene: Scene) -> list[str]:
    found = await scene.client.list(kinds.EVENT, scene.namespace)
    return sorted(event["reason"] for event in found)


@pytest.mark.parametrize("transport", ["view-action", "manifest-work"])
async def test_the_sums_of_a_run_grow_and_those_of_finished_clusters_outlive_a_restart(
    scenes: SetScene, transport: str
) -> None:
    async with scenes(3, scenario=one_fails) as scene, scene.watch("up") as journal:
        async with scene.operator(transport=transport) as operator:
            await scene.create("up")
            await scene.reach("up", Phase.ACTIVE)
            operator.kill()
        async with scene.operator(transport=transport):
            done = [c for c in scene.names if not c.endswith("-002")]
            await scene.reach("up", Phase.SUCCEEDED, done)
            await scene.reach("up", Phase.FAILED, scene.names[1:2])

            async def told() -> bool:
                return "CguPrecachingPartiallyDone" in await events(scene)

            await until(told, "the end is told")

    seen = blocks(journal)
    assert {block.attempt for block in seen} == {1}
    assert {block.spec_hash for block in seen} == {seen[-1].spec_hash} != {""}
    ends = [sums(block).finished or FinishedSums() for block in seen]
    for before, after in itertools.pairwise(ends):
        assert before.bytes_done <= after.bytes_done
        assert before.clusters <= after.clusters
    for found in map(sums, seen):
        assert found.bytes_done <= found.bytes_total
        assert sum((found.clusters or {}).values()) == 3
    last = sums(seen[-1])
    assert last.clusters == {"Succeeded": 2, "UnrecoverableError": 1}
    assert (last.bytes_per_s, last.eta_s, last.without_estimate) == (0, None, 0)
    assert last.finished is not None
    assert last.told == last.finished.clusters >= 1
    (entry,) = seen[-1].failures or ()
    assert entry.cluster == scene.names[1]
    assert seen[-1].failures_by_class == {entry.failure_class or entry.reason: 1}
