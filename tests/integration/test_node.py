"""The simulated node on a real API server with the real Job and namespace controllers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.progress import PROGRESS_CONFIG_MAP, RECORD_KEY
from talm.errors import NotFound
from talm.kube.client import Client
from talm.sim import images
from talm.sim.node.node import SimulatedNode
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.sim.plane.registry import Registry
from tests.agent.faultyregistry import Stalls, serve
from tests.conftest import skip_without, skip_without_program

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TALM = "registry.example.com/talm/workload:test"
SHELL = "registry.example.com/shell:test"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spoke(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    skip_without(own=True)
    directory = tmp_path_factory.mktemp("spoke")
    async with ControlPlane(directory, "spoke", SPOKE_CONTROLLERS, fsync=False) as plane:
        yield plane


@pytest_asyncio.fixture
async def api(spoke: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(spoke.kubeconfig, user_agent="talm-tests") as client:
        yield client


@contextlib.asynccontextmanager
async def running(node: SimulatedNode) -> AsyncIterator[SimulatedNode]:
    task = asyncio.create_task(node.run())
    ready = asyncio.create_task(node.ready.wait())
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        assert node.ready.is_set(), task
        yield node
    finally:
        ready.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def new_node(spoke: ControlPlane, directory: Path) -> SimulatedNode:
    commands = {TALM: (sys.executable, "-m", "talm"), SHELL: ("/bin/sh", "-c")}
    return SimulatedNode(
        spoke.kubeconfig, directory, images=commands, name=f"node-{uuid.uuid4().hex[:6]}"
    )


@pytest_asyncio.fixture
async def node(spoke: ControlPlane, tmp_path: Path) -> AsyncIterator[SimulatedNode]:
    async with running(new_node(spoke, tmp_path / "node")) as node:
        yield node


@pytest_asyncio.fixture
async def namespace(api: Client) -> AsyncIterator[str]:
    """A namespace whose default account exists, as pods need it."""
    name = f"node-{uuid.uuid4().hex[:8]}"
    await api.create(kinds.NAMESPACE, {"metadata": {"name": name}})
    await eventually(lambda: api.get(kinds.SERVICE_ACCOUNT, "default", name), bool)
    yield name
    with contextlib.suppress(NotFound):
        await api.delete(kinds.NAMESPACE, name)


async def eventually(
    ask: Callable[[], Awaitable[dict[str, Any]]], holds: Callable[[Mapping[str, Any]], object]
) -> dict[str, Any]:
    """Ask until the answer is as wanted; an object that is absent is {}."""
    while True:
        try:
            found = await ask()
        except NotFound:
            found = {}
        if holds(found):
            return found
        await asyncio.sleep(0.1)


def job(namespace: str, container: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """A Job of one pod; keywords that a pod knows go to the pod."""
    pod = {k: spec.pop(k) for k in tuple(spec) if k in ("volumes", "serviceAccountName")}
    grace = {"terminationGracePeriodSeconds": spec.pop("grace", 30)}
    template = {"restartPolicy": "Never", "containers": [{"name": "main", **container}]}
    return {
        "metadata": {"name": "pre-cache", "namespace": namespace},
        "spec": {"backoffLimit": 0, **spec, "template": {"spec": template | grace | pod}},
    }


async def pod_of(api: Client, namespace: str) -> dict[str, Any]:
    pods = await api.list(kinds.POD, namespace, label_selector="job-name=pre-cache")
    return pods[0] if pods else {}


def state_of(pod: Mapping[str, Any]) -> dict[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    state: dict[str, Any] = statuses[0].get("state") or {}
    return state


def ended(job: Mapping[str, Any]) -> dict[str, str]:
    """Type and reason of the condition that ended a Job."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return {condition["type"]: condition.get("reason", "")}
    return {}


async def end_of_job(api: Client, namespace: str) -> dict[str, str]:
    return ended(await eventually(lambda: api.get(kinds.JOB, "pre-cache", namespace), ended))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest_asyncio.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    skip_without_program("registry")
    async with Registry(tmp_path / "registry") as registry:
        yield registry


