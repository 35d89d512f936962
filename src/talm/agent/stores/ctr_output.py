"""What `ctr` prints, read: pure.

Its tables have a line of titles, and columns that may be empty at their end.
"""

from __future__ import annotations

import re
from typing import Final

_REFERS_TO: Final = re.compile(r"containerd\.io/gc\.ref\.content\b[^=,]*=([a-z0-9]+:[a-f0-9]+)")
_DIGEST_COLUMN: Final = 2  # REF TYPE DIGEST …


def unpacked(check: str) -> dict[str, str]:
    """Return the digest by name of the unpacked images in what `images check` prints.

    REF TYPE DIGEST STATUS SIZE UNPACKED; layers may be gone after unpacking, so the last column
    counts and not the status.
    """
    rows = [line.split() for line in check.splitlines()[1:]]
    return {
        row[0]: row[_DIGEST_COLUMN]
        for row in rows
        if len(row) > _DIGEST_COLUMN + 1 and row[-1] == "true"
    }


def kept_blobs(content: str, images: str) -> frozenset[str]:
    """Return the digests that are there to stay: those that an image leads to.

    From what `content ls` and `images ls` print.  Others may be gone at any moment: containerd's
    garbage collection takes what neither an image nor a lease holds, and the lease of an import ends
    with it, or a day after it was cut off (docs/garbage-collection.md of containerd).
    """
    refers_to = {row[0]: _REFERS_TO.findall(line) for line, row in _rows(content)}
    found: set[str] = set()
    todo = [row[_DIGEST_COLUMN] for _, row in _rows(images) if len(row) > _DIGEST_COLUMN]
    while todo:
        digest = todo.pop()
        if digest in refers_to and digest not in found:
            found.add(digest)
            todo += refers_to[digest]
    return frozenset(found)


def server_version(text: str) -> tuple[int, ...]:
    """Return major and minor of the server from what `version` prints; () when not found."""
    _, _, server = text.partition("Server:")
    found = re.search(r"Version:\s*v?(\d+)\.(\d+)", server)
    return (int(found[1]), int(found[2])) if found else ()


def _rows(table: str) -> list[tuple[str, list[str]]]:
    return [(line, row) for line in table.splitlines()[1:] if (row := line.split())]
