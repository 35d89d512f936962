"""Leaves CPU and disk to others: the node has its real work to do while images come in.

Inherited by the store's program (skopeo, ctr), but not by a runtime that unpacks by itself.  Under
a kubelet the pod's small CPU request decides between pods; niceness where no cgroup does.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

import structlog

log = structlog.get_logger()

NICENESS: Final = 19
# ioprio_set has no wrapper in libc: its number by machine (asm/unistd.h; all newer ones share 30).
_IOPRIO_SET: Final = {"x86_64": 251, "ppc64le": 273, "s390x": 282}
_GENERIC_IOPRIO_SET: Final = 30
_THIS_PROCESS: Final = (1, 0)  # IOPRIO_WHO_PROCESS, self
IDLE: Final = 3 << 13  # IOPRIO_CLASS_IDLE: served when nobody else asks; needs no right


def lower_priority() -> None:
    """Make this process and what it will start nice, and idle on disks whose scheduler knows that.

    A kernel or sandbox that refuses costs nothing but the courtesy: logged, not raised.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        _lower_io()
    except OSError as exc:
        log.warning("priority not lowered", error=str(exc))


def _lower_io() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    number = _IOPRIO_SET.get(platform.machine(), _GENERIC_IOPRIO_SET)
    if libc.syscall(number, *_THIS_PROCESS, IDLE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
