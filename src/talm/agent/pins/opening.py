"""How images are pinned here: by the store, and with CRI-O by who manages it.

    containerd ──────────────────────────────────────────────────────► labels
    containers-storage ──► machineconfiguration.openshift.io/v1 served? ─ yes ► PinnedImageSet
                                                                        ─ no ─► file in crio.conf.d
    oci-layout ──────────────────────────────────────────────────────► nobody collects garbage there

Never a file where the machine config operator may be at work: it would find a node that differs
from what it wrote.  Where it is not known who manages CRI-O, nothing is pinned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from talm.agent.content.manifests import Image
from talm.agent.pins.base import PINNED, NoPins, Pins, Verdict, unpinned
from talm.agent.pins.crio import DIRECTORY, CrioPins
from talm.agent.pins.criod import Crio
from talm.agent.pins.imagesets import PATIENCE_S, ImageSets
from talm.agent.pins.labels import LabelPins
from talm.agent.pins.noted import NotedPins
from talm.agent.sinks import connect
from talm.agent.stores.containerd import Containerd
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.opening import open_store
from talm.api import kinds

MANAGED: Final = Path("etc/machine-config-daemon")  # where its node agent keeps its state
_ACCOUNT: Final = ("KUBERNETES_SERVICE_HOST", "KUBECONFIG")


def open_pins(
    store: str, directory: Path, run: str, patience_s: Callable[[], float] = lambda: PATIENCE_S
) -> Pins:
    """Return the pins of `run` in the store that is named KIND:PLACE; nothing is touched yet.

    `directory` keeps the note whose they are.  `patience_s` is how long a PinnedImageSet may take
    to count.  Raises AgentError (InvalidSpec) for a store that is none.
    """
    found = open_store(store)
    if isinstance(found, Containerd):
        return NotedPins(LabelPins(found), directory, run)
    if isinstance(found, ContainersStorage):
        return ClusterPins(found.root, directory, run, patience_s)
    return NoPins(PINNED)


class ClusterPins:
    """The pins of a node with CRI-O: whose they are to make is found out when they are needed."""

    def __init__(
        self, root: Path, directory: Path, run: str, patience_s: Callable[[], float]
    ) -> None:
        self._root = root
        self._directory = directory
        self._run = run
        self._patience_s = patience_s
        self._pins: Pins | None = None

    async def expect(self, images: Sequence[Image]) -> None:
        """See Pins."""
        await (await self._found()).expect(images)

    async def pin(self, image: Image) -> Verdict:
        """See Pins."""
        return await (await self._found()).pin(image)

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        """See Pins."""
        return await (await self._found()).conclude(images)

    async def release(self, run: str = "") -> int:
        """See Pins."""
        return await (await self._found()).release(run)

    async def _found(self) -> Pins:
        if self._pins is None:
            self._pins = await self._find(os.environ)
        return self._pins

    async def _find(self, environment: Mapping[str, str]) -> Pins:
        """Ask the cluster and look at the node.  Raises ApiError when the cluster does not say."""
        runtime = Crio(self._root)
        managed, with_sets = await _served() if _has_account(environment) else (False, False)
        if with_sets:
            return ImageSets(connect, runtime, self._run, self._patience_s)
        if managed:
            group = kinds.PINNED_IMAGE_SET.api_version
            return NoPins(unpinned(f"the cluster serves {group} without PinnedImageSets"))
        if (self._root / MANAGED).exists():
            return NoPins(unpinned("OpenShift manages this node, and its API cannot be asked here"))
        if not (self._root / DIRECTORY).is_dir():
            return NoPins(unpinned(f"there is no CRI-O here: no directory /{DIRECTORY}"))
        return NotedPins(CrioPins(self._root, runtime), self._directory, self._run)


def _has_account(environment: Mapping[str, str]) -> bool:
    return any(name in environment for name in _ACCOUNT)


async def _served() -> tuple[bool, bool]:
    """Tell whether the cluster has the machine config operator's API, and PinnedImageSets in it."""
    async with await connect() as client:
        with_sets = await client.serves(kinds.PINNED_IMAGE_SET)
        return with_sets or await client.serves(kinds.MACHINE_CONFIG_POOL), with_sets
