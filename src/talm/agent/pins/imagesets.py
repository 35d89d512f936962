"""Pins on OpenShift: a PinnedImageSet, which the machine config operator carries to its nodes.

    all images are there ──► PinnedImageSet for the node's pool ──► the operator configures CRI-O
                                                                          │ asked back, for a while
                                                                          ▼
                                                                   CRI-O says: pinned

Every machine of the pool brings the images of the set by itself, past us.  So it is made only after
the download, and only where there is one machine: the others' share of a thin line is not ours to
spend.  The name and a label of the set say which run it is of; a run replaces the sets of earlier
ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from talm.agent.content.manifests import Image
from talm.agent.pins.base import LATER, PINNED, Verdict, unpinned
from talm.agent.pins.crio import Runtime
from talm.agent.stores.names import names_of
from talm.api import kinds
from talm.api.pod import PINS_LABEL, image_set_name
from talm.api.words import FIELD_MANAGER, RUN_LABEL
from talm.errors import Forbidden, NotFound

if TYPE_CHECKING:
    from talm.kube.client import Client

log = structlog.get_logger()

ROLE_LABEL: Final = "machineconfiguration.openshift.io/role"  # by which a pool selects its sets
PATIENCE_S: Final = 120.0  # sync of operator and node agent, which looks at each image of the set
_LOOK_S: Final = 5.0
_TROUBLE: Final = ("PinnedImageSetsDegraded", "Degraded")


class ImageSets:
    """PinnedImageSets of `run`, made with the account of this process.

    `patience_s` tells how long CRI-O may take to have the pins.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Client]],
        runtime: Runtime,
        run: str,
        patience_s: Callable[[], float] = lambda: PATIENCE_S,
    ) -> None:
        self._connect = connect
        self._runtime = runtime
        self._run = run
        self._patience_s = patience_s

    async def expect(self, images: Sequence[Image]) -> None:
        """Nothing is to be done before the images are there."""

    async def pin(self, image: Image) -> Verdict:
        """Return that this is told at the end."""
        return LATER

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        """Store the set in place of earlier runs', and ask CRI-O whether it counts already."""
        names = sorted({names_of(image)[0] for image in images})
        async with await self._connect() as client:
            pools = await _pools(client)
            if sum(pools.values()) != 1:
                told = ", ".join(f"{name} {count}" for name, count in pools.items())
                return unpinned(
                    f"a PinnedImageSet has every machine of its pool pull, and there are: {told}"
                )
            pool = next(name for name, count in pools.items() if count)
            stored = await client.apply(
                kinds.PINNED_IMAGE_SET,
                _image_set(self._run, pool, names),
                field_manager=FIELD_MANAGER,
            )
            await self._drop(client, lambda run: run != self._run)
            kept = {image["name"] for image in stored["spec"]["pinnedImages"]}
            if kept != set(names):
                return unpinned(
                    f"PinnedImageSet {image_set_name(self._run)} was stored with others"
                )
            return await self._confirmed(client, names, pool)

    async def release(self, run: str = "") -> int:
        """Delete the run's set; how many images it had.  An account that may not has made none."""
        async with await self._connect() as client:
            try:
                return await self._drop(client, lambda of: run in ("", of))
            except Forbidden as exc:
                log.warning("no PinnedImageSet of ours", error=str(exc))
                return 0

    async def _drop(self, client: Client, is_meant: Callable[[str], bool]) -> int:
        count = 0
        for found in await client.list(kinds.PINNED_IMAGE_SET, label_selector=PINS_LABEL):
            if is_meant(found["metadata"]["labels"].get(RUN_LABEL, "")):
                try:
                    await client.delete(kinds.PINNED_IMAGE_SET, found["metadata"]["name"])
                except NotFound:
                    continue  # somebody was first
                count += len(found["spec"]["pinnedImages"])
        return count

    async def _confirmed(self, client: Client, names: Sequence[str], pool: str) -> Verdict:
        """Ask CRI-O until it has all pins; the set stays and may come to count later."""
        give_up_at = time.monotonic() + self._patience_s()
        while True:
            lost = set(names) - await self._runtime.pinned()
            if not lost:
                return PINNED
            if time.monotonic() >= give_up_at:
                return unpinned(
                    f"PinnedImageSet {image_set_name(self._run)} is stored, but CRI-O does not yet "
                    f"report {len(lost)} of {len(names)} images as pinned{await _trouble(client, pool)}"
                )
            await asyncio.sleep(_LOOK_S)


def _image_set(run: str, pool: str, names: Sequence[str]) -> dict[str, Any]:
    labels = {ROLE_LABEL: pool, PINS_LABEL: "true", RUN_LABEL: run}
    return {
        "metadata": {"name": image_set_name(run), "labels": labels},
        "spec": {"pinnedImages": [{"name": name} for name in names]},
    }


async def _pools(client: Client) -> dict[str, int]:
    """Return how many machines each pool has."""
    found = await client.list(kinds.MACHINE_CONFIG_POOL)
    return {
        pool["metadata"]["name"]: (pool.get("status") or {}).get("machineCount") or 0
        for pool in found
    }


async def _trouble(client: Client, pool: str) -> str:
    """Return what the pool says is wrong; "" when nothing is."""
    for found in await client.list(kinds.MACHINE_CONFIG_POOL):
        if found["metadata"]["name"] != pool:
            continue
        said = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or ()}
        for kind in _TROUBLE:
            if said.get(kind, {}).get("status") == "True":
                return f"; pool {pool} says {kind}: {said[kind].get('message', '')}"
    return ""
