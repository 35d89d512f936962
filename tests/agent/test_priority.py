"""In a process of its own: a priority once given up does not come back."""

from __future__ import annotations

import subprocess
import sys

SAYS = """
import ctypes, os, platform
from talm.agent import priority
priority.lower_priority()
number = {"x86_64": 252, "ppc64le": 274, "s390x": 283}.get(platform.machine(), 31)
print(os.getpriority(os.PRIO_PROCESS, 0), ctypes.CDLL(None).syscall(number, 1, 0))
"""


def test_the_process_is_nice_and_idle_on_disks() -> None:
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["19", str(3 << 13)]
