"""Layers as archives: their entries one after the other, read as a stream and never unpacked.

Everything is bounded, since all of it was written by others: bytes unpacked, entries, headers,
paths.  The archive is read here and not by `tarfile`, which has no bound on its extended headers.
Nothing is executed, a path that leaves the layer refuses the layer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import gzip
import importlib
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

_BLOCK: Final = 512
_CHUNK: Final = 1 << 20
_MAX_HEADER: Final = 1 << 20  # a pax header; some hold certificates and access lists
_MAX_PATH: Final = 4096  # as on Linux
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_PAX: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_SPARSE: Final = "GNU.sparse"


def _zstd_module() -> Any:
    """Return the standard library's zstd, which it has from Python 3.14 on; else None."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return None


_ZSTD_MODULE: Final = _zstd_module()
_DAMAGED: Final[tuple[type[Exception], ...]] = (
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    *((_ZSTD_MODULE.ZstdError,) if _ZSTD_MODULE else ()),
)


class BadLayer(Exception):
    """The layer is malformed, too large when unpacked, or tries to leave its place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one layer: bytes when unpacked, entries, and bytes of a file that is read.

    `names`: characters of all paths of one image that are kept in mind.  The defaults are far
    above real images (a node's operating system unpacks to 3 GiB, the largest catalog has files
    of 60 MiB) and far below what ends a node, or a pod that may take 512 MiB.
    """

    unpacked: int = 8 << 30
    entries: int = 1_000_000
    file: int = 128 << 20
    names: int = 32 << 20


class EntryKind(enum.Enum):
    """What an entry is, as far as a reader cares."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


class _Stream:
    """The unpacked bytes of a layer, counted."""

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self._source = source
        self._left = limit

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end.  Raises BadLayer."""
        pieces = []
        while size:
            try:
                piece = self._source.read(min(size, _CHUNK))
            except _DAMAGED as exc:
                raise BadLayer(f"it is damaged: {exc}") from exc
            if not piece:
                break
            self._left -= len(piece)
            if self._left < 0:
                raise BadLayer("it is too large when unpacked")
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def exactly(self, size: int) -> bytes:
        """Return `size` bytes.  Raises BadLayer when there are fewer."""
        found = self.read(size)
        if len(found) != size:
            raise BadLayer("it ends in the middle of an entry")
        return found


class Member:
    """One entry of a layer; its content can be read once, before the next one is asked for."""

    def __init__(self, path: str, kind: EntryKind, size: int, stream: _Stream) -> None:
        self.path = path
        self.kind = kind
        self.size = size
        self._stream = stream
        self._left = size

    def chunks(self) -> Iterator[bytes]:
        """Yield the content that has not been read."""
        while self._left:
            chunk = self._stream.exactly(min(self._left, _CHUNK))
            self._left -= len(chunk)
            yield chunk

    def content(self, limit: int) -> bytes:
        """Return the content.  Raises BadLayer when it is larger than `limit`."""
        if self.size > limit:
            raise BadLayer(f"{self.path} has {self.size} bytes, at most {limit} are read")
        return b"".join(self.chunks())

    def finish(self) -> None:
        """Skip to the next entry."""
        for _ in self.chunks():
            pass
        self._stream.exactly(-self.size % _BLOCK)


def members(layer: Path, limits: Limits) -> Iterator[Member]:
    """Yield what the archive lists, in its order.  Raises BadLayer, and OSError of the disk."""
    with _unpacked(layer) as source:
        stream = _Stream(source, limits.unpacked)
        count = 0
        extended: dict[str, str] = {}
        while (info := _next_header(stream)) is not None:
            count += 1
            if count > limits.entries:
                raise BadLayer(f"it has more than {limits.entries} entries")
            if (more := _extension(info, stream)) is not None:
                extended |= more
                continue
            member = _member(info, extended, stream)
            extended = {}
            yield member
            member.finish()


@contextlib.contextmanager
def _unpacked(layer: Path) -> Iterator[IO[bytes]]:
    with layer.open("rb") as file:
        magic = file.read(len(_ZSTD))
        file.seek(0)
        if magic.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked  # type: ignore[misc]
        elif magic == _ZSTD:
            with _open_zstd(file) as unzstd:
                yield unzstd
        else:
            yield file


def _open_zstd(file: IO[bytes]) -> IO[bytes]:
    if _ZSTD_MODULE is None:
        raise BadLayer("it is compressed with zstd, which needs Python 3.14")
    opened: IO[bytes] = _ZSTD_MODULE.open(file)
    return opened


def _next_header(stream: _Stream) -> tarfile.TarInfo | None:
    """Read one header; None at the end of the archive."""
    block = stream.read(_BLOCK)
    if not block:
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as exc:
        if not block.strip(b"\0") and len(block) == _BLOCK:
            return None
        raise BadLayer(f"it is no tar archive: {exc}") from exc


def _extension(info: tarfile.TarInfo, stream: _Stream) -> dict[str, str] | None:
    """Read what belongs to the next entry: {} when it does not matter, None for a real entry."""
    known = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
    if info.type not in known:
        return None
    if not 0 <= info.size <= _MAX_HEADER:
        raise BadLayer(f"a header of {info.size} bytes")
    body = stream.exactly(info.size)
    stream.exactly(-info.size % _BLOCK)
    if info.type in _PAX:
        return _pax(body)
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": _text(body.rstrip(b"\0"))}
    return {}


def _pax(body: bytes) -> dict[str, str]:
    """Split `LENGTH KEY=VALUE\\n` records."""
    records = {}
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 10)
        digits = body[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = body[space + 1 : max(0, end - 1)].partition(b"=")
        if not space < end <= len(body) or not equals:
            raise BadLayer("a malformed pax header")
        if key in (b"path", b"size"):  # of others there may be more than fits into memory
            records[_text(key)] = _text(value)
        elif key.startswith(_SPARSE.encode()):
            records[_SPARSE] = ""
        at = end
    return records


def _member(info: tarfile.TarInfo, extended: dict[str, str], stream: _Stream) -> Member:
    if info.type == tarfile.GNUTYPE_SPARSE or _SPARSE in extended:
        raise BadLayer("it has sparse files, which are not read")
    size = info.size
    if (said := extended.get("size")) is not None:
        size = int(said) if said.isascii() and said.isdigit() and len(said) < 20 else -1  # noqa: PLR2004
    if size < 0:
        raise BadLayer("an entry of negative size")
    if info.isdir():
        kind = EntryKind.DIRECTORY
    elif info.issym() or info.islnk():
        kind = EntryKind.LINK
    else:
        kind = EntryKind.FILE if info.isreg() else EntryKind.OTHER
    holds = kind is EntryKind.FILE or info.type not in tarfile.SUPPORTED_TYPES
    return Member(_inside(extended.get("path", info.name)), kind, size if holds else 0, stream)


def _inside(path: str) -> str:
    """Return the path without `/` and `./` in front.  Raises BadLayer when it leads out."""
    if len(path) > _MAX_PATH:
        raise BadLayer(f"a path of {len(path)} characters")
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    if ".." in parts or "\0" in path:
        raise BadLayer(f"{path!r} leads out of the layer")
    return "/".join(parts).removeprefix("./")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
