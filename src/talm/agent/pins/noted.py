"""Whose pins a node has: a note beside the spool, for pins that cannot say it themselves.

The run that began last owns all of our pins on the node, those too that it has not got round to
replacing: whoever wants another run's taken back comes too late, and finds nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from talm.agent.content.manifests import Image
from talm.agent.failures import failure
from talm.agent.pins.base import Pins, Verdict
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass

NOTE: Final = ".pins"
LOCK: Final = ".pins.lock"
_PATIENCE_S: Final = 60.0  # a few hundred labels take some seconds
_LOOK_S: Final = 0.1


class NotedPins:
    """`pins`, whose owner is noted in `directory`."""

    def __init__(self, pins: Pins, directory: Path, run: str) -> None:
        self._pins = pins
        self._directory = directory
        self._run = run

    async def expect(self, images: Sequence[Image]) -> None:
        """Become the owner before anything is pinned."""
        async with self._locked():
            self._write(self._run)
            await self._pins.expect(images)

    async def pin(self, image: Image) -> Verdict:
        """See Pins."""
        return await self._pins.pin(image)

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        """See Pins."""
        return await self._pins.conclude(images)

    async def release(self, run: str = "") -> int:
        """See Pins; the note goes with the pins."""
        async with self._locked():
            if run and self._owner() != run:
                return 0
            count = await self._pins.release(run)
            with storage_errors(self._directory):
                (self._directory / NOTE).unlink(missing_ok=True)
            return count

    def _owner(self) -> str:
        with storage_errors(self._directory):
            try:
                return (self._directory / NOTE).read_text().strip()
            except FileNotFoundError:
                return ""

    def _write(self, run: str) -> None:
        with storage_errors(self._directory):
            fresh = self._directory / f"{NOTE}.new"
            fresh.write_text(f"{run}\n")
            fresh.replace(self._directory / NOTE)

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the note.  The spool's own lock is no use: a run has it for hours."""
        with storage_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            give_up_at = time.monotonic() + _PATIENCE_S
            while not _try_lock(lock):
                if time.monotonic() >= give_up_at:
                    text = f"{self._directory / LOCK}: somebody else pins or unpins"
                    raise failure(FailureClass.STORE_FAILED, text)
                await asyncio.sleep(_LOOK_S)
            yield
        finally:
            os.close(lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
