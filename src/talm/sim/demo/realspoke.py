"""A cluster of the demo whose node is a real one: kubelet, containerd, runc; the workload's pod runs
in its image, and what it brings goes into containerd's store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from talm.api import kinds
from talm.api.pod import STATE_DIRECTORY, StoreKind
from talm.api.words import MANUAL_NAMESPACE
from talm.kube.client import Client
from talm.sim.demo.demospoke import bytes_in
from talm.sim.images import digest_of
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.processes import Progress
from talm.sim.realnode.disk import CONTAINERD_ROOT, POD_LOGS, ImageDisk
from talm.sim.realnode.node import RealNode

# The CGU asks for 1 GiB beside the workload's image, and the kubelet keeps some free.
_IMAGES: Final = ImageDisk(mib=2048)
_CONTENT: Final = f"{CONTAINERD_ROOT}/io.containerd.content.v1.content"


@dataclass(frozen=True, slots=True)
class RealSpoke:
    """A DemoSpoke with kubelet and containerd.  `before`: blobs that containerd had at first."""

    plane: ControlPlane
    node: RealNode
    client: Client
    before: frozenset[str]
    store = StoreKind.CONTAINERD

    @property
    def logs(self) -> Path:
        """See DemoSpoke."""
        return self.node.host_path(POD_LOGS)

    @property
    def images(self) -> Path:
        """See DemoSpoke: containerd's content."""
        return self.node.host_path(_CONTENT)

    def check(self) -> None:
        """See DemoSpoke."""
        self.node.check()

    def held_bytes(self) -> int:
        """See DemoSpoke: a blob that is on its way from the spool into the store counts once."""
        stored = {f.name: f for f in self._blobs() if f.name not in self.before}
        spool = self.node.host_path(STATE_DIRECTORY)
        coming = (f for f in spool.rglob("sha256-*") if _encoded(f) not in stored)
        return bytes_in((*stored.values(), *coming))

    async def stored_digest(self, image: str) -> str:
        """See DemoSpoke: by the name that the kubelet will ask for."""
        rows = [line.split() for line in (await self.node.ctr("images", "ls")).splitlines()[1:]]
        digest = next((row[2] for row in rows if row[0] == image), "")
        with contextlib.suppress(OSError):
            return digest_of(self.blob(digest).read_bytes()) if digest else ""
        return ""

    def blob(self, digest: str) -> Path:
        """See DemoSpoke."""
        return self.images / "blobs" / digest.replace(":", "/")

    async def kill_workload(self) -> None:
        """See DemoSpoke."""
        for container in await self._containers():
            await self.node.ctr("tasks", "kill", "--signal", "SIGKILL", container)
        while await self._containers():  # noqa: ASYNC110 - the kubelet tells the API server alone
            await asyncio.sleep(0.1)

    def _blobs(self) -> Iterable[Path]:
        return (self.images / "blobs/sha256").glob("*")

    async def _containers(self) -> Sequence[str]:
        """Those of the workload that run, as the kubelet has told the API server."""
        pods = await self.client.list(kinds.POD, MANUAL_NAMESPACE)
        containers = [c for pod in pods for c in pod["status"].get("containerStatuses") or ()]
        running = [c["containerID"] for c in containers if "running" in c["state"]]
        return [identity.removeprefix("containerd://") for identity in running]


@contextlib.asynccontextmanager
async def real_spoke(
    plane: ControlPlane, client: Client, archive: Path, *, progress: Progress
) -> AsyncIterator[RealSpoke]:
    """Start a node whose containerd has the workload's image, as if pulled before; raises SetupError.

    `archive`: an OCI archive that knows the image's name.
    """
    node = RealNode(plane, plane.directory / "node", images=_IMAGES, progress=progress)
    async with node:
        await node.ctr("images", "import", str(archive))
        spoke = RealSpoke(plane, node, client, frozenset())
        before = frozenset(file.name for file in spoke.images.glob("blobs/sha256/*"))
        yield RealSpoke(plane, node, client, before)


def _encoded(file: Path) -> str:
    """The digest's hex of a file in the spool (`sha256-HEX`, and with `.partial…`)."""
    return file.name.removeprefix("sha256-").partition(".")[0]
