"""An OCI image layout: a directory that podman, skopeo and ctr read, written without privileges.

    oci-layout                    the version of the format
    index.json                    one descriptor per image, named by an annotation
    blobs/sha256/HEX              manifests, configs, layers

A blob is renamed into its place when it is whole; `index.json` is replaced last, so that an image
that it lists is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from talm.agent.content.manifests import Blob, Image, media_type_of
from talm.agent.failures import failure
from talm.agent.transfer.registry import OCI_INDEX
from talm.agent.transfer.spool import Spool, file_digest, storage_errors
from talm.api.progress import FailureClass

REF_NAME: Final = "org.opencontainers.image.ref.name"
_LOCK: Final = ".index.lock"
_STALE_S: Final = 24 * 3600.0  # longer than a blob is copied from one disk to another
_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


class OciLayout:
    """The store in one directory; several processes may write to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._verified: set[str] = set()

    @property
    def directory(self) -> Path:
        """The layout's directory."""
        return self._directory

    async def prepare(self) -> None:
        """Make an empty layout, or accept the one that is there."""
        self.create()

    def create(self) -> None:
        """Make an empty layout, or accept the one that is there."""
        with storage_errors(self._directory):
            (self._directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            if not (self._directory / "oci-layout").exists():
                _write(self._directory / "oci-layout", _LAYOUT)
            self._sweep()

    def _sweep(self) -> None:
        """Remove what a process that was killed has half written; others may be writing now."""
        for file in (*self._directory.glob(".*"), *self._directory.glob("blobs/*/.*")):
            if (
                file.name != _LOCK
                and file.is_file()
                and time.time() - file.stat().st_mtime > _STALE_S
            ):
                file.unlink(missing_ok=True)

    def blob_file(self, digest: str) -> Path:
        """Where the blob is, or will be."""
        algorithm, _, encoded = digest.partition(":")
        return self._directory / "blobs" / algorithm / encoded

    async def missing(self, image: Image) -> tuple[Blob, ...]:
        """Return the blobs that are absent or damaged; a damaged file is removed."""
        return tuple([b for b in image.blobs if not await self._holds(b.digest, b.size)])

    async def blob(self, blob: Blob, scratch: Path) -> Path | None:
        """Return the blob's file when it is there and intact."""
        return self.blob_file(blob.digest) if await self._holds(blob.digest, blob.size) else None

    async def put(self, image: Image, spool: Spool) -> None:
        """Move the missing blobs in, then the documents, then the entry of `index.json`."""
        absent = await self.missing(image)
        with storage_errors(self._directory):
            for blob in absent:
                if blob.digest in self._verified:
                    continue  # another image brought it while this one was being looked at
                _move(spool.whole(blob.digest), self.blob_file(blob.digest))
                self._verified.add(blob.digest)
            for document in image.documents:
                _write(self.blob_file(document.digest), document.body)
            await asyncio.to_thread(self._list, image)

    def import_directory(self, spool: Path) -> Path | None:
        """Return None: blobs are moved."""
        return None

    async def has(self, image: Image) -> bool:
        """Tell whether `index.json` lists the image and all of it is there, hashed anew."""
        self._verified.clear()
        with storage_errors(self._directory):
            listed = any(_names(entry, image) for entry in self._read_index()["manifests"])
        for document in image.documents:
            if not await self._holds(document.digest, len(document.body)):
                return False
        return listed and not await self.missing(image)

    async def _holds(self, digest: str, size: int) -> bool:
        """Hash each blob once per question that matters: at the start, and again in `has`."""
        if digest in self._verified:
            return True
        file = self.blob_file(digest)
        with storage_errors(file):
            if not file.exists():
                return False
            if file.stat().st_size != size or digest != await file_digest(
                file, digest.partition(":")[0]
            ):
                file.unlink(missing_ok=True)
                return False
        self._verified.add(digest)
        return True

    def _list(self, image: Image) -> None:
        top = image.documents[0]
        entry = {
            "mediaType": media_type_of(top),
            "digest": top.digest,
            "size": len(top.body),
            "annotations": {REF_NAME: str(image.reference)},
        }
        with self._locked():
            index = self._read_index()
            others = [e for e in index["manifests"] if _ref_name(e) != str(image.reference)]
            index["manifests"] = [*others, entry]
            _write(self._directory / "index.json", msgspec.json.encode(index))

    def _read_index(self) -> dict[str, Any]:
        file = self._directory / "index.json"
        if not file.exists():
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        try:
            index = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except msgspec.MsgspecError as exc:
            raise failure(FailureClass.STORE_FAILED, f"{file} is damaged: {exc}") from exc
        if not isinstance(index.get("manifests"), list):
            raise failure(FailureClass.STORE_FAILED, f"{file} is no image index")
        return index

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from rewriting `index.json`; held for one small file's time."""
        with (self._directory / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _ref_name(entry: dict[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get(REF_NAME, ""))


def _names(entry: dict[str, Any], image: Image) -> bool:
    return _ref_name(entry) == str(image.reference) and entry.get("digest") == image.digest


def _move(source: Path, target: Path) -> None:
    """Rename, or copy and rename when the spool is on another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        beside = target.with_name(f".{target.name}.copy")
        shutil.copyfile(source, beside)
        beside.replace(target)
        source.unlink(missing_ok=True)


def _write(file: Path, content: bytes) -> None:
    """Replace `file` at one moment; a crash leaves the old one or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
