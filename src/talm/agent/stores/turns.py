"""Which imports may run at the same time.

Two of them keep two cores busy with decompression.  Never two that would both unpack the same
layer: the work would be done twice, and one of the results thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Final

from talm.agent.content.manifests import Blob

AT_ONCE: Final = 2  # a third one would wait for a core, or for the store's locks


class Turns:
    """The imports that run, and what they bring."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._taken: set[str] = set()
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def of(self, missing: Iterable[Blob]) -> AsyncIterator[None]:
        """Wait until nobody brings any of these, and hold them inside the block."""
        digests = {blob.digest for blob in missing}
        async with self._changed:
            await self._changed.wait_for(lambda: self._free and not digests & self._taken)
            self._free -= 1
            self._taken |= digests
        try:
            yield
        finally:
            self._free += 1
            self._taken -= digests
            async with self._changed:
                self._changed.notify_all()
