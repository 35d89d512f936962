"""What a real kubelet and a real API server say of a pod that does not start, as the hub reads it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from talm.api import kinds
from talm.api.cgu import PrecachingSpec
from talm.api.ocm import ViewedObject
from talm.errors import Forbidden
from talm.sim.agents.fieldpaths import read
from talm.spokes.diagnosis import STARTS, is_refusal, of_pod, of_refusal
from talm.spokes.jobs import job_fact
from talm.spokes.workdiagnosis import POD_PATHS

from .nodespoke import REGISTRY, Cached, NodeSpoke

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]


async def diagnosis(spoke: NodeSpoke, namespace: str) -> dict[str, Any]:
    return await spoke.client.get(kinds.POD, "pre-cache-diagnose", namespace)


def told(pod: dict[str, Any]) -> str:
    return of_pod(msgspec.convert(pod, ViewedObject).status).text


async def test_a_workload_s_image_that_is_nowhere_is_told_by_the_pod_that_is_like_the_job_s(
    spoke: NodeSpoke,
) -> None:
    namespace, nowhere = "talm-no-image", f"{REGISTRY}/nobody/agent:none"
    order = await spoke.order(namespace, PrecachingSpec(), image=nowhere)

    async def stalls() -> bool:
        job = await spoke.client.get(kinds.JOB, "pre-cache", namespace)
        return bool(job.get("status", {}).get("active"))

    await spoke.eventually(stalls)
    await spoke.diagnose(order, namespace)

    async def says() -> str:
        text = told(await diagnosis(spoke, namespace))
        return text if "ErrImagePull" in text or "ImagePullBackOff" in text else ""

    text = await spoke.eventually(says)
    assert text.startswith("the Job's pod does not get ready: ")
    assert nowhere in text
    job = await spoke.client.get(kinds.JOB, "pre-cache", namespace)
    assert (job["status"]["active"], job["status"]["ready"]) == (1, 0)
    assert job_fact(msgspec.convert(job, ViewedObject))[1] == ""
    pod = await diagnosis(spoke, namespace)
    fed_back = {name: read(pod, path) for name, path in POD_PATHS.items()}
    assert fed_back["waitingReason"] in ("ErrImagePull", "ImagePullBackOff")
    assert fed_back["waitingMessage"]
    assert (fed_back["phase"], fed_back["scheduled"]) == ("Pending", "True")
    await spoke.client.delete(kinds.NAMESPACE, namespace)


async def test_a_pod_that_can_start_does_nothing_and_says_that_it_could(
    spoke: NodeSpoke, cached: Cached
) -> None:
    before = await spoke.record(cached.namespace)
    order = await spoke.order("talm-could", cached.spec)
    await spoke.diagnose(order, "talm-could")

    async def ended() -> bool:
        return bool((await diagnosis(spoke, "talm-could"))["status"].get("phase") == "Succeeded")

    await spoke.eventually(ended)
    assert told(await diagnosis(spoke, "talm-could")) == STARTS
    assert await spoke.end_of_job("talm-could") == {"Complete": "CompletionsReached"}
    record = await spoke.record("talm-could")
    assert (record.attempt, record.earlier) == (1, ())
    assert await spoke.record(cached.namespace) == before
    await spoke.client.delete(kinds.NAMESPACE, "talm-could")


async def test_a_namespace_that_admits_no_such_pod_is_told_in_the_api_server_s_words(
    spoke: NodeSpoke, cached: Cached
) -> None:
    namespace = "talm-strict"
    order = await spoke.order(namespace, cached.spec)
    strict = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await spoke.client.merge_patch(kinds.NAMESPACE, namespace, strict)
    with pytest.raises(Forbidden) as refused:
        await spoke.diagnose(order, namespace)
    words = f"failed to handle Create action with err: {refused.value.message}"
    assert is_refusal(words)
    text = of_refusal(words).text
    assert text.startswith('the Job\'s pod is refused: pods "pre-cache-diagnose" is forbidden: ')
    assert 'violates PodSecurity "baseline:latest": ' in text
    await spoke.client.delete(kinds.NAMESPACE, namespace)
