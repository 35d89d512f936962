"""Every node of a spoke pulls: the operator's manifests on a real API server, several simulated nodes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.pod import COORDINATOR_LABEL, NODE_ANNOTATION, Nodes
from talm.api.progress import PROGRESS_CONFIG_MAP, RECORD_KEY, FailureClass, ProgressRecord
from talm.api.words import Action
from talm.errors import NotFound
from talm.kube.client import Client
from talm.sim import images
from talm.sim.demo.thinline import ThinLine
from talm.sim.node.node import SimulatedNode
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.sim.plane.registry import Registry
from talm.spokes.base import Order, PodTerms
from talm.spokes.manifests import ACCOUNT, JOB_NAME, node_reader
from talm.spokes.own import TALM
from tests.conftest import skip_without, skip_without_program
from tests.spokes.world import other

from .audit import calls
from .test_node import end_of_job, eventually, running, state_of

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(300)]

TALM_ITSELF = (sys.executable, "-m", "talm")
CREATES: Mapping[Action, Kind] = {
    Action.NS_CREATE: kinds.NAMESPACE,
    Action.SA_CREATE: kinds.SERVICE_ACCOUNT,
    Action.ROLE_CREATE: kinds.ROLE,
    Action.ROLE_BINDING_CREATE: kinds.ROLE_BINDING,
    Action.NODE_READER_CREATE: kinds.CLUSTER_ROLE,
    Action.NODE_BINDING_CREATE: kinds.CLUSTER_ROLE_BINDING,
    Action.SPEC_CREATE: kinds.CONFIG_MAP,
    Action.PROGRESS_CREATE: kinds.CONFIG_MAP,
    Action.JOB_CREATE: kinds.JOB,
}


@pytest_asyncio.fixture
async def spoke(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """One for each test: whatever nodes it has take part."""
    skip_without(own=True)
    plane = ControlPlane(tmp_path / "spoke", "spoke", SPOKE_CONTROLLERS, fsync=False, audit=True)
    async with plane:
        yield plane


@pytest_asyncio.fixture
async def api(spoke: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(spoke.kubeconfig, user_agent="talm-tests") as client:
        yield client


@pytest_asyncio.fixture
async def line(tmp_path: Path) -> AsyncIterator[ThinLine]:
    """The line to the registry that all nodes share."""
    skip_without_program("registry")
    async with (
        Registry(tmp_path / "registry") as registry,
        ThinLine(int(registry.address.rpartition(":")[2])) as line,
    ):
        yield line


class Site:
    """The spoke with its nodes, and one run on it."""

    def __init__(self, spoke: ControlPlane, api: Client, directory: Path) -> None:
        self.namespace = f"talm-{uuid.uuid4().hex[:8]}"
        self.nodes: dict[str, SimulatedNode] = {}
        self._spoke = spoke
        self._api = api
        self._directory = directory
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Site:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def add_node(self, name: str, image: str, *environment: str) -> None:
        """A node whose workload's program is given some more environment."""
        command = ("/usr/bin/env", *environment, *TALM_ITSELF)
        node = SimulatedNode(
            self._spoke.kubeconfig, self._directory / name, images={image: command}, name=name
        )
        self.nodes[name] = await self._stack.enter_async_context(running(node))

    async def set_up(self, order: Order) -> None:
        """Create what the hub's actions would."""
        for action in TALM.for_nodes(order.pod.nodes).setup:
            body = TALM.kube(action, order, self.namespace)["template"]
            await self._api.create(CREATES[action], body)

    async def total(self) -> ProgressRecord:
        """The sum, as far as it has been told."""
        found = await self._api.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, self.namespace)
        text = (found.get("data") or {}).get(RECORD_KEY, "{}")
        return msgspec.json.decode(text, type=ProgressRecord)

    async def records(self) -> dict[str, ProgressRecord]:
        """The records of the nodes by name."""
        maps = await self._api.list(
            kinds.CONFIG_MAP, self.namespace, label_selector=COORDINATOR_LABEL
        )
        return {
            one["metadata"]["annotations"][NODE_ANNOTATION]: msgspec.json.decode(
                (one.get("data") or {}).get(RECORD_KEY, "{}"), type=ProgressRecord
            )
            for one in maps
        }

    async def pods(self, node: str = "") -> list[dict[str, Any]]:
        """The running pods: those of a node's Job, or the coordinating one's."""
        jobs = [job["metadata"] for job in await self._api.list(kinds.JOB, self.namespace)]
        (name,) = (
            job["name"] for job in jobs if job["annotations"].get(NODE_ANNOTATION, "") == node
        )
        found = await self._api.list(kinds.POD, self.namespace, label_selector=f"job-name={name}")
        return [pod for pod in found if pod["status"].get("phase") == "Running"]

    async def kill(self, node: str = "") -> None:
        """Kill the process of a node's pod, or of the coordinating one."""
        (pod,) = await self.pods(node)
        name = pod["metadata"]["name"]
        await self.nodes[pod["spec"]["nodeName"]].kill(self.namespace, name)

    def has(self, node: str, digest: str) -> bool:
        """Whether the node's layout has this manifest, undamaged."""
        blobs = self.nodes[node].host_path("/var/lib/talm/images/blobs")
        with contextlib.suppress(FileNotFoundError):
            content = (blobs / digest.replace(":", "/")).read_bytes()
            return f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
        return False


