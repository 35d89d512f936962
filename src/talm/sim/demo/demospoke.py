"""A cluster of the demo: its API server, its node, and what its workload has left on the disk."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from talm.api import kinds
from talm.api.pod import StoreKind
from talm.api.words import MANUAL_NAMESPACE
from talm.kube.client import Client
from talm.sim import images
from talm.sim.node.node import SimulatedNode
from talm.sim.plane.controlplane import ControlPlane
from talm.spokes.ownstore import STORES

_REF_NAME: Final = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class DemoSpoke:
    """A cluster with a control plane and a node of its own."""

    plane: ControlPlane
    node: SimulatedNode
    client: Client

    @property
    def layout(self) -> Path:
        """The OCI layout that the workload fills, where it really is."""
        return self.node.host_path(STORES[StoreKind.OCI_LAYOUT].place.partition(":")[2])

    def held_bytes(self) -> int:
        """How many bytes of images are on its disk: what is stored, and what is on its way there."""
        held = {}
        for file in self.layout.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                if file.is_file():
                    found = file.stat()
                    held[found.st_ino] = found.st_size
        return sum(held.values())

    def stored_digest(self, image: str) -> str:
        """Hash the manifest that the layout has for `image`; "" when it has none."""
        try:
            index = json.loads((self.layout / "index.json").read_text())
            for entry in index["manifests"]:
                if entry.get("annotations", {}).get(_REF_NAME) == image:
                    return images.digest_of(self.blob(entry["digest"]).read_bytes())
        except (OSError, ValueError):
            return ""
        return ""

    async def last_words(self) -> list[str]:
        """What pods that failed have left in their termination log."""
        pods = await self.client.list(kinds.POD, MANUAL_NAMESPACE)
        containers = [c for pod in pods for c in pod["status"].get("containerStatuses") or ()]
        ends = [container["state"].get("terminated") or {} for container in containers]
        return [str(end["message"]) for end in ends if end.get("message")]

    def blob(self, digest: str) -> Path:
        """Where the layout keeps a blob."""
        return self.layout / "blobs" / digest.replace(":", "/")
