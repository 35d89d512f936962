"""Where a layer can be read: the store that has it, the spool, else the registry by the spool.

What a run reads to find out what to pull is pulled anyway; through the spool it moves once, is
continued after a break, and counts as read only when its digest was right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from talm.agent.content.manifests import Blob, Image
from talm.agent.stores.base import ImageStore
from talm.agent.transfer.download import Downloads
from talm.agent.transfer.spool import Spool


class LayerFiles:
    """The layers of images as verified files.  `spools`: looked at first, the last is filled."""

    def __init__(self, store: ImageStore, spools: Sequence[Spool], downloads: Downloads) -> None:
        self._store = store
        self._spools = spools
        self._downloads = downloads

    @property
    def scratch(self) -> Path:
        """A directory for what is only needed while the run resolves."""
        return self._spools[-1].directory

    async def file(self, image: Image, blob: Blob) -> Path:
        """Return a file with the layer, as served or uncompressed.

        Raises AgentError of the download or of the store.
        """
        if (stored := await self._store.blob(blob, self.scratch)) is not None:
            return stored
        for spool in self._spools:
            if await asyncio.to_thread(spool.whole(blob.digest).exists):
                return spool.whole(blob.digest)
        try:
            async with asyncio.TaskGroup() as group:
                await self._downloads.bring(group, image, (blob,))
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None
        return self._spools[-1].whole(blob.digest)
