"""The workload's image as a Job on a real node: real Job controller, scheduler, kubelet, containerd,
runc.  What the hub sends is applied as it is."""

from __future__ import annotations

from typing import Any, Final

import pytest

from talm.api import kinds
from talm.api.cgu import PrecachingSpec
from talm.api.progress import EXIT_CODES, FailureClass, RunPhase
from talm.sim.realnode.disk import POD_LOGS
from tests.integration.audit import calls

from .nodespoke import REGISTRY, Cached, NodeSpoke, big_image

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

KILLED: Final = 128 + 9


async def test_the_job_completes_and_its_own_account_has_written_the_record(
    spoke: NodeSpoke, cached: Cached
) -> None:
    assert await spoke.end_of_job(cached.namespace) == {"Complete": "CompletionsReached"}
    record = await spoke.record(cached.namespace)
    assert (record.phase, record.attempt, record.pinned) == (RunPhase.SUCCEEDED, 1, True)
    assert record.images_done == record.images_total == len(cached.planned)
    assert record.warnings == ()
    assert spoke.plane.audit_log is not None
    account = f"system:serviceaccount:{cached.namespace}:pre-cache-agent"
    asked = [call for call in calls(spoke.plane.audit_log) if call.user == account]
    assert {(call.verb, call.resource, call.status) for call in asked} == {
        ("patch", "configmaps", 200),
        ("list", "pods", 200),
    }


async def test_every_planned_image_is_listed_by_digest_and_pinned(
    spoke: NodeSpoke, cached: Cached
) -> None:
    listed = await spoke.listed()
    assert {name: listed.get(name) for name in cached.planned} == {
        name: name.partition("@")[2] for name in cached.planned
    }
    assert cached.planned <= await spoke.pinned()


async def test_pods_start_from_what_was_brought_while_the_registry_is_away(
    spoke: NodeSpoke, cached: Cached
) -> None:
    absent = f"{REGISTRY}/absent@sha256:{'a' * 64}"
    await spoke.registry.stop()
    try:
        for name, image in (("there", cached.hello), ("absent", absent)):
            await spoke.client.create(kinds.POD, pod(name, image))

        async def ended() -> bool:
            status = (await spoke.client.get(kinds.POD, "there", "default"))["status"]
            return bool(status["phase"] == "Succeeded")

        async def not_pulled() -> bool:
            reason = state_of(await spoke.client.get(kinds.POD, "absent", "default"), "waiting")
            return reason.get("reason") in ("ErrImagePull", "ImagePullBackOff")

        await spoke.eventually(ended)
        await spoke.eventually(not_pulled)
    finally:
        await spoke.registry.start()
    assert said_by(spoke, "there").endswith("stdout F hello\n")
    for name in ("there", "absent"):
        await spoke.client.delete(kinds.POD, name, "default")


def pod(name: str, image: str) -> dict[str, Any]:
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"restartPolicy": "Never", "hostNetwork": True, "containers": [container]},
    }


def state_of(pod: dict[str, Any], state: str) -> dict[str, Any]:
    """One of a pod's container's states: waiting, running, terminated; {} when it is in another."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    found: dict[str, Any] = statuses[0].get("state", {}).get(state) or {}
    return found


def said_by(spoke: NodeSpoke, pod: str) -> str:
    (log,) = spoke.node.host_path(POD_LOGS).glob(f"default_{pod}_*/main/0.log")
    return log.read_text()


async def test_an_image_that_is_nowhere_ends_the_job_at_once_and_the_pod_says_which(
    spoke: NodeSpoke,
) -> None:
    nowhere, namespace = f"{REGISTRY}/nowhere@sha256:{'b' * 64}", "talm-nowhere"
    await spoke.order(namespace, PrecachingSpec(additional_images=(nowhere,)))
    assert await spoke.end_of_job(namespace) == {"Failed": "PodFailurePolicy"}
    (only,) = await spoke.pods(namespace)
    end = state_of(only, "terminated")
    assert end["exitCode"] == EXIT_CODES[FailureClass.IMAGE_NOT_FOUND]
    assert end["message"].startswith(FailureClass.IMAGE_NOT_FOUND)
    assert all(part in end["message"] for part in nowhere.split("@"))
    record = await spoke.record(namespace)
    assert (record.phase, record.error_class) == (RunPhase.FAILED, FailureClass.IMAGE_NOT_FOUND)


@pytest.mark.parametrize("how", ["killed", "deleted"])
async def test_a_pod_that_is_ended_costs_an_attempt_and_the_next_one_fetches_the_rest(
    spoke: NodeSpoke, how: str
) -> None:
    namespace = f"talm-{how}"
    image = big_image(how)
    (name,) = await spoke.push([image])
    total = sum(len(blob) for blob in image.blobs.values())
    before = spoke.line.carried
    spoke.line.set_rate(2 << 20)
    await spoke.order(namespace, PrecachingSpec(additional_images=(name,)))

    async def half_way() -> bool:
        return spoke.line.carried - before > total // 2

    await spoke.eventually(half_way)
    (first,) = await spoke.pods(namespace)
    await end_pod(spoke, first, how)

    async def another() -> bool:
        pods = await spoke.pods(namespace)
        return pods[-1]["metadata"]["uid"] != first["metadata"]["uid"] if pods else False

    await spoke.eventually(another)
    spoke.line.set_rate(None)
    assert await spoke.end_of_job(namespace) == {"Complete": "CompletionsReached"}
    status = (await spoke.client.get(kinds.JOB, "pre-cache", namespace))["status"]
    assert (status["failed"], status["succeeded"]) == (1, 1)
    record = await spoke.record(namespace)
    if how == "killed":  # a deleted pod leaves nothing that could be counted
        assert (record.attempt, record.earlier) == (2, (f"attempt 1: exit code {KILLED} (Error)",))
    # What was on its way when the pod ended is lost; twice as much had arrived at least.
    assert spoke.line.carried - before <= total + (3 << 20)
    assert name in await spoke.pinned()


async def end_pod(spoke: NodeSpoke, pod: dict[str, Any], how: str) -> None:
    metadata = pod["metadata"]
    if how == "deleted":
        await spoke.client.delete(kinds.POD, metadata["name"], metadata["namespace"])
        return
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    await spoke.node.ctr("tasks", "kill", "--signal", "SIGKILL", container)
