"""CPU time, peak memory and traffic of a process, from the kernel's own accounts (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """`cpu_s`: user and system time; `peak_mb`: the largest resident set so far.

    `read_bytes`, `written_bytes`: by read() and write(), which is how libuv uses sockets, too.
    """

    cpu_s: float = 0.0
    peak_mb: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0

    def __sub__(self, before: Usage) -> Usage:
        return Usage(
            self.cpu_s - before.cpu_s,
            self.peak_mb,
            self.read_bytes - before.read_bytes,
            self.written_bytes - before.written_bytes,
        )


def usage(pid: int) -> Usage:
    """What a process has used since it began; raises FileNotFoundError when it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next((line.split()[1] for line in status if line.startswith("VmHWM")), "0")
    moved = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return Usage(
        (int(fields[11]) + int(fields[12])) / TICKS,
        int(peak) / 1024,
        int(moved["rchar"]),
        int(moved["wchar"]),
    )
