"""CPU time and memory of processes with all their descendants, from /proc (Linux).

A tree's memory is the sum of the proportional set sizes: what processes share counts once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
_EVERY_S: Final = 0.25


@dataclass
class Peaks:
    """In MB (10^6 bytes): the root process's largest resident set, the tree's largest sum."""

    root_mb: float = 0.0
    tree_mb: float = 0.0


def descendants(roots: Collection[int]) -> set[int]:
    """Return the roots and everything below them; what has ended meanwhile is left out."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found = {pid for pid in roots if pid in parents}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process and of its children that have ended; 0: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS


def memory_mb(pid: int) -> tuple[float, float]:
    """A process's resident set and proportional set now; zeros: it is gone, or another user's."""
    sizes: dict[str, float] = {}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size, _ = line.split()
            sizes[name] = int(size) * 1024 / 1e6
    except OSError:
        return 0.0, 0.0
    return sizes.get("Rss:", 0.0), sizes.get("Pss:", 0.0)


@contextlib.asynccontextmanager
async def watched(root: int, others: Collection[int] = ()) -> AsyncIterator[Peaks]:
    """Sample the memory of `root`'s tree and of those of `others` while the context is open."""
    peaks = Peaks()

    async def sample() -> None:
        while True:
            sizes = {pid: memory_mb(pid) for pid in descendants([root, *others])}
            peaks.root_mb = max(peaks.root_mb, sizes.get(root, (0.0, 0.0))[0])
            peaks.tree_mb = max(peaks.tree_mb, sum(pss for _, pss in sizes.values()))
            await asyncio.sleep(_EVERY_S)

    sampling = asyncio.create_task(sample())
    try:
        yield peaks
    finally:
        sampling.cancel()


def kill(root: int) -> None:
    """Kill a process and everything below it, which leaves none of them time for anything."""
    for pid in sorted(descendants([root])):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
