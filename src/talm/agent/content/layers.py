"""Layers as archives: which files a stack of them shows, read as a stream and never unpacked.

    top layer ──► what it hides ──► next layer ──► … until nothing below can be seen any more

Everything is bounded, since all of it was written by others: bytes unpacked, entries, headers.
The archive is read here and not by `tarfile`, which has no bound on its extended headers.  Links
are not followed, a path that leaves the layer refuses the layer, nothing is executed.
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
from typing import IO, Final

_BLOCK: Final = 512
_CHUNK: Final = 1 << 20
_MAX_HEADER: Final = 1 << 20  # a path or pax record; Linux itself ends at 4 KiB
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_PAX: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


class BadLayer(Exception):
    """The layer is malformed, too large when unpacked, or tries to leave its place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one layer: bytes when unpacked, entries, and bytes of a file that is read.

    The defaults are far above real images (a node's operating system unpacks to 3 GiB, the
    largest catalog has files of 60 MiB) and far below what ends a node.
    """

    unpacked: int = 8 << 30
    entries: int = 1_000_000
    file: int = 128 << 20


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
            except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
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


class Overlay:
    """What upper layers hide of the lower ones, at and below `root`; layers come from the top."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._hidden: set[str] = set()  # the path and all below
        self._opaque: set[str] = set()  # all below, not the path
        self._directories: set[str] = set()  # hides what is no directory there

    @property
    def is_closed(self) -> bool:
        """Whether no lower layer can show anything any more."""
        ways = set(_ways(self.root))
        return bool(ways & self._hidden or ways & self._opaque)

    def visible(self, layer: Path, limits: Limits) -> Iterator[Member]:
        """Yield the files of the next lower layer that are at or below the root and not hidden.

        Raises BadLayer, also for a link in a place that is looked at.
        """
        below = Overlay(self.root)
        listed: set[str] = set()
        for member in members(layer, limits):
            if not self._concerns(member.path):
                continue
            if _is_whiteout(member.path):
                below._hide(member.path)
                continue
            if self._hides(member):
                continue
            below._note(member)
            if member.kind is EntryKind.LINK:
                raise BadLayer(f"{member.path} is a link, which is not followed")
            at_or_below = f"{member.path}/".startswith(f"{self.root}/")
            if member.kind is EntryKind.FILE and at_or_below:
                if member.path in listed:
                    raise BadLayer(f"it lists {member.path} twice")
                listed.add(member.path)
                yield member
        self._hidden |= below._hidden
        self._opaque |= below._opaque
        self._directories |= below._directories

    def _concerns(self, path: str) -> bool:
        """Tell whether an entry can matter: at, below or above the root, or a whiteout there."""
        if _is_whiteout(path):
            where, _, name = path.rpartition("/")
            path = where if name == _OPAQUE else _whited(path)
        root = self.root
        return path in ("", root) or path.startswith(f"{root}/") or root.startswith(f"{path}/")

    def _hides(self, member: Member) -> bool:
        ways = _ways(member.path)
        if any(way in self._hidden for way in ways) or any(w in self._opaque for w in ways[:-1]):
            return True
        return member.kind is not EntryKind.DIRECTORY and member.path in self._directories

    def _hide(self, path: str) -> None:
        where, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._opaque.add(where)
        elif not name.startswith(".wh..wh."):  # aufs' own bookkeeping
            self._hidden.add(_whited(path))

    def _note(self, member: Member) -> None:
        if member.kind is EntryKind.DIRECTORY:
            self._directories.add(member.path)
        else:
            self._hidden.add(member.path)
            # Archives may leave out directories: a file implies those above it.
            self._directories.update(_ways(member.path)[:-1])


def _ways(path: str) -> tuple[str, ...]:
    """Return "" (the root of all), then every directory down to `path` itself."""
    parts = path.split("/") if path else []
    return "", *("/".join(parts[: n + 1]) for n in range(len(parts)))


def _is_whiteout(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_WHITEOUT)


def _whited(path: str) -> str:
    where, slash, name = path.rpartition("/")
    return f"{where}{slash}{name.removeprefix(_WHITEOUT)}"


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
    """Decompress with the standard library, which knows zstd from Python 3.14 on."""
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError as exc:
        raise BadLayer("it is compressed with zstd, which needs Python 3.14") from exc
    opened: IO[bytes] = zstd.open(file)
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
        records[_text(key)] = _text(value)
        at = end
    return records


def _member(info: tarfile.TarInfo, extended: dict[str, str], stream: _Stream) -> Member:
    if info.type == tarfile.GNUTYPE_SPARSE or any(k.startswith("GNU.sparse") for k in extended):
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
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    if ".." in parts or "\0" in path:
        raise BadLayer(f"{path!r} leads out of the layer")
    return "/".join(parts).removeprefix("./")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
