"""A layer's tar archive, put together again from its unpacked files.

containers/storage keeps what an archive had beside the files (headers, padding) as "tar-split": a
compressed JSON document a line, either some bytes or the name of a file whose content belongs here.
The result is byte for byte what was unpacked; its digest tells whether the files still are.
Format: github.com/vbatts/tar-split, tar/storage/entry.go.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_FILE: Final = 1
_BYTES: Final = 2
_CHUNK: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotThere(Exception):
    """The archive cannot be put together: something is gone or is no longer what it was."""


class _Entry(msgspec.Struct):
    type: int
    payload: str | None = None
    size: int = 0
    name: str = ""
    name_raw: str | None = None


def assemble(split: Path, tree: Path, target: Path) -> str:
    """Write the archive into `target`; returns its sha256 digest, for the caller to compare.

    Nothing is believed but that digest: a name may lead anywhere.  Raises NotThere, OSError.
    """
    hasher = hashlib.sha256()
    with target.open("wb") as archive:
        for chunk in _chunks(split, tree):
            hasher.update(chunk)
            archive.write(chunk)
    return f"sha256:{hasher.hexdigest()}"


def _chunks(split: Path, tree: Path) -> Iterator[bytes]:
    decoder = msgspec.json.Decoder(_Entry)
    try:
        with gzip.open(split) as lines:
            for line in lines:
                entry = decoder.decode(line)
                if entry.type == _BYTES:
                    yield base64.b64decode(entry.payload or "")
                elif entry.type == _FILE and entry.size:
                    yield from _content(tree, entry)
    except (FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise NotThere(f"{split}: {exc}") from exc
    except (msgspec.MsgspecError, binascii.Error) as exc:
        raise NotThere(f"{split} is damaged: {exc}") from exc


def _content(tree: Path, entry: _Entry) -> Iterator[bytes]:
    name = base64.b64decode(entry.name_raw) if entry.name_raw else entry.name.encode()
    try:
        descriptor = os.open(os.path.join(os.fsencode(tree), name.lstrip(b"/")), _READ)
    except (OSError, ValueError) as exc:
        raise NotThere(f"{tree}: {name!r} is gone: {exc}") from exc
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
        os.close(descriptor)
        raise NotThere(f"{tree}: {name!r} is another file by now")
    with open(descriptor, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
