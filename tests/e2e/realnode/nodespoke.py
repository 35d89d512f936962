"""A spoke that is one real node, and a registry that it reaches through a line that can be thin."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from scripts import agent_image

from talm.api import kinds
from talm.api.cgu import PrecachingSpec
from talm.api.kinds import Kind
from talm.api.pod import Nodes, StoreKind
from talm.api.progress import PROGRESS_CONFIG_MAP, RECORD_KEY, ProgressRecord
from talm.api.words import Action
from talm.errors import NotFound
from talm.kube.client import Client
from talm.sim.demo.thinline import ThinLine
from talm.sim.images import SyntheticImage, build_image, push_image
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.registry import Registry
from talm.sim.realnode.disk import ImageDisk
from talm.sim.realnode.node import CONTROLLERS, SERVICES, RealNode
from talm.spokes.base import Order, PodTerms
from talm.spokes.own import TALM
from talm.spokes.pinning import release_actions, unpin_namespace

REGISTRY: Final = "registry.example.com"
"""As images name it; the node's `certs.d` says where it is."""

# The workload's image takes 150 MiB of it, releases and catalog 50.
IMAGES: Final = ImageDisk(mib=768, gc_high_percent=50, gc_low_percent=2)

_AGENT: Final = f"{REGISTRY}/talm/agent:test"
_DEADLINE_S: Final = 1200  # no test lets it pass
_KINDS: Final = {
    kind.kind: kind
    for kind in (
        kinds.NAMESPACE, kinds.SERVICE_ACCOUNT, kinds.ROLE, kinds.ROLE_BINDING, kinds.CLUSTER_ROLE,
        kinds.CLUSTER_ROLE_BINDING, kinds.CONFIG_MAP, kinds.JOB, kinds.POD,
        Kind("apps", "v1", "DaemonSet", "daemonsets"),
    )
}  # fmt: skip

Condition = Callable[[], Awaitable[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Cached:
    """What a run was to bring, by which names (with digests), and an image of it that says hello."""

    namespace: str
    spec: PrecachingSpec
    planned: frozenset[str]
    hello: str


@dataclasses.dataclass(frozen=True, slots=True)
class NodeSpoke:
    """The spoke's parts."""

    plane: ControlPlane
    node: RealNode
    registry: Registry
    line: ThinLine
    client: Client

    async def push(self, images: Iterable[SyntheticImage]) -> list[str]:
        """Put images into the registry; returns their names, by digest."""
        names = []
        async with aiohttp.ClientSession() as session:
            for image in images:
                await push_image(session, self.registry.address, image)
                names.append(f"{REGISTRY}/{image.repository}@{image.digest}")
        return names

    async def order(
        self,
        namespace: str,
        spec: PrecachingSpec,
        nodes: Nodes = Nodes.ONE,
        *,
        image: str = _AGENT,
    ) -> Order:
        """Create what the hub would have created, in its order; `image` is the workload's.

        One thing is changed: a pod that coordinates shares the machine's network, since this node
        has no other.
        """
        order = Order(
            run=namespace.removeprefix("talm-"),
            cgu="cgu",
            cgu_namespace="default",
            spec=spec,
            job_deadline_s=_DEADLINE_S,
            clusters=1,
            image=image,
            pod=PodTerms(StoreKind.CONTAINERD, nodes=nodes),
        )
        for action in TALM.setup_for_all if nodes is Nodes.ALL else TALM.setup:
            template = TALM.kube(action, order, namespace)["template"]
            if template["kind"] == kinds.JOB.kind:
                template["spec"]["template"]["spec"]["hostNetwork"] = True
            await self._create(template)
        return order

    async def diagnose(self, order: Order, namespace: str) -> None:
        """Create the pod that is to tell why the Job's does not start."""
        await self._create(TALM.kube(Action.DIAGNOSE_CREATE, order, namespace)["template"])

    async def release(self, order: Order) -> None:
        """Create what the hub would have created at the end of the run's CGU; wait until it is gone."""
        for action in release_actions("spoke", order):
            await self._create(action["spec"]["kube"]["template"])

        async def is_gone() -> bool:
            with contextlib.suppress(NotFound):
                await self.client.get(kinds.NAMESPACE, unpin_namespace(order.run))
                return False
            return True

        await self.eventually(is_gone)

    async def _create(self, template: dict[str, Any]) -> None:
        await self.client.create(_KINDS[template["kind"]], template)

    async def end_of_job(self, namespace: str) -> dict[str, str]:
        """Wait for the Job's end; returns type and reason of the condition that says so."""

        async def ended() -> dict[str, str]:
            status = (await self.client.get(kinds.JOB, "pre-cache", namespace)).get("status", {})
            ends = [
                c for c in status.get("conditions") or () if c["type"] in ("Complete", "Failed")
            ]
            return {c["type"]: c.get("reason", "") for c in ends if c["status"] == "True"}

        found: dict[str, str] = await self.eventually(ended)
        return found

    async def pods(self, namespace: str) -> list[dict[str, Any]]:
        """The Job's pods, the first one first."""
        pods = await self.client.list(kinds.POD, namespace, label_selector="job-name=pre-cache")
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    async def record(self, namespace: str) -> ProgressRecord:
        """What the workload has told."""
        found = await self.client.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, namespace)
        return msgspec.json.decode(found["data"][RECORD_KEY], type=ProgressRecord)

    async def listed(self) -> dict[str, str]:
        """Digest by name of what containerd's own client lists."""
        table = (await self.node.ctr("images", "ls")).splitlines()[1:]
        return {row[0]: row[2] for row in map(str.split, table)}

    async def pinned(self) -> set[str]:
        """Names, by digest, of what is safe from the kubelet's collection, as the kubelet sees it."""
        seen = await self.node.cri_images()
        return {name for image in seen if image["pinned"] for name in image["digests"] or ()}

    async def eventually(self, ask: Condition) -> Any:
        """Ask until the answer is true, and return it; the test's own time-out bounds it.

        Raises SetupError when a program of control plane or node has ended.
        """
        while not (answer := await ask()):
            self.plane.check()
            self.node.check()
            await asyncio.sleep(0.2)
        return answer


@contextlib.asynccontextmanager
async def node_spoke(directory: Path) -> AsyncIterator[NodeSpoke]:
    """Start one; the workload's image is in the node's store, as if pulled before."""
    archive = directory / "agent.tar"
    agent_image.build(archive, _AGENT)
    plane = ControlPlane(
        directory / "spoke", "spoke", CONTROLLERS, fsync=False, audit=True, services=SERVICES,
        progress=print,
    )  # fmt: skip
    async with plane, Registry(directory / "registry") as registry, ThinLine(registry.port) as line:
        mirrors = {REGISTRY: f"http://{line.address}"}
        node = RealNode(plane, directory / "node", mirrors, IMAGES, progress=print)
        async with node, await Client.connect(plane.kubeconfig, user_agent="talm-tests") as client:
            await node.ctr("images", "import", str(archive))
            yield NodeSpoke(plane, node, registry, line, client)


def big_image(repository: str) -> SyntheticImage:
    """12 MiB in layers that no other image has."""
    return build_image(repository, [{f"{n}.bin": os.urandom(3 << 20)} for n in range(4)])
