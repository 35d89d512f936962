"""The store of CRI-O and podman, filled by skopeo from a loopback registry.

    spool ──► gateway ──► skopeo copy docker://REAL@DIGEST containers-storage:REAL@DIGEST

skopeo thinks that it pulls from the real registry, so that the node's `policy.json` is applied to
the real name; a registries.conf of ours leads it to the gateway (skopeo.py).  Layers that the store
has are not moved again.  Nothing on the node is changed but the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from pathlib import Path
from typing import Final

from talm.agent.content.manifests import Blob, Image, parts_of
from talm.agent.stores import skopeo
from talm.agent.stores.gateway import serve
from talm.agent.stores.names import names_of
from talm.agent.stores.signatures import Signatures, Upstream
from talm.agent.stores.storage_files import StorageFiles, find_driver, find_storage
from talm.agent.stores.tools import run
from talm.agent.stores.turns import Turns
from talm.agent.transfer.spool import Spool, storage_errors
from talm.errors import AgentError

_ROOT: Final = Path("/")
_TEMPORARY: Final = "var/tmp"  # skopeo's own choice, where it cannot see the spool
_STALE_S: Final = 24 * 3600.0  # longer than any import


class ContainersStorage:
    """The store of the file system `root`: "/", or where a pod has mounted the node's.

    Needs root's rights, and skopeo there.  `upstream` is asked for signatures.
    """

    def __init__(self, root: Path = _ROOT, upstream: Upstream | None = None) -> None:
        self._root = root
        self._upstream = upstream
        self._turns = Turns()

    @property
    def root(self) -> Path:
        """The file system whose store it is."""
        return self._root

    @property
    def directory(self) -> Path:
        """Where layers are unpacked."""
        return find_storage(self._root)[0]

    async def prepare(self) -> None:
        """Ask skopeo for its version.  Raises AgentError (StoreFailed) when there is none."""
        await run(*self._skopeo("--version"))
        await self._look()
        self._sweep()

    async def missing(self, image: Image) -> tuple[Blob, ...]:
        """Return the layers that are not unpacked here, and the config unless an image has it."""
        files = await self._look()
        held = files.layer_digests()
        config = parts_of(image).config.digest
        if files.config_file(config):
            held.add(config)
        return tuple(blob for blob in image.blobs if blob.digest not in held)

    async def blob(self, blob: Blob, scratch: Path) -> Path | None:
        """Put the layer's archive together from its unpacked files, uncompressed."""
        target = scratch / f"{blob.digest.replace(':', '-')}.tar"
        files = await self._look()
        with storage_errors(scratch):
            whole = await asyncio.to_thread(files.write_layer, blob.digest, target)
        return target if whole else None

    async def put(self, image: Image, spool: Spool) -> None:
        """Have skopeo copy the image under each of its names."""
        async with self._turns.of(await self.missing(image)):
            for name in names_of(image):
                await self._copy(image, name, spool)

    async def has(self, image: Image) -> bool:
        """Tell whether the store's records list the image by each name and all of it is there."""
        files = await self._look()
        return await asyncio.to_thread(
            lambda: all(files.holds(image, name) for name in names_of(image))
        )

    def import_directory(self, spool: Path) -> Path:
        """Return where skopeo copies layers to before it unpacks them: the spool, if it sees that."""
        if spool.is_relative_to(self._root):
            return spool
        inside = self._root / str(spool).lstrip("/")
        with storage_errors(inside):
            same = inside.exists() and spool.exists() and inside.samefile(spool)
        return inside if same else self._root / _TEMPORARY

    async def _copy(self, image: Image, name: str, spool: Spool) -> None:
        files = await self._look()
        if await asyncio.to_thread(files.holds, image, name):
            return

        def blob_file(digest: str) -> Path | None:
            spooled = spool.whole(digest)
            return spooled if spooled.exists() else files.config_file(digest)

        signatures = Signatures(image, self._root, self._upstream)
        directory = self.import_directory(spool.directory.absolute())
        async with serve(image, blob_file, signatures) as gateway:
            with skopeo.workplace(directory, image, gateway, signatures) as place:
                home = f"/{place.relative_to(self._root)}"
                policy = skopeo.user_policy(self._root)
                words = skopeo.copy_arguments(image, name, home, policy)
                try:
                    await run(*self._skopeo(*words), environment={"HOME": home})
                except AgentError as exc:
                    raise skopeo.explained(exc, image, signatures) from exc

    def _sweep(self) -> None:
        """Remove what imports that were cut off have left where no run looks at the rest."""
        for place in (self._root / _TEMPORARY).glob(f"{skopeo.PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - place.stat().st_mtime > _STALE_S:
                    shutil.rmtree(place)

    def _skopeo(self, *arguments: str) -> tuple[str, ...]:
        if self._root == _ROOT:
            return ("skopeo", *arguments)
        return ("chroot", str(self._root), "skopeo", *arguments)

    async def _look(self) -> StorageFiles:
        return await asyncio.to_thread(self._read)

    def _read(self) -> StorageFiles:
        roots = find_storage(self._root)
        return StorageFiles(roots, find_driver(self._root, roots[0]))
