"""One container as a local process: started, awaited, ended; it never outlives its node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

from talm.sim.node.podfiles import Launch
from talm.sim.plane.processes import WRAPPER

_MAX_MESSAGE: Final = 4096  # what a kubelet keeps of a termination log
_MAX_TAIL: Final = 2048  # and of the log, with FallbackToLogsOnError


class CannotStart(Exception):
    """The program of the container does not exist."""


class Container:
    """A process in a session of its own, so that all of it can be ended."""

    def __init__(self, launch: Launch, log: Path) -> None:
        self._launch = launch
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process, output appended to the log.  Raises CannotStart."""
        program = self._launch.argv[0]
        if shutil.which(program, path=self._launch.environment.get("PATH")) is None:
            raise CannotStart(f'exec: "{program}": executable file not found in $PATH')
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(WRAPPER), str(os.getpid())),
                *self._launch.argv,
                cwd=self._launch.directory,
                env=self._launch.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Wait for the end; a death by signal N is 128 + N, as a runtime says it."""
        if self._process is None:
            return 0
        code = await self._process.wait()
        self.kill()  # what it left behind dies with it
        return code if code >= 0 else 128 - code

    async def stop(self, grace_s: float) -> int:
        """Ask it to end (SIGTERM), kill it after `grace_s`; returns the exit code."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), grace_s)
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """End all processes of the container at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self, policy: str, code: int) -> str:
        """Read the termination message; the log's end when it is empty and the policy says so."""
        words = self._launch.termination_log.read_bytes()[:_MAX_MESSAGE]
        if not words and code and policy == "FallbackToLogsOnError":
            words = self._log.read_bytes()[-_MAX_TAIL:]
        return words.decode(errors="replace")
