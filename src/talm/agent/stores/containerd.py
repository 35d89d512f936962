"""The store of containerd, filled through `ctr images import` as an archive on its standard input.

    spool ──► OCI archive, streamed ──► ctr -n k8s.io images import - ──► content, snapshots, names

Needs the socket and UID 0, no change of the node's configuration and no registry: nothing is
pulled.  Names are the ones that the kubelet asks for.  The snapshotter is `ctr`'s own choice,
$CONTAINERD_SNAPSHOTTER where that is set.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from talm.agent.content.manifests import Blob, Image
from talm.agent.failures import failure
from talm.agent.stores import ctr_output
from talm.agent.stores.names import names_of
from talm.agent.stores.oci_archive import write_archive
from talm.agent.stores.tools import Feed, run
from talm.agent.stores.turns import Turns
from talm.agent.transfer.spool import Spool, file_digest, storage_errors
from talm.api.progress import FailureClass

DEFAULT_SOCKET: Final = Path("/run/containerd/containerd.sock")

_NAMESPACE: Final = "k8s.io"  # the CRI plugin's
_DEFAULT_ROOT: Final = Path("/var/lib/containerd")
_CONTENT: Final = "io.containerd.content.v1"
_PIN: Final = "io.cri-containerd.pinned"
_OURS: Final = "talm.pinned"  # so that a pin of somebody else is never taken away
_FIRST_WITH_PINS: Final = (1, 7)


@dataclasses.dataclass(frozen=True, slots=True)
class _Held:
    """Digests: of the content store's blobs that images lead to, and of images that are unpacked."""

    blobs: frozenset[str]
    ready: frozenset[str]


class Containerd:
    """The store behind `socket`."""

    def __init__(self, socket: Path = DEFAULT_SOCKET) -> None:
        self.socket = socket
        self._content_root = _DEFAULT_ROOT / _CONTENT
        self._pins = False
        self._held: _Held | None = None
        self._turns = Turns()

    @property
    def directory(self) -> Path:
        """containerd's root; the usual one until `prepare` has asked."""
        return self._content_root.parent

    async def prepare(self) -> None:
        """Ask for version and place.  Raises AgentError (StoreFailed) when nobody answers."""
        self._pins = ctr_output.server_version(await self._ctr("version")) >= _FIRST_WITH_PINS
        plugins = await self._ctr("plugins", "ls", "-d", f"type=={_CONTENT}")
        found = re.search(r"^\s+root\s+(/.+?)\s*$", plugins, re.MULTILINE)
        if found:
            self._content_root = Path(found[1])

    async def missing(self, image: Image) -> tuple[Blob, ...]:
        """Return the blobs that are not in the content store to stay; it checks what it takes in.

        None for an image that is unpacked: its layers may have been dropped since, containerd has
        a setting for that (`discard_unpacked_layers`).  Asked once, and kept in mind.
        """
        if self._held is None:
            self._held = _Held(await self._blobs(), frozenset((await self._ready()).values()))
        if image.digest in self._held.ready:
            return ()
        return tuple(blob for blob in image.blobs if blob.digest not in self._held.blobs)

    async def blob(self, blob: Blob, scratch: Path) -> Path | None:
        """Return the content store's file, where this process can see it and it is intact."""
        algorithm, _, encoded = blob.digest.partition(":")
        file = self._content_root / "blobs" / algorithm / encoded
        with storage_errors(file):
            if not file.is_file() or await file_digest(file, algorithm) != blob.digest:
                return None
        return file

    async def put(self, image: Image, spool: Spool) -> None:
        """Import what is missing and unpack it, or name what is there under another name."""
        async with self._turns.of(await self.missing(image)):
            there = await self._ready(image)
            names = [name for name in names_of(image) if name not in there]
            if there and names:
                await self._ctr("images", "tag", "--force", next(iter(there)), *names)
            elif names:
                # Looked at again: others may have brought some of it while this one waited.
                await self._import(image, await self.missing(image), spool)
            if self._held:
                blobs = {blob.digest for blob in image.blobs}
                self._held = _Held(self._held.blobs | blobs, self._held.ready | {image.digest})

    async def _import(self, image: Image, missing: Sequence[Blob], spool: Spool) -> None:
        blobs = [(blob.digest, spool.whole(blob.digest)) for blob in missing]
        feed = functools.partial(write_archive, image=image, names=names_of(image), blobs=blobs)
        await self._ctr("images", "import", "-", feed=feed)

    def import_directory(self, spool: Path) -> Path | None:
        """Return None: containerd reads a stream."""
        return None

    async def has(self, image: Image) -> bool:
        """Ask whether each name is this image and unpacked, ready for a container."""
        return set(names_of(image)) <= set(await self._ready(image))

    @property
    def knows_pins(self) -> bool:
        """Whether it tells the kubelet of pins, as 1.7 is the first to do; known after `prepare`."""
        return self._pins

    async def pin(self, image: Image) -> None:
        """Label the names so that the kubelet's garbage collection leaves them."""
        for name in names_of(image):
            await self._ctr("images", "label", name, f"{_PIN}=pinned", f"{_OURS}=true")

    async def unpin(self, keep: Sequence[Image] = ()) -> int:
        """Take our labels away, but not from `keep`; returns from how many names."""
        kept = {name for image in keep for name in names_of(image)}
        ours = set(await self._labelled(f'labels."{_OURS}"==true'))
        for name in ours - kept:
            await self._ctr("images", "label", name, f"{_PIN}=", f"{_OURS}=")
        return len(ours - kept)

    async def unpinned(self, images: Sequence[Image]) -> tuple[str, ...]:
        """Return the names of `images` that do not carry the label, whoever has put it there."""
        pinned = set(await self._labelled(f'labels."{_PIN}"==pinned'))
        return tuple(n for image in images for n in names_of(image) if n not in pinned)

    async def _labelled(self, which: str) -> list[str]:
        return (await self._ctr("images", "ls", "-q", which)).split()

    async def _blobs(self) -> frozenset[str]:
        content, images = await self._ctr("content", "ls"), await self._ctr("images", "ls")
        return ctr_output.kept_blobs(content, images)

    async def _ready(self, image: Image | None = None) -> dict[str, str]:
        """Return the digest by name of all unpacked images, or of those that are `image`."""
        which = [f"target.digest=={image.digest}"] if image else []
        # a damaged image, anybody's, is a row of the table and makes the exit code 1
        return ctr_output.unpacked(await self._ctr("images", "check", *which, partly=True))

    async def _ctr(self, *arguments: str, feed: Feed | None = None, partly: bool = False) -> str:
        if not await asyncio.to_thread(self.socket.is_socket):  # ctr would wait 10 s for it
            raise failure(FailureClass.STORE_FAILED, f"{self.socket}: no containerd listens there")
        address = ("--address", str(self.socket), "--namespace", _NAMESPACE)
        return await run("ctr", *address, *arguments, feed=feed, partly=partly)
