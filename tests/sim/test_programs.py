"""The programs of synthetic images, run on this machine."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from talm.sim import programs

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="programs for x86-64")


def written(path: Path, program: bytes) -> str:
    path.write_bytes(program)
    path.chmod(0o755)
    return str(path)


def test_a_program_says_its_text_and_succeeds(tmp_path: Path) -> None:
    text = "x" * 300 + "\n"
    program = written(tmp_path / "says", programs.says(text))
    done = subprocess.run([program], capture_output=True, check=True)
    assert done.stdout.decode() == text


def test_a_program_that_sleeps_ends_by_a_signal_only(tmp_path: Path) -> None:
    sleeping = subprocess.Popen([written(tmp_path / "sleeps", programs.sleeps())])
    with pytest.raises(subprocess.TimeoutExpired):
        sleeping.wait(0.3)
    sleeping.terminate()
    assert sleeping.wait() == -15
