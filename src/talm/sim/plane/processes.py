"""One child process: started so that it cannot outlive us, its output kept, its end noticed.

Bound to no event loop, so that a fixture of one loop and a test in another can share it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from talm.errors import SetupError

POLL_S: Final = 0.02
LAST_LINES: Final = 12

Progress = Callable[[str], None]


def say_nothing(_line: str) -> None:
    """Swallow progress."""


WRAPPER: Final = Path(__file__).with_name("die_with_parent.py")


class Child:
    """A program that runs in a session of its own (Ctrl-C is ours alone) and dies with us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._cwd = cwd
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 when it was never started."""
        return self._process.pid if self._process else 0

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended, minus the number of a signal; None while it runs or was never started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it; output is appended to the log."""
        wrapper = [sys.executable, "-I", "-S", str(WRAPPER)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*wrapper, str(os.getpid()), *self._command],
                cwd=self._cwd,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise SetupError with the end of the log when it does not run any more."""
        if self._process is None or self.runs:
            return
        code = self._process.returncode
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        raise SetupError(f"{self.name} ended with {how}; {self.excerpt()}")

    def excerpt(self) -> str:
        """The log's name and its last lines, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        except OSError:
            lines = []
        return "\n  ".join([f"its log is {self.log}" + (":" if lines else ""), *lines])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless it has ended."""
        if self._process is not None and self.runs:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once and wait for that; safe to call in any state."""
        if self._process is not None and self.runs:
            self._process.kill()
            self._process.wait()

    async def stop(self, *, patience_s: float = 10.0) -> None:
        """Ask it to end and wait; after `patience_s` kill it."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while self.runs and time.monotonic() < deadline:  # noqa: ASYNC110 - bound to no loop
            await asyncio.sleep(POLL_S)
        self.kill()


async def wait_until(
    true: Callable[[], Awaitable[bool]],
    children: Sequence[Child],
    *,
    what: str,
    timeout_s: float = 120.0,
    progress: Progress = say_nothing,
) -> None:
    """Wait until `true()`; raises SetupError when a child ends or the time runs out.

    120 s: a start takes 3 s on an idle machine; thirty starts at once on two cores still pass.
    """
    started = spoken = time.monotonic()
    while not await true():
        for child in children:
            child.check()
        now = time.monotonic()
        if now - started > timeout_s:
            excerpts = "\n".join(f"{child.name}: {child.excerpt()}" for child in children)
            raise SetupError(f"{what}: nothing after {timeout_s:.0f} s\n{excerpts}")
        if now - spoken >= 5.0:  # noqa: PLR2004 - a line now and then shows that it goes on
            spoken = now
            progress(f"{what}: {now - started:.0f} s")
        await asyncio.sleep(POLL_S)