async def may_patch_progress(api: Client, namespace: str) -> None:
    """Create what the workload's account needs: itself, its ConfigMap, the right to patch it."""
    objects: list[tuple[Kind, dict[str, Any]]] = [
        (kinds.SERVICE_ACCOUNT, {"metadata": {"name": "pre-cache-agent"}}),
        (kinds.CONFIG_MAP, {"metadata": {"name": PROGRESS_CONFIG_MAP}}),
        (
            kinds.ROLE,
            {
                "metadata": {"name": "pre-cache"},
                "rules": [
                    {
                        "apiGroups": [""],
                        "resources": ["configmaps"],
                        "resourceNames": [PROGRESS_CONFIG_MAP],
                        "verbs": ["patch"],
                    },
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
                ],
            },
        ),
        (
            kinds.ROLE_BINDING,
            {
                "metadata": {"name": "pre-cache"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": "pre-cache",
                },
                "subjects": [
                    {"kind": "ServiceAccount", "name": "pre-cache-agent", "namespace": namespace}
                ],
            },
        ),
    ]
    for kind, body in objects:
        body["metadata"]["namespace"] = namespace
        await api.create(kind, body)


def workload(namespace: str, **spec: Any) -> dict[str, Any]:
    """The Job of the workload: ConfigMap and host directory mounted, record wanted."""
    mounts = {"config": "/etc/config", "images": "/var/lib/talm"}
    container = {
        "image": TALM,
        "args": ["agent", "--config=/etc/config", "--store", "oci-layout:/var/lib/talm/images"],
        "env": [
            {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "TALM_PROGRESS_CONFIGMAP", "value": f"$(NS)/{PROGRESS_CONFIG_MAP}"},
            {"name": "TALM_RUN", "value": "run-1"},
            {"name": "TALM_RETRY_FOR", "value": "60"},
        ],
        "volumeMounts": [{"name": n, "mountPath": p} for n, p in mounts.items()],
    }
    volumes = [
        {"name": "config", "configMap": {"name": "pre-cache-spec"}},
        {"name": "images", "hostPath": {"path": "/var/lib/talm", "type": ""}},
    ]
    return job(namespace, container, volumes=volumes, serviceAccountName="pre-cache-agent", **spec)


async def write_spec(api: Client, namespace: str, image: str) -> None:
    metadata = {"name": "pre-cache-spec", "namespace": namespace}
    data = {"platform.image": image, "additionalImages": "", "spaceRequired": ""}
    await api.create(kinds.CONFIG_MAP, {"metadata": metadata, "data": data})


async def test_the_workloads_job_brings_the_release_and_tells_how_far_it_is(
    api: Client, node: SimulatedNode, namespace: str, registry: Registry
) -> None:
    release = await images.push(registry.address, size_mib=4)
    digest = release.partition("@")[2]
    await may_patch_progress(api, namespace)
    await write_spec(api, namespace, release)
    await api.create(kinds.JOB, workload(namespace))
    assert "Complete" in await end_of_job(api, namespace)
    layout = node.host_path("/var/lib/talm/images")
    manifest = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == digest
    found = await api.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, namespace)
    record = json.loads(found["data"][RECORD_KEY])
    assert (record["run"], record["phase"], record["imagesDone"]) == ("run-1", "Succeeded", 4)
    assert record["bytesDone"] == record["bytesTotal"] > 4 << 20
    pod = await pod_of(api, namespace)
    assert "now=Succeeded" in node.log_file(namespace, pod["metadata"]["name"]).read_text()


async def test_an_image_that_the_registry_lacks_fails_the_job_with_its_name(
    api: Client, node: SimulatedNode, namespace: str, registry: Registry
) -> None:
    absent = f"{registry.address}/openshift-release/release@sha256:{'0' * 64}"
    await may_patch_progress(api, namespace)
    await write_spec(api, namespace, absent)
    await api.create(kinds.JOB, workload(namespace))
    assert await end_of_job(api, namespace) == {"Failed": "BackoffLimitExceeded"}
    end = state_of(await pod_of(api, namespace))["terminated"]
    assert (end["exitCode"], end["reason"]) == (14, "Error")
    assert end["message"].startswith(f"ImageNotFound: manifest sha256:{'0' * 64}")
    found = await api.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, namespace)
    assert json.loads(found["data"][RECORD_KEY])["errorClass"] == "ImageNotFound"


