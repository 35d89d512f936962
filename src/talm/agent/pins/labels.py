"""Pins in containerd: a label on each of an image's names, which its CRI plugin tells the kubelet.

What is asked back is the labels, all at once at the end, from containerd's own records; for a single
image its answer to the change counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from talm.agent.content.manifests import Image
from talm.agent.pins.base import PINNED, Verdict, unpinned
from talm.agent.stores.containerd import Containerd


class LabelPins:
    """Labels in `store`."""

    def __init__(self, store: Containerd) -> None:
        self._store = store

    async def expect(self, images: Sequence[Image]) -> None:
        """Ask containerd whether it knows pins."""
        await self._store.prepare()

    async def pin(self, image: Image) -> Verdict:
        """Label the image's names."""
        if not self._store.knows_pins:
            return unpinned("containerd is older than 1.7 and tells the kubelet of no pins")
        await self._store.pin(image)
        return PINNED

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        """Unlabel what no image of these has."""
        await self._store.unpin(keep=images)
        if not self._store.knows_pins:
            return unpinned("containerd is older than 1.7 and tells the kubelet of no pins")
        lost = await self._store.unpinned(images)
        return unpinned(f"containerd has not kept the label of {lost[0]}") if lost else PINNED

    async def release(self, run: str = "") -> int:
        """Take our labels away, all of them: the note says whose they are."""
        return await self._store.unpin()
