"""Blobs on their way: partial files that survive a killed run, whole ones that await their store.

A file called `….partial` may hold anything, and so may its pieces `….partial-OFFSET`, which go on
beyond its end; one without the suffix has been verified against its digest.  The directory belongs
to one run at a time (a lock that ends with the process).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Final

from talm.agent.failures import failure, invalid_spec
from talm.api.progress import FailureClass

_CHUNK: Final = 4 << 20
_LOCK_LOOK_S: Final = 0.5
_LOCK: Final = ".lock"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_BLOB: Final = re.compile(r"sha(?:256|512)-[a-f0-9]+(?:\.partial(?:-[0-9]+)?)?")


def is_blob(name: str) -> bool:
    """Tell whether a file of this name in a spool is a blob or a part of one."""
    return _BLOB.fullmatch(name) is not None


@contextlib.contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn a failure to write or read below `place` into InsufficientSpace or StoreFailed."""
    try:
        yield
    except OSError as exc:
        kind = FailureClass.INSUFFICIENT_SPACE if exc.errno in _FULL else FailureClass.STORE_FAILED
        raise failure(kind, f"{place}: {exc.strerror or exc}") from exc


async def file_digest(file: Path, algorithm: str) -> str:
    """Return `algorithm:hex` of a file, in pieces, so that a signal is not kept waiting."""
    hasher = hashlib.new(algorithm)
    with file.open("rb") as content:
        while chunk := await asyncio.to_thread(content.read, _CHUNK):
            await asyncio.to_thread(hasher.update, chunk)
    return f"{algorithm}:{hasher.hexdigest()}"


class Spool:
    """One directory with a file per blob."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def whole(self, digest: str) -> Path:
        """Where a verified blob is, or will be."""
        return self.directory / digest.replace(":", "-")

    def partial(self, digest: str) -> Path:
        """Where a blob grows."""
        return self.directory / f"{digest.replace(':', '-')}.partial"

    def held(self, digest: str) -> int:
        """How many bytes of the blob are here, whole or in part."""
        if whole := _size(self.whole(digest)):
            return whole
        end = total = self.prefix(digest)
        for start, file in self.pieces(digest):
            beyond = start + _size(file)
            total += max(0, beyond - max(start, end))
            end = max(end, beyond)
        return total

    def prefix(self, digest: str) -> int:
        """How many bytes the partial file has, from the blob's first on."""
        return _size(self.partial(digest))

    def piece(self, digest: str, start: int) -> Path:
        """Where a part of the blob grows that begins at `start`, beyond the partial file."""
        partial = self.partial(digest)
        return partial.with_name(f"{partial.name}-{start}")

    def pieces(self, digest: str) -> list[tuple[int, Path]]:
        """Return the pieces that are here, by where they begin."""
        name = f"{self.partial(digest).name}-"
        files = [(f.name.removeprefix(name), f) for f in self.directory.glob(f"{name}*")]
        return sorted((int(start), file) for start, file in files if start.isdecimal())

    def join(self, digest: str, growing: Collection[int]) -> None:
        """Append to the partial file every piece that it has reached and that is not `growing`.

        A process that was killed in between has appended a part: the rest follows.
        """
        partial = self.partial(digest)
        for start, file in self.pieces(digest):
            with storage_errors(file):
                held = _size(partial)
                if start > held or start in growing:
                    return
                with file.open("rb") as source, partial.open("ab") as target:
                    source.seek(held - start)
                    shutil.copyfileobj(source, target, _CHUNK)
                file.unlink()

    def keep(self, digest: str) -> None:
        """Declare the partial file whole; the caller has verified it."""
        self.partial(digest).replace(self.whole(digest))

    def drop(self, digest: str) -> None:
        """Remove what is here of the blob."""
        self.whole(digest).unlink(missing_ok=True)
        self.partial(digest).unlink(missing_ok=True)
        self.drop_pieces(digest)

    def drop_pieces(self, digest: str) -> None:
        """Remove what is here beyond the partial file."""
        for _, file in self.pieces(digest):
            file.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def locked(self, patience_s: float) -> AsyncIterator[None]:
        """Create the directory and hold it for this run.

        An earlier run that is being ended still holds it for a moment: waited for, `patience_s`
        at most.  Raises AgentError: StoreFailed after that, or when it cannot be made; InvalidSpec for
        a directory of somebody else.
        """
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._check_ours()
            lock = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            give_up_at = time.monotonic() + patience_s
            while not _try_lock(lock):
                if time.monotonic() >= give_up_at:
                    raise failure(
                        FailureClass.STORE_FAILED, f"{self.directory}: another run works here"
                    )
                await asyncio.sleep(_LOCK_LOOK_S)
            yield
        finally:
            os.close(lock)

    def _check_ours(self) -> None:
        """Refuse a directory with other files: whatever is in a spool is removed in the end."""
        names = sorted(os.listdir(self.directory))
        others = [name for name in names if not (name.startswith(".") or is_blob(name))]
        if others and _LOCK not in names:
            raise invalid_spec(
                f"{self.directory} is no spool: it holds {others[0]!r}, and all that is in a spool is removed"
            )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