@pytest.mark.long
async def test_a_second_attempt_says_how_the_first_one_ended(
    api: Client, node: SimulatedNode, namespace: str, registry: Registry
) -> None:
    absent = f"{registry.address}/openshift-release/release@sha256:{'0' * 64}"
    await may_patch_progress(api, namespace)
    await write_spec(api, namespace, absent)
    body = workload(namespace, backoffLimit=1)
    env = body["spec"]["template"]["spec"]["containers"][0]["env"]
    pod_uid = {"fieldRef": {"fieldPath": "metadata.uid"}}
    env[:] = [e for e in env if e["name"] != "TALM_RUN"]
    env.append({"name": "TALM_RUN", "valueFrom": pod_uid})
    await api.create(kinds.JOB, body)
    assert await end_of_job(api, namespace) == {"Failed": "BackoffLimitExceeded"}
    found = await api.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, namespace)
    record = json.loads(found["data"][RECORD_KEY])
    assert record["attempt"] == 2
    (earlier,) = record["earlier"]
    assert earlier.startswith(f"attempt 1: ImageNotFound: manifest sha256:{'0' * 64}")


@pytest.mark.long
async def test_a_run_that_meets_the_jobs_deadline_tells_what_is_missing_and_lets_the_job_time_out(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    image = images.build_image("a/b", [{"file": bytes(100_000)}])
    async with serve() as registry:
        release = registry.add(image)
        registry.fails("/blobs/", *[Stalls(10)] * 100)
        await may_patch_progress(api, namespace)
        metadata = {"name": "pre-cache-spec", "namespace": namespace}
        await api.create(
            kinds.CONFIG_MAP, {"metadata": metadata, "data": {"additionalImages": release}}
        )
        body = workload(namespace, activeDeadlineSeconds=20, backoffLimit=6)
        env = body["spec"]["template"]["spec"]["containers"][0]["env"]
        env.append({"name": "TALM_JOB_DEADLINE", "value": "20"})
        await api.create(kinds.JOB, body)
        assert await end_of_job(api, namespace) == {"Failed": "DeadlineExceeded"}
    found = await api.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, namespace)
    record = json.loads(found["data"][RECORD_KEY])
    assert (record["phase"], record["errorClass"]) == ("Failed", "PartlyCached")
    assert record["missing"] == [release]
    assert (await api.get(kinds.JOB, "pre-cache", namespace))["status"].get("failed", 0) <= 1


@pytest.mark.long
async def test_an_account_without_the_right_only_loses_the_record(
    api: Client, node: SimulatedNode, namespace: str, registry: Registry
) -> None:
    release = await images.push(registry.address, size_mib=1)
    await may_patch_progress(api, namespace)
    await api.delete(kinds.ROLE_BINDING, "pre-cache", namespace)
    await write_spec(api, namespace, release)
    await api.create(kinds.JOB, workload(namespace))
    assert "Complete" in await end_of_job(api, namespace)
    found = await api.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, namespace)
    assert "data" not in found
    pod = await pod_of(api, namespace)
    assert "403" in node.log_file(namespace, pod["metadata"]["name"]).read_text()


def sleeper(namespace: str, script: str, **spec: Any) -> dict[str, Any]:
    """A Job whose shell writes its process id to a host directory and then sleeps."""
    container = {
        "image": SHELL,
        "args": [f"{script} echo $$$$ > /run/test/new; mv /run/test/new /run/test/pid; {WAIT}"],
        "volumeMounts": [{"name": "run", "mountPath": "/run/test"}],
    }
    volumes = [{"name": "run", "hostPath": {"path": "/run/test"}}]
    return job(namespace, container, volumes=volumes, **spec)


WAIT = "while :; do sleep 0.1; done"


async def pid_of_sleeper(node: SimulatedNode) -> int:
    file = node.host_path("/run/test/pid")
    while not file.exists():  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.05)
    return int(file.read_text())


