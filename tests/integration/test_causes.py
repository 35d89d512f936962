"""Clusters whose Job's pod does not start: why is told on the hub while they wait, and at their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import MANUAL_NAMESPACE, Phase
from talm.sim.spoke.spokejobs import SpokeTimes
from talm.sim.spoke.spokepods import Obstacle

from .commands import talm
from .conftest import SetScene
from .scene import PLAIN, Scene, jobs
from .test_deletion import delete
from .world import until

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(400)]

VIEWS: Mapping[str, Any] = {"transport": "view-action"}
DEADLINE: str = "DeadlineExceeded: Job was active longer than specified deadline"
CAUSES = {
    Obstacle.PULL: "the Job's pod does not get ready: ImagePullBackOff: Back-off pulling image",
    Obstacle.UNSCHEDULABLE: "the Job's pod does not get ready: Unschedulable: 0/1 nodes are available",
    Obstacle.REFUSED: (
        'the Job\'s pod is refused: pods "pre-cache-diagnose" is forbidden: violates PodSecurity'
        ' "baseline:latest"'
    ),
}
ADVICE = {
    Obstacle.PULL: "cannot pull the workload's own image",
    Obstacle.UNSCHEDULABLE: "No node of the cluster takes the pod",
    Obstacle.REFUSED: "A rule of the spoke refuses the pod",
}


async def tells(scene: Scene, name: str, cluster: str, reason: str, *texts: str) -> None:
    """Wait until the CGU says so of the cluster."""

    async def said() -> Any:
        found = (await scene.failures(name)).get(cluster, ("", ""))
        return found[0] == reason and all(text in found[1] for text in texts)

    await until(said, f"{cluster}: {reason}, {texts}", seconds=150)


@pytest.mark.parametrize("kind_of_hub", [VIEWS, PLAIN], ids=["views", "works"])
async def test_each_cause_is_told_while_the_cluster_waits_and_in_the_message_of_its_end(
    scenes: SetScene, kind_of_hub: Mapping[str, Any]
) -> None:
    async with (
        scenes(5, scenario=jobs(0.5), times=SpokeTimes(pod_grace_s=0.5), **kind_of_hub) as scene,
        scene.operator(),
    ):
        *hindered, mended, good = scene.names
        in_the_way = dict(zip(hindered, Obstacle, strict=True))
        for cluster, obstacle in {**in_the_way, mended: Obstacle.PULL}.items():
            scene.fleet[cluster].memory.obstacles.put(obstacle)
        await scene.create("up", remediationStrategy={"maxConcurrency": 5, "timeout": 2})
        await scene.reach("up", Phase.SUCCEEDED, [good])
        for cluster, obstacle in in_the_way.items():
            await tells(scene, "up", cluster, "PodNotReady", CAUSES[obstacle])
            place = ("up", "-n", scene.namespace, "-c", cluster, "-o", "json")
            page = (await talm(scene.hub.kubeconfig, "explain", *place)).json
            assert page["waitsFor"] == "the Job's pod to start"
            assert page["seen"].startswith(CAUSES[obstacle])
            assert ADVICE[obstacle] in page["do"]

        scene.fleet[mended].memory.obstacles.lift()
        await scene.reach("up", Phase.SUCCEEDED, [mended])
        assert mended not in await scene.failures("up")

        for cluster, obstacle in in_the_way.items():
            await tells(scene, "up", cluster, "PrecacheTimeout", DEADLINE, CAUSES[obstacle])
        await delete(scene, "up")
        await scene.is_clean()
        scene.each_job_ran_once()


async def test_a_namespace_that_does_not_go_is_told_with_what_holds_it(scenes: SetScene) -> None:
    async with scenes(1, **VIEWS) as scene, scene.operator(setup_deadline=1):
        (stuck,) = scene.names
        spoke = scene.fleet[stuck].memory
        await spoke.create(kinds.NAMESPACE, "", {"metadata": {"name": MANUAL_NAMESPACE}})
        spoke.hold_namespaces = True
        await scene.create("up")
        held = "finalizers remaining: example.com/hold in 1 resource instances"
        await tells(scene, "up", stuck, "NamespaceStuck", held)
        setup = "the setup took longer than 1 min; last seen: the namespace of an earlier run"
        await tells(scene, "up", stuck, "UnrecoverableError", setup, held)
        spoke.release()
        await delete(scene, "up")
        await scene.is_clean()
