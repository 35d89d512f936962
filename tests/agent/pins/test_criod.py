"""A process that is named as CRI-O is, and a crictl that answers as the real one does."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from pathlib import Path

import pytest

from talm.agent.pins.criod import Crio
from talm.errors import AgentError


def seen(tmp_path: Path, *pids: int) -> Path:
    """A procfs in which only these processes are."""
    processes = tmp_path / "proc"
    processes.mkdir()
    for pid in pids:
        (processes / str(pid)).symlink_to(f"/proc/{pid}")
    return processes


def crictl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    program = tmp_path / "bin" / "crictl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$@\" >'{tmp_path}/asked'\ncat <<'END'\n{answer}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


async def test_the_process_named_crio_is_told_to_read_again(tmp_path: Path) -> None:
    program = tmp_path / "crio"
    shutil.copy(shutil.which("sleep") or "", program)
    named = await asyncio.create_subprocess_exec(str(program), "60")
    other = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        await Crio(processes=seen(tmp_path, named.pid, other.pid)).reload()
        assert await named.wait() == -signal.SIGHUP
        assert other.returncode is None
    finally:
        other.kill()
        await other.wait()


async def test_a_node_without_crio_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no process crio is seen here"):
        await Crio(processes=seen(tmp_path)).reload()


async def test_pinned_names_are_asked_of_crio_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [
        {"id": "1", "repoDigests": ["r/a@sha256:1"], "repoTags": ["r/a:1"], "pinned": True},
        {"id": "2", "repoDigests": ["r/b@sha256:2"], "repoTags": [], "pinned": False},
        {"id": "3", "repoDigests": ["r/c@sha256:3"]},  # an older CRI-O says nothing
    ]
    crictl(tmp_path, monkeypatch, json.dumps({"images": images}))
    assert await Crio().pinned() == {"r/a@sha256:1", "r/a:1"}
    await Crio().pinned("r/a@sha256:1")
    asked = (tmp_path / "asked").read_text().split()
    assert asked[-4:] == ["images", "-o", "json", "r/a@sha256:1"]
    assert "unix:///run/crio/crio.sock" in asked


async def test_a_crictl_that_tells_nothing_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crictl(tmp_path, monkeypatch, "connection refused")
    with pytest.raises(AgentError, match="crictl does not tell of images"):
        await Crio().pinned()
