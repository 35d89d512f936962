"""Pods on an in-memory spoke, and what may keep them from starting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from talm.api import kinds
from talm.errors import Forbidden
from talm.sim.faults import parse_faults
from talm.sim.mischief import OBSTACLES, Mischief
from talm.sim.spoke.spokejobs import JobPlan
from talm.sim.spoke.spokepods import Obstacle
from tests.sim.oneworld import CLUSTER, World
from tests.sim.virtual import virtual

IMAGE = "registry.example/workload:1"


def pod() -> dict[str, Any]:
    container = {"name": "pre-cache-container", "image": IMAGE}
    return {"metadata": {"name": "p"}, "spec": {"containers": [container]}}


def job() -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": "c", "image": IMAGE}]}}}
    return {"metadata": {"name": "j"}, "spec": {**spec, "activeDeadlineSeconds": 600}}


async def status(world: World, kind: kinds.Kind, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await world.spoke.get(kind, "default", name)).get("status") or {}
    return found


@virtual
async def test_a_pod_in_whose_way_nothing_is_does_its_work_and_has_succeeded() -> None:
    world = World()
    await world.spoke.create(kinds.POD, "default", pod())
    await asyncio.sleep(1)
    told = await status(world, kinds.POD, "p")
    assert told["phase"] == "Succeeded"
    assert told["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


@virtual
async def test_an_image_that_cannot_be_pulled_is_told_first_and_then_backed_off_from() -> None:
    world = World()
    world.spoke.obstacles.put(Obstacle.PULL)
    await world.spoke.create(kinds.POD, "default", pod())
    reasons = []
    for _ in range(2):
        await asyncio.sleep(8)
        told = await status(world, kinds.POD, "p")
        reasons.append(told["containerStatuses"][0]["state"]["waiting"]["reason"])
    assert reasons == ["ErrImagePull", "ImagePullBackOff"]
    world.spoke.obstacles.lift()
    await asyncio.sleep(1)
    assert (await status(world, kinds.POD, "p"))["phase"] == "Succeeded"


@virtual
async def test_a_pod_that_no_node_takes_says_so_in_its_conditions() -> None:
    world = World()
    world.spoke.obstacles.put(Obstacle.UNSCHEDULABLE)
    await world.spoke.create(kinds.POD, "default", pod())
    await asyncio.sleep(1)
    told = await status(world, kinds.POD, "p")
    (said,) = told["conditions"]
    assert (said["type"], said["status"], said["reason"]) == (
        "PodScheduled", "False", "Unschedulable",
    )  # fmt: skip
    assert "containerStatuses" not in told


@virtual
async def test_a_refused_pod_is_never_stored() -> None:
    world = World()
    world.spoke.obstacles.put(Obstacle.REFUSED)
    with pytest.raises(Forbidden, match='"p" is forbidden: violates PodSecurity'):
        await world.spoke.create(kinds.POD, "default", pod())
    assert world.spoke.store.all(kinds.POD) == []


@virtual
@pytest.mark.parametrize(
    ("obstacle", "counts"),
    [(Obstacle.PULL, (1, 0)), (Obstacle.UNSCHEDULABLE, (1, 0)), (Obstacle.REFUSED, (None, 0))],
)
async def test_a_job_counts_what_the_obstacle_leaves_and_goes_on_when_it_is_lifted(
    obstacle: Obstacle, counts: tuple[int | None, int]
) -> None:
    world = World(scenario=lambda *_: JobPlan(duration_s=10))
    world.spoke.obstacles.put(obstacle)
    await world.spoke.create(kinds.JOB, "default", job())
    await asyncio.sleep(300)
    told = await status(world, kinds.JOB, "j")
    assert (told.get("active"), told["ready"]) == counts
    world.spoke.obstacles.lift()
    await asyncio.sleep(20)
    assert (await status(world, kinds.JOB, "j"))["succeeded"] == 1


@virtual
async def test_a_job_whose_pod_was_never_made_ends_by_its_deadline_with_none_failed() -> None:
    world = World()
    world.spoke.obstacles.put(Obstacle.REFUSED)
    await world.spoke.create(kinds.JOB, "default", job())
    await asyncio.sleep(700)
    told = await status(world, kinds.JOB, "j")
    assert [c["type"] for c in told["conditions"]] == ["FailureTarget", "Failed"]
    assert {c["reason"] for c in told["conditions"]} == {"DeadlineExceeded"}
    assert told["failed"] == 0


@virtual
@pytest.mark.parametrize("fault", OBSTACLES)
async def test_a_fault_puts_its_obstacle_in_the_way_of_the_struck_clusters(fault: str) -> None:
    world = World()
    mischief = Mischief({CLUSTER: world.site}, parse_faults(f"{fault}=1").plan([CLUSTER]))
    mischief.start()
    assert world.spoke.obstacles.now is OBSTACLES[fault]
    mischief.stop()