@pytest_asyncio.fixture
async def site(spoke: ControlPlane, api: Client, tmp_path: Path) -> AsyncIterator[Site]:
    async with Site(spoke, api, tmp_path) as site:
        yield site
        await api.delete(kinds.NAMESPACE, site.namespace)
        await eventually(lambda: api.get(kinds.NAMESPACE, site.namespace), lambda found: not found)


def order_of(release: str, deadline_s: int = 3600) -> Order:
    spec = msgspec.structs.replace(
        other().spec,
        platform_image=release,
        operators_indexes=(),
        operators_packages_and_channels=(),
        exclude_precache_patterns=(),
        space_required="",
        additional_images=(),
    )
    pod = PodTerms(nodes=Nodes.ALL, nodes_at_once=2)
    return other(spec=spec, pod=pod, job_deadline_s=deadline_s)


class Diary:
    """Looks at the sum now and then: its counts may only grow."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.looks: list[ProgressRecord] = []

    async def keep(self) -> None:
        while True:
            with contextlib.suppress(NotFound):
                self.looks.append(await self._site.total())
            await asyncio.sleep(0.5)

    def goes_backwards(self) -> bool:
        pairs = zip(self.looks, self.looks[1:], strict=False)
        return any(
            after.run == before.run
            and after.restarts == before.restarts
            and (after.bytes_done < before.bytes_done or after.images_done < before.images_done)
            for before, after in pairs
        )


async def until_pulling(site: Site, node: str) -> None:
    while True:
        record = (await site.records()).get(node, ProgressRecord())
        if record.bytes_total and record.bytes_done > record.bytes_total // 8:
            return
        await asyncio.sleep(0.2)


async def until_told(site: Site, nodes: int) -> None:
    while (await site.total()).nodes_total < nodes:  # noqa: ASYNC110 - the API server is asked
        await asyncio.sleep(0.2)


async def test_three_nodes_pull_one_fails_one_is_killed_and_the_sum_is_right(
    spoke: ControlPlane, api: Client, site: Site, line: ThinLine
) -> None:
    release = await images.push(line.address, size_mib=8)
    digest = release.partition("@")[2]
    order = order_of(release)
    await site.add_node("a", order.image)
    await site.add_node("b", order.image)
    await site.add_node("c", order.image, "TALM_SPACE_REQUIRED=99999")
    line.set_rate(2 << 20)
    before = line.carried
    diary = Diary(site)
    await site.set_up(order)
    writing = asyncio.create_task(diary.keep())
    try:
        await until_pulling(site, "b")
        await site.kill("b")
        await until_told(site, 3)
        await site.kill()
        line.set_rate(None)
        assert await end_of_job(api, site.namespace) == {"Failed": "PodFailurePolicy"}
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    assert [site.has(name, digest) for name in "abc"] == [True, True, False]
    total, records = await site.total(), await site.records()
    assert (total.phase, total.error_class) == ("Failed", FailureClass.INSUFFICIENT_SPACE)
    assert (total.nodes_done, total.nodes_failed, total.nodes_total) == (2, 1, 3)
    assert (total.images_done, total.images_total) == (8, 12)
    one = records["a"].bytes_total
    known = records["c"].bytes_done  # what it had read to find out what it needs
    assert (total.bytes_done, total.bytes_total) == (2 * one + known, 3 * one)
    assert known < one / 100
    (failed,) = total.failed
    assert (failed.node, failed.error_class) == ("c", FailureClass.INSUFFICIENT_SPACE)
    assert records["c"].error_text in failed.error_text
    assert (total.attempt, records["b"].attempt) == (2, 2)
    assert diary.looks
    assert not diary.goes_backwards()
    assert line.carried - before < 2.5 * one, "what had arrived was fetched again"
    await check_last_words(api, site.namespace)
    await check_rights(spoke, site.namespace, api)
    await check_that_all_goes_with_the_job(api, site.namespace)


async def check_last_words(api: Client, namespace: str) -> None:
    pods = await api.list(kinds.POD, namespace, label_selector=f"job-name={JOB_NAME}")
    ends = [state_of(pod)["terminated"] for pod in pods]
    (last,) = [end for end in ends if end["exitCode"] != 137]
    assert last["exitCode"] == 17
    assert last["message"].startswith("InsufficientSpace: 1 of 3 nodes failed: c: Insufficient")


async def check_rights(spoke: ControlPlane, namespace: str, api: Client) -> None:
    """Everything that the account may do was done, and nothing was refused to it."""
    user = f"system:serviceaccount:{namespace}:{ACCOUNT}"
    assert spoke.audit_log is not None
    made = [call for call in calls(spoke.audit_log) if call.user == user]
    assert not [call for call in made if call.status == 403]
    assert not [call for call in made if call.subresource]
    roles = [
        await api.get(kinds.ROLE, ACCOUNT, namespace),
        await api.get(kinds.CLUSTER_ROLE, node_reader(namespace)),
    ]
    granted = {
        (verb, resource)
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if resource != "securitycontextconstraints"  # which OpenShift alone asks for
    }
    assert {(call.verb, call.resource) for call in made} == granted


async def check_that_all_goes_with_the_job(api: Client, namespace: str) -> None:
    await api.delete(kinds.JOB, JOB_NAME, namespace)
    for kind in (kinds.JOB, kinds.CONFIG_MAP, kinds.POD):
        while any(  # noqa: ASYNC110 - the collector tells nobody
            one["metadata"].get("annotations", {}).get(NODE_ANNOTATION) or kind is kinds.POD
            for one in await api.list(kind, namespace)
        ):
            await asyncio.sleep(0.2)


async def add_bare_node(api: Client, name: str, system: str = "linux", ready: str = "True") -> None:
    """A node without anybody behind it."""
    await api.create(
        kinds.NODE, {"metadata": {"name": name, "labels": {"kubernetes.io/os": system}}}
    )
    status = {
        "conditions": [{"type": "Ready", "status": ready}],
        "nodeInfo": {"operatingSystem": system},
    }
    await api.merge_patch(kinds.NODE, name, {"status": status}, subresource="status")


async def test_a_node_that_is_not_ready_is_waited_for_until_the_deadline(
    api: Client, site: Site, line: ThinLine
) -> None:
    release = await images.push(line.address, size_mib=1)
    order = order_of(release, deadline_s=40)
    await site.add_node("a", order.image)
    await add_bare_node(api, "away", ready="Unknown")
    await add_bare_node(api, "windows", system="windows")
    await site.set_up(order)
    assert await end_of_job(api, site.namespace) == {"Failed": "DeadlineExceeded"}
    total = await site.total()
    assert (total.phase, total.error_class) == ("Failed", FailureClass.PARTLY_CACHED)
    assert total.error_text.endswith("1 of 2 nodes have everything; away not ready")
    assert (total.nodes_done, total.nodes_total, total.images_done) == (1, 2, 4)
    assert [json.loads(msgspec.json.encode(entry)) for entry in total.failed] == [
        {"node": "away", "errorClass": "PartlyCached", "errorText": "node away not ready"}
    ]
    assert total.warnings == ("node windows is left out: it runs windows",)
    assert site.has("a", release.partition("@")[2])
