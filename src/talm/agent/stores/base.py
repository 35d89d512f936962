"""What a place for images must be able to do.  One file beside this one per kind of store.

Not here: what keeps images there (agent/pins).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from talm.agent.content.manifests import Blob, Image
from talm.agent.transfer.spool import Spool


class ImageStore(Protocol):
    """Where a container runtime looks for images.  Failures are AgentError (StoreFailed)."""

    @property
    def directory(self) -> Path:
        """A place on the file system that fills up."""
        ...

    async def prepare(self) -> None:
        """Make sure, before a byte moves, that the store is there and can be asked."""
        ...

    async def missing(self, image: Image) -> tuple[Blob, ...]:
        """Return the blobs of `image` that the store does not hold intact; it has been asked."""
        ...

    async def blob(self, blob: Blob, scratch: Path) -> Path | None:
        """Return an intact file with a layer, as served or uncompressed; None when there is none.

        A store that keeps no such file makes one in the directory `scratch`.
        """
        ...

    async def put(self, image: Image, spool: Spool) -> None:
        """Take what is missing from the spool and make the image appear, whole or not at all."""
        ...

    def import_directory(self, spool: Path) -> Path | None:
        """Return where a copy of the layers lies while an image is put in; None: there is none.

        `spool`: the directory that they come from, as an absolute path.
        """
        ...

    async def has(self, image: Image) -> bool:
        """Ask the store itself whether the image is there, every byte of it."""
        ...
