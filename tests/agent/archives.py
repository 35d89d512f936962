"""Layers as tests want them: files, whiteouts, links, and what no honest builder writes."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

Content = bytes | tuple[bytes, str]  # the content of a file, or (tar's type, link target)

LINK = tarfile.SYMTYPE
HARD_LINK = tarfile.LNKTYPE
DIRECTORY = tarfile.DIRTYPE
FIFO = tarfile.FIFOTYPE


def tar(files: Mapping[str, Content], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive with the entries in the order given."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = content
                archive.addfile(entry)
    return target.getvalue()


def layer(directory: Path, files: Mapping[str, Content], name: str = "layer") -> Path:
    """A gzip-compressed layer on disk."""
    file = directory / name
    file.write_bytes(gzip.compress(tar(files), mtime=0))
    return file