async def test_a_running_pod_is_shown_as_a_kubelet_shows_it(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    await api.create(kinds.JOB, sleeper(namespace, ""))
    status = (
        await eventually(
            lambda: api.get(kinds.JOB, "pre-cache", namespace),
            lambda job: job["status"].get("ready"),
        )
    )["status"]
    assert (status["active"], status["ready"]) == (1, 1)
    pod = await pod_of(api, namespace)
    assert pod["spec"]["nodeName"] == node.name
    assert pod["status"]["phase"] == "Running"
    assert "running" in state_of(pod)


@pytest.mark.long
@pytest.mark.parametrize("script", ["", "trap '' TERM;"], ids=["polite", "deaf"])
async def test_deleting_the_namespace_ends_the_process_and_the_pod(
    api: Client, node: SimulatedNode, namespace: str, script: str
) -> None:
    await api.create(kinds.JOB, sleeper(namespace, script, grace=1))
    pid = await pid_of_sleeper(node)
    await api.delete(kinds.NAMESPACE, namespace)
    await eventually(lambda: api.get(kinds.NAMESPACE, namespace), lambda found: not found)
    assert not alive(pid)


async def test_a_deadline_ends_the_process_and_fails_the_job(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    await api.create(kinds.JOB, sleeper(namespace, "", grace=1, activeDeadlineSeconds=1))
    pid = await pid_of_sleeper(node)
    assert await end_of_job(api, namespace) == {"Failed": "DeadlineExceeded"}
    assert not alive(pid)


async def test_a_killed_process_is_a_failed_pod_as_with_a_kernel_short_of_memory(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    await api.create(kinds.JOB, sleeper(namespace, ""))
    await pid_of_sleeper(node)
    await node.kill("another-namespace")
    await node.kill(namespace)
    assert await end_of_job(api, namespace) == {"Failed": "BackoffLimitExceeded"}
    assert state_of(await pod_of(api, namespace))["terminated"]["exitCode"] == 137


async def test_a_node_that_stops_leaves_no_process_and_reports_it_when_it_is_back(
    api: Client, spoke: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    first = new_node(spoke, tmp_path / "node")
    async with running(first):
        await api.create(kinds.JOB, sleeper(namespace, ""))
        pid = await pid_of_sleeper(first)
        await eventually(lambda: pod_of(api, namespace), lambda pod: "running" in state_of(pod))
    while alive(pid):  # noqa: ASYNC110 - killed, and reaped at the kernel's leisure
        await asyncio.sleep(0.05)
    again = new_node(spoke, tmp_path / "node")
    again.name = first.name
    async with running(again):
        assert await end_of_job(api, namespace) == {"Failed": "BackoffLimitExceeded"}
        reason = state_of(await pod_of(api, namespace))["terminated"]["reason"]
    assert reason == "ContainerStatusUnknown"


async def test_an_unknown_image_waits_until_it_is_there(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    container = {"image": "registry.example.com/none:1", "args": ["exit 0"]}
    await api.create(kinds.JOB, job(namespace, container))

    def backs_off(pod: Mapping[str, Any]) -> bool:
        return "ImagePullBackOff" in str(state_of(pod))

    pod = await eventually(lambda: pod_of(api, namespace), backs_off)
    assert pod["status"]["phase"] == "Pending"
    node.images["registry.example.com/none:1"] = ("/bin/sh", "-c")
    assert "Complete" in await end_of_job(api, namespace)


async def test_a_config_map_that_comes_later_is_waited_for(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    await may_patch_progress(api, namespace)
    await api.create(kinds.JOB, workload(namespace))

    def is_creating(pod: Mapping[str, Any]) -> bool:
        waiting = state_of(pod).get("waiting") or {}
        return "ContainerCreating" in str(waiting) and "config" in str(waiting)

    await eventually(lambda: pod_of(api, namespace), is_creating)
    await write_spec(api, namespace, "no image at all")
    pod = await eventually(lambda: pod_of(api, namespace), lambda p: "terminated" in state_of(p))
    assert state_of(pod)["terminated"]["message"].startswith("InvalidSpec: platform.image, line 1")


async def test_a_program_that_is_not_there_is_a_start_error(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    container = {"image": SHELL, "command": ["/bin/no-such-program"]}
    await api.create(kinds.JOB, job(namespace, container))
    assert await end_of_job(api, namespace) == {"Failed": "BackoffLimitExceeded"}
    end = state_of(await pod_of(api, namespace))["terminated"]
    assert (end["exitCode"], end["reason"]) == (128, "StartError")


async def test_what_the_node_cannot_run_is_refused_and_not_run_wrongly(
    api: Client, node: SimulatedNode, namespace: str
) -> None:
    body = job(namespace, {"image": SHELL, "args": ["exit 0"]})
    body["spec"]["template"]["spec"]["initContainers"] = [{"name": "first", "image": SHELL}]
    await api.create(kinds.JOB, body)
    assert await end_of_job(api, namespace) == {"Failed": "BackoffLimitExceeded"}
    status = (await pod_of(api, namespace))["status"]
    assert status["reason"] == "UnexpectedAdmissionError"
    assert "no init container" in status["message"]
