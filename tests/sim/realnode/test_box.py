"""Namespaces of a node: what is inside stays inside, and all of it goes however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from talm.sim.plane.processes import Child, wait_until
from talm.sim.realnode import box

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces take root's rights")

MODULE = [sys.executable, "-m", "talm.sim.realnode.box"]
# Starts its arguments as programs that die with it, and waits to be killed.
PARENT = """\
import pathlib, signal, sys
from talm.sim.plane.processes import Child
here = pathlib.Path(sys.argv[1])
Child("holder", sys.argv[2:], log=here / "log", cwd=here).start()
signal.pause()
"""


def hold(directory: Path) -> list[str]:
    """A box with a /var/lib, a /run and a sysctl of its own."""
    (directory / "lib/disk").mkdir(parents=True)
    (directory / "panic").write_text("7\n")
    described = {
        "binds": {
            "/var/lib": str(directory / "lib"),
            "/proc/sys/kernel/panic": str(directory / "panic"),
        },
        "disks": {"/run": 4, "/var/lib/disk": 4},
        "first": str(directory / "first"),
    }
    return [*MODULE, "hold", json.dumps(described)]


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Child]:
    child = Child("holder", hold(tmp_path), log=tmp_path / "log", cwd=tmp_path)
    child.start()
    try:
        await first_of(tmp_path, child)
        yield child
    finally:
        await child.stop()


async def first_of(directory: Path, *children: Child) -> int:
    async def there() -> bool:
        return (directory / "first").exists()

    await wait_until(there, children, what="waiting for the box")
    return int((directory / "first").read_text())


async def eventually(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - processes set no event
        await asyncio.sleep(0.02)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MODULE, *command], capture_output=True, text=True, check=False)


def inside(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    return run("enter", (directory / "first").read_text(), "sh", "-c", script)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def machine() -> tuple[str, list[str]]:
    return Path("/proc/sys/kernel/panic").read_text(), os.listdir("/run")


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def cgroups(holder: int) -> list[Path]:
    there = (root / box.cgroup_of(holder) for root in box.cgroup_roots())
    return [path for path in there if path.exists()]


async def test_what_is_changed_inside_is_not_changed_on_the_machine(
    held: Child, tmp_path: Path
) -> None:
    before = machine()
    script = "cd /var/lib/disk && touch file /run/file; echo 9 >/proc/sys/kernel/panic; ls /var/lib"
    assert inside(tmp_path, script).stdout == "disk\n"
    assert machine() == before
    assert (tmp_path / "panic").read_text() == "9\n"
    assert str(tmp_path) not in mounts()


async def test_a_program_is_told_to_end_and_says_how_it_did(held: Child, tmp_path: Path) -> None:
    assert inside(tmp_path, "exit 7").returncode == 7
    first = await first_of(tmp_path)
    script = "trap 'exit 5' TERM; touch /var/lib/ready; while :; do sleep 0.1; done"
    command = [*MODULE, "enter", str(first), "sh", "-c", script]
    entered = Child("program", command, log=tmp_path / "program.log", cwd=tmp_path)
    entered.start()
    await eventually((tmp_path / "lib/ready").exists)
    await entered.stop()
    assert entered.exit_code == 5


async def test_everything_goes_with_the_holder(held: Child, tmp_path: Path) -> None:
    inside(tmp_path, "sleep 1000 >/dev/null 2>&1 & mkdir -p /run/left")
    first = await first_of(tmp_path)
    assert cgroups(held.pid)
    (root, *_) = cgroups(held.pid)
    (root / "pods").mkdir()
    await held.stop()
    assert not alive(first)
    assert not cgroups(held.pid)


async def test_everything_goes_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), *hold(tmp_path)]
    with subprocess.Popen(command) as parent:  # noqa: ASYNC220 - it starts at once
        first = await first_of(tmp_path)
        holder = parent_of(first)
        assert cgroups(holder)
        parent.send_signal(signal.SIGKILL)
    await eventually(lambda: not alive(first) and not cgroups(holder))


async def test_a_killed_holder_s_cgroups_are_removed_by_the_next(
    held: Child, tmp_path: Path
) -> None:
    first = await first_of(tmp_path)
    held.kill()
    assert cgroups(held.pid)
    await eventually(lambda: not alive(first))
    box.sweep_cgroups()
    assert not cgroups(held.pid)


def test_a_box_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    described = {"binds": {"/no/such/place": "/etc"}, "disks": {}, "first": str(tmp_path / "first")}
    done = run("hold", json.dumps(described))
    assert done.returncode == 1
    assert "/no/such/place" in done.stderr
    assert not (tmp_path / "first").exists()
