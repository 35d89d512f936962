"""Becomes another program that is killed when its parent ends, however the parent ends.

Run as a script, by path and without site-packages, because it starts in milliseconds that way:

    python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...

Linux only (`prctl`); elsewhere the program starts and outlives a parent that was killed.
The kernel watches the *thread* that started us: start children from a thread that stays.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask for SIGKILL at the parent's end, then become the program."""
    parent = int(arguments[0])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we had asked
            sys.exit("the parent has gone")
    os.execvp(arguments[1], arguments[1:])  # noqa: S606 - this is the whole point


if __name__ == "__main__":
    main(sys.argv[1:])
