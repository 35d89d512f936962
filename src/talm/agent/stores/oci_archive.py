"""An OCI image layout as a tar archive, written into a stream without a copy on disk.

Blobs that the reader has already may be left out: it looks for each by its digest.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from talm.agent.content.manifests import Image, media_type_of
from talm.agent.transfer.registry import OCI_INDEX
from talm.agent.transfer.spool import storage_errors

# containerd takes an image's whole name from here; from the usual annotation it makes one itself.
IMAGE_NAME: Final = "io.containerd.image.name"

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK: Final = 1 << 20


async def write_archive(
    target: asyncio.StreamWriter,
    image: Image,
    names: Iterable[str],
    blobs: Sequence[tuple[str, Path]],
) -> None:
    """Write the image under `names`, with `blobs` (digest and file).

    Raises AgentError (StoreFailed) when a file cannot be read, OSError when nobody reads.
    """
    await _add(target, "oci-layout", _LAYOUT)
    await _add(target, "index.json", _index(image, names))
    for document in image.documents:
        await _add(target, _place(document.digest), document.body)
    for digest, file in blobs:
        await _add_file(target, _place(digest), file)
    target.write(bytes(2 * tarfile.BLOCKSIZE))
    await target.drain()


def _index(image: Image, names: Iterable[str]) -> bytes:
    top = image.documents[0]
    entries = [
        {
            "mediaType": media_type_of(top),
            "digest": top.digest,
            "size": len(top.body),
            "annotations": {IMAGE_NAME: name},
        }
        for name in names
    ]
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def _place(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


async def _add(target: asyncio.StreamWriter, name: str, content: bytes) -> None:
    target.write(_header(name, len(content)) + content + _padding(len(content)))
    await target.drain()


async def _add_file(target: asyncio.StreamWriter, name: str, file: Path) -> None:
    with storage_errors(file):
        content = await asyncio.to_thread(file.open, "rb")
    with content:
        size = os.fstat(content.fileno()).st_size
        target.write(_header(name, size))
        while chunk := await _read(content, file):
            target.write(chunk)
            await target.drain()
        target.write(_padding(size))
        await target.drain()


async def _read(content: BinaryIO, file: Path) -> bytes:
    with storage_errors(file):
        return await asyncio.to_thread(content.read, _CHUNK)


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)  # its sizes have no bound


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
