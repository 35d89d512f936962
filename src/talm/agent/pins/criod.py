"""The CRI-O that runs on a node: told to reload by signal, asked through the node's `crictl`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from talm.agent.failures import failure
from talm.agent.stores.tools import run
from talm.api.progress import FailureClass

SOCKET: Final = "unix:///run/crio/crio.sock"
_PROGRAM: Final = "crio"
_REPLACED: Final = " (deleted)"  # its file, by an update of the node
_ROOT: Final = Path("/")
_PROCESSES: Final = Path("/proc")


class _Image(msgspec.Struct, rename="camel"):
    repo_digests: list[str] | None = None
    repo_tags: list[str] | None = None
    pinned: bool = False


class _Images(msgspec.Struct):
    images: list[_Image] = []


class Crio:
    """CRI-O of the node whose root is at `root`.

    `processes` is a procfs that shows it: a pod must be in the node's process namespace.
    """

    def __init__(self, root: Path = _ROOT, processes: Path = _PROCESSES) -> None:
        self._root = root
        self._processes = processes

    async def reload(self) -> None:
        """Send SIGHUP, on which CRI-O reads its configuration again.

        Raises AgentError (StoreFailed) when no such process is seen.
        """
        found = [pid for pid in self._pids() if _signalled(pid, self._processes)]
        if not found:
            raise failure(
                FailureClass.STORE_FAILED,
                f"no process {_PROGRAM} is seen here, so that it reads nothing again",
            )

    async def pinned(self, name: str = "") -> frozenset[str]:
        """See Runtime.  Raises AgentError (StoreFailed) when crictl is missing or gets no answer."""
        chroot = () if self._root == _ROOT else ("chroot", str(self._root))
        asked = ("--runtime-endpoint", SOCKET, "--image-endpoint", SOCKET, "images", "-o", "json")
        answer = await run(*chroot, "crictl", *asked, *([name] if name else []))
        try:
            images = msgspec.json.decode(answer, type=_Images).images
        except msgspec.MsgspecError as exc:
            text = f"crictl does not tell of images: {exc}"
            raise failure(FailureClass.STORE_FAILED, text) from exc
        pinned = [image for image in images if image.pinned]
        return frozenset(n for i in pinned for n in (*(i.repo_digests or ()), *(i.repo_tags or ())))

    def _pids(self) -> Iterator[int]:
        for entry in self._processes.iterdir():
            if entry.name.isdecimal() and _is_crio(entry):
                yield int(entry.name)


def _is_crio(process: Path) -> bool:
    """Whether a process is CRI-O: by its name, and by the program that it runs."""
    try:
        program = Path(os.readlink(process / "exe").removesuffix(_REPLACED)).name
        return program == _PROGRAM == (process / "comm").read_text().strip()
    except OSError:
        return False


def _signalled(pid: int, processes: Path) -> bool:
    """Signal the process; False when it has ended, its number being somebody else's by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _is_crio(processes / str(pid)):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGHUP)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
