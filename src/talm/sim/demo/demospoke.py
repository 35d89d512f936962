"""A cluster of the demo: its API server, its node, and what its workload has left on the disk.

The node is a simulated one, whose pods are local processes, or a real one (realspoke.py).  Which of
them it is decides into which store the workload puts images.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from talm.api import kinds
from talm.api.pod import StoreKind
from talm.api.words import MANUAL_NAMESPACE
from talm.errors import SetupError
from talm.kube.client import Client
from talm.sim.images import digest_of
from talm.sim.node.node import SimulatedNode
from talm.sim.plane.controlplane import ControlPlane
from talm.spokes.ownstore import STORES

_REF_NAME: Final = "org.opencontainers.image.ref.name"


class DemoSpoke(Protocol):
    """A cluster with a control plane and a node of its own."""

    @property
    def plane(self) -> ControlPlane:
        """Its control plane."""

    @property
    def client(self) -> Client:
        """A client of its API server that may do everything."""

    @property
    def store(self) -> StoreKind:
        """Where the workload puts images."""

    @property
    def logs(self) -> Path:
        """The directory of its pods' logs."""

    @property
    def images(self) -> Path:
        """Where the images are, as seen from out here."""

    def check(self) -> None:
        """Raise SetupError when its node has ended."""

    def held_bytes(self) -> int:
        """How many bytes of images are on its disk: what is stored, and what is on its way there."""

    async def stored_digest(self, image: str) -> str:
        """Hash the manifest that the store has for `image`; "" when it has none."""

    def blob(self, digest: str) -> Path:
        """Where the store keeps a blob."""

    async def kill_workload(self) -> None:
        """Kill (SIGKILL) the workload's processes; returns when they are gone."""


@dataclass(frozen=True, slots=True)
class SimulatedSpoke:
    """A DemoSpoke whose pods are processes of this machine; images go into an OCI layout."""

    plane: ControlPlane
    node: SimulatedNode
    client: Client
    running: asyncio.Task[None]
    store = StoreKind.OCI_LAYOUT

    @property
    def logs(self) -> Path:
        """See DemoSpoke."""
        return self.node.logs

    @property
    def images(self) -> Path:
        """See DemoSpoke: the OCI layout that the workload fills, where it really is."""
        return self.node.host_path(STORES[self.store].place.partition(":")[2])

    def check(self) -> None:
        """See DemoSpoke."""
        if self.running.done():
            raise SetupError(f"a simulated node has ended: {self.running.exception()!r}")

    def held_bytes(self) -> int:
        """See DemoSpoke."""
        return bytes_in(self.images.rglob("*"))

    async def stored_digest(self, image: str) -> str:
        """See DemoSpoke."""
        try:
            index = json.loads((self.images / "index.json").read_text())
            for entry in index["manifests"]:
                if entry.get("annotations", {}).get(_REF_NAME) == image:
                    return digest_of(self.blob(entry["digest"]).read_bytes())
        except (OSError, ValueError):
            return ""
        return ""

    def blob(self, digest: str) -> Path:
        """See DemoSpoke."""
        return self.images / "blobs" / digest.replace(":", "/")

    async def kill_workload(self) -> None:
        """See DemoSpoke."""
        await self.node.kill(MANUAL_NAMESPACE)


@contextlib.asynccontextmanager
async def simulated_spoke(
    plane: ControlPlane, client: Client, workload: str
) -> AsyncIterator[SimulatedSpoke]:
    """Start a node on which the image `workload` is this Python's `talm`."""
    commands = {workload: (sys.executable, "-m", "talm")}
    node = SimulatedNode(plane.kubeconfig, plane.directory / "node", images=commands)
    running = asyncio.ensure_future(node.run())
    ready = asyncio.ensure_future(node.ready.wait())
    spoke = SimulatedSpoke(plane, node, client, running)
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        spoke.check()
        yield spoke
    finally:
        for task in (running, ready):
            task.cancel()
        await asyncio.gather(running, ready, return_exceptions=True)


async def last_words(client: Client) -> list[str]:
    """What pods that failed have left in their termination log."""
    pods = await client.list(kinds.POD, MANUAL_NAMESPACE)
    containers = [c for pod in pods for c in pod["status"].get("containerStatuses") or ()]
    ends: list[dict[str, Any]] = [c["state"].get("terminated") or {} for c in containers]
    return [str(end["message"]) for end in ends if end.get("message")]


def bytes_in(files: Iterable[Path]) -> int:
    """Sum up the sizes of files; one that has several names counts once."""
    held = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            if file.is_file():
                found = file.stat()
                held[found.st_ino] = found.st_size
    return sum(held.values())
