"""One big blob in ranges: what of it is still to be fetched, and who fetches which part.

    partial file ▓▓▓▓▓▓▓▓░░░░░░▓▓▓▓▓▓░░░░░░░░░░   ▓ held: the start, and pieces beyond it
                         └gap──┘     └gap┘└gap┘   each taken by one stream

A range that starts where the partial file ends is appended to it, another one becomes a piece of
its own; pieces join the partial file as soon as it reaches them.  All of it survives a kill.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from talm.agent.content.manifests import Blob
from talm.agent.transfer.spool import Spool


def gaps(
    size: int, prefix: int, pieces: Iterable[tuple[int, int]], at_most: int
) -> Iterator[tuple[int, int]]:
    """Yield what is missing of `size` bytes as (start, end), each `at_most` bytes, in order.

    `pieces`: start and length of what is held beyond the first `prefix` bytes, by start.
    """
    at = prefix
    for start, length in (*pieces, (size, 0)):
        while at < start:
            end = min(at + at_most, start)
            yield at, end
            at = end
        at = max(at, start + length)


class Ranges:
    """The missing ranges of one blob, shared by the streams that bring it."""

    def __init__(self, spool: Spool, blob: Blob, at_most: int) -> None:
        self._spool = spool
        self._digest = blob.digest
        self._taken: set[int] = set()
        spool.join(blob.digest, ())
        held = [(start, piece.stat().st_size) for start, piece in spool.pieces(blob.digest)]
        self._open = deque(gaps(blob.size, spool.prefix(blob.digest), held, at_most))

    @property
    def open(self) -> bool:
        """Whether there is a range that nobody has taken."""
        return bool(self._open)

    @contextlib.contextmanager
    def take(self) -> Iterator[tuple[int, int, Path]]:
        """Give the next range (start, end) and its file to the caller until the block ends.

        One that fails is not given to another: its failure ends the blob's attempt.
        """
        start, end = self._open.popleft()
        self._taken.add(start)
        first = start == self._spool.prefix(self._digest)
        file = (
            self._spool.partial(self._digest) if first else self._spool.piece(self._digest, start)
        )
        try:
            yield start, end, file
        finally:
            self._taken.discard(start)
            self._spool.join(self._digest, self._taken)
