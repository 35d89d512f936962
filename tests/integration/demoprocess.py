"""`talm demo` as a person starts it: a process, whose output is read and which may be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import skip_without, skip_without_program

PATIENCE_S = 240.0


class Demo:
    """`talm demo ARGUMENTS`, with everything that it writes below `directory`."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        skip_without(own=True)
        skip_without_program("registry")
        self.directory = directory
        self.file = directory / "output.txt"
        environment = {**os.environ, "TMPDIR": str(directory), "KUBECONFIG": "/none/of/its/matter"}
        with self.file.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "talm", "demo", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.file.read_text(errors="replace")

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait(30)
            raise AssertionError(f"it has not ended:\n{self.output}") from None

    def wait_for(self, text: str) -> None:
        """Wait until it has printed `text`."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.output:
            assert self.process.poll() is None, f"it has ended before {text!r}:\n{self.output}"
            assert time.monotonic() < deadline, f"it has not printed {text!r}:\n{self.output}"
            time.sleep(0.1)

    def interrupt(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def processes_left(self) -> list[str]:
        """What still runs after its end; a killed process may take a moment to go."""
        deadline = time.monotonic() + 10.0
        while (found := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def processes(self) -> list[str]:
        """Command lines of everything that runs in its directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.directory) in str((process / "cwd").readlink()):
                    words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(words.decode(errors="replace"))
            except OSError:
                continue  # it has ended meanwhile
        return found

    def files_left(self) -> list[str]:
        """Files of its own that are still there."""
        made = (p for p in self.directory.glob("talm-demo-*/**/*") if p.is_file())
        return sorted(p.name for p in made)
