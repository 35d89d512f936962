"""The pins of one run, told to its record; what cannot be pinned fails nothing.

The images are there all the same: the release is cached until the node needs the room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

import structlog

from talm.agent.content.manifests import Image
from talm.agent.pins.base import PINNED, Pins, Verdict, unpinned
from talm.agent.progress import Progress
from talm.errors import TalmError

log = structlog.get_logger()


class Keeper:
    """Pins the images of one run."""

    def __init__(self, pins: Pins, progress: Progress) -> None:
        self._pins = pins
        self._progress = progress
        self._ready: Verdict | None = None

    async def expect(self, images: Sequence[Image]) -> None:
        """Announce the images before the first of them is imported."""
        self._ready = await _tried(self._announced(images))

    async def pin(self, image: Image) -> None:
        """Pin an image that the store has now."""
        if self._ready is PINNED:
            verdict = await _tried(self._pins.pin(image))
            if verdict.pinned is not None:
                self._progress.pinned(verdict.pinned, verdict.why)

    async def conclude(self, images: Sequence[Image]) -> None:
        """Tell whether all of them are safe, which counts instead of what was told before.

        What failed at the beginning may be there by now: an API server that came up after us.
        """
        if self._ready is not PINNED:
            await self.expect(images)
        verdict = self._ready
        if verdict is PINNED:
            verdict = await _tried(self._pins.conclude(images))
        if verdict is not None and verdict.pinned is not None:
            self._progress.all_pinned(verdict.pinned, verdict.why)

    async def _announced(self, images: Sequence[Image]) -> Verdict:
        await self._pins.expect(images)
        return PINNED


async def _tried(asked: Awaitable[Verdict]) -> Verdict:
    try:
        return await asked
    except (TalmError, OSError) as exc:
        log.warning("not pinned", why=str(exc))
        return unpinned(str(exc))
