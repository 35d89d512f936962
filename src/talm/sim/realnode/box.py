"""The box in which a node lives: processes and a view of the file system of its own.

    hold ── unshare ──► process 1 ──► mounts, then reaps what it inherits
    enter ─ setns ────► a program in there; what `enter` is told (SIGTERM), the program is told

    python -m talm.sim.realnode.box hold BOX                      BOX: JSON, see `Box`
    python -m talm.sim.realnode.box enter PID PROGRAM ARGUMENT...  PID: of process 1, out here

Containers outlive containerd, and mounts outlive whoever made them; nothing outlives the box.  Its
processes die with process 1, that one with its holder, that one with whoever started it; mounts
and network namespaces belong to the box's own mount namespace.  Only cgroups are everybody's: the
holder removes them, and where it was killed the next holder does.  The network is the machine's.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

CGROUP_PREFIX: Final = "talm-node-"

_CGROUPS: Final = Path("/sys/fs/cgroup")
_NEW_MOUNTS: Final = 0x00020000  # CLONE_NEWNS
_NEW_PROCESSES: Final = 0x20000000  # CLONE_NEWPID
_BIND_ALL: Final = 0x1000 | 0x4000  # MS_BIND | MS_REC
_PRIVATE: Final = 0x40000 | 0x4000  # MS_PRIVATE | MS_REC
_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG
_REMOVAL_S: Final = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """What is different inside.

    `binds`: path inside -> what of the machine is seen there.  `disks`: path inside -> MiB of an
    empty file system in memory.  Both are mounted in their order, binds first.
    `first`: a file that is written once all is there, with the pid of process 1.
    """

    binds: Mapping[str, str]
    disks: Mapping[str, int]
    first: str


def cgroup_of(holder: int) -> str:
    """The name of the cgroup, below the root of each hierarchy, that a holder makes and removes."""
    return f"{CGROUP_PREFIX}{holder}"


def hold(box: Box) -> int:
    """Make the box and keep it until SIGTERM, or until its process 1 has ended."""
    _end_with_parent(signal.SIGTERM)  # and not by SIGKILL: there are cgroups to remove
    sweep_cgroups()
    name = cgroup_of(os.getpid())
    for root in cgroup_roots():
        (root / name).mkdir(exist_ok=True)
    try:
        _call("unshare", _NEW_MOUNTS | _NEW_PROCESSES)
        ready, tell = os.pipe()
        first = os.fork()
        if first == 0:
            _be_first(box, tell)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
        os.close(tell)
        if os.read(ready, 1):
            written = Path(f"{box.first}.new")
            written.write_text(str(first))
            written.rename(box.first)
        return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    finally:
        for root in cgroup_roots():
            remove_cgroup(root / name)


def _be_first(box: Box, tell: int) -> NoReturn:
    """Lay out the file system, say so, and wait to be killed."""
    _end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans end up here; they are reaped so
    try:
        _call("mount", None, b"/", None, _PRIVATE, None)
        _call("mount", b"proc", b"/proc", b"proc", 0, None)
        for inside, source in box.binds.items():
            _call("mount", source.encode(), inside.encode(), None, _BIND_ALL, None)
        for inside, mib in box.disks.items():
            size = f"size={mib}m,mode=755".encode()
            _call("mount", b"tmpfs", inside.encode(), b"tmpfs", 0, size)
    except OSError as exc:
        print(exc, file=sys.stderr, flush=True)  # noqa: T201 - the holder's log
        os._exit(1)
    os.write(tell, b"!")
    while True:
        signal.pause()


def enter(first: int, command: Sequence[str]) -> int:
    """Run a program in the box and return its exit code; it is killed when this process ends."""
    with (
        open(f"/proc/{first}/ns/pid", "rb") as processes,
        open(f"/proc/{first}/ns/mnt", "rb") as fs,
    ):
        for namespace in (processes, fs):  # both were opened first: inside, /proc is another one
            _call("setns", namespace.fileno(), 0)
    child = os.fork()  # only children are in the other process namespace
    if child == 0:
        _end_with_parent(signal.SIGKILL)
        try:
            os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted
        except OSError as exc:
            print(f"{command[0]}: {exc.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def cgroup_roots() -> Iterator[Path]:
    """Yield the root of each hierarchy: many in version 1 of cgroups, one in version 2."""
    if (_CGROUPS / "cgroup.controllers").exists():
        yield _CGROUPS
        return
    for root in _CGROUPS.iterdir():
        if (root / "cgroup.procs").exists() and not root.is_symlink():
            yield root


def sweep_cgroups() -> None:
    """Remove what holders have left that were killed."""
    for root in cgroup_roots():
        for left in root.glob(f"{CGROUP_PREFIX}*"):
            if not Path("/proc", left.name.removeprefix(CGROUP_PREFIX)).exists():
                remove_cgroup(left)


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup and those below it; their processes may still be dying."""
    deadline = time.monotonic() + _REMOVAL_S
    for path, _, _ in os.walk(cgroup, topdown=False):
        while True:
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
            break


def _end_with_parent(number: signal.Signals) -> None:
    _call("prctl", _DEATH_SIGNAL, int(number))


def _call(name: str, *arguments: object) -> None:
    """Make a system call.  Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    match arguments:
        case ["hold", box]:
            code = hold(Box(**json.loads(box)))
        case ["enter", first, *command] if command:
            code = enter(int(first), command)
        case _:
            return 2
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
