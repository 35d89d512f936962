"""Runs one long command and shows how far it is: a bar on a terminal, else a line now and then.

Only the number of lines is known of the command (Go prints a package a line); what they say goes
to the log.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

QUIET_S: Final = 15.0  # a CI log shows that something goes on, and stays readable


class Display(Protocol):
    """Told every 0.2 s how many lines there are."""

    def show(self, lines: int) -> None:
        """Show `lines` of the total."""


class Bar:
    """A rich progress bar; without a known total it pulses."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total or None)

    def show(self, lines: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=lines)


class Lines:
    """A line at the start and then every QUIET_S seconds."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._started = self._spoken = time.monotonic()
        print(f"{what} …", flush=True)

    def show(self, lines: int) -> None:
        """Print a line when the last one is old enough."""
        now = time.monotonic()
        if now - self._spoken < QUIET_S:
            return
        self._spoken = now
        of = f" of at most {self._total}" if self._total else ""
        print(f"{self._what}: {lines}{of} packages, {now - self._started:.0f} s", flush=True)


@contextmanager
def display(what: str, total: int) -> Iterator[Display]:
    """Choose bar or lines by what standard output is."""
    console = Console()
    if not console.is_terminal or os.environ.get("CI"):
        yield Lines(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        yield Bar(progress, what, total)


class LineCount:
    """Copies a stream to the log in a thread of its own and counts its lines."""

    def __init__(self, stream: IO[bytes], log: Path) -> None:
        self.lines = 0
        self._stream, self._log = stream, log
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        with self._log.open("ab") as log:
            for line in self._stream:
                log.write(line)
                self.lines += 1

    def join(self) -> int:
        """Wait for the stream's end; returns the number of lines."""
        self._thread.join()
        return self.lines


def run_with_progress(
    command: Sequence[str],
    *,
    what: str,
    log: Path,
    total: int,
    cwd: Path,
    environment: Mapping[str, str],
) -> tuple[int, int]:
    """Run `command`, output to `log`; returns its exit code and the number of lines it printed.

    `total` is the expected number of lines, 0 when it is not known.
    """
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None  # noqa: S101 - asked for one line up
        count = LineCount(process.stdout, log)
        with display(what, total) as shown:
            while process.poll() is None:
                shown.show(count.lines)
                time.sleep(0.2)
        return process.returncode, count.join()
