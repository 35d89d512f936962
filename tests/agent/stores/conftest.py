"""Real stores for a test: podman's in a directory of the test, a containerd of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from talm.agent.stores.containerd import Containerd
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.tools import run
from talm.errors import AgentError
from talm.sim.plane.binaries import find_program
from talm.sim.plane.processes import Child, wait_until

from ...conftest import skip_without_program

_INSTALL = "'make test-tools' installs it on Debian"


def skip_without_tools(*programs: str) -> None:
    """Skip the test, saying why, when one of these programs is not installed, or we are not root."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: {_INSTALL}")
    if os.geteuid():
        pytest.skip("a runtime's store needs root's rights")


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name, for sockets: theirs may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="talm-") as directory:
        yield Path(directory)


@pytest.fixture
async def storage(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> ContainersStorage:
    """An empty containers-storage, also for `podman` and `skopeo` that the test calls.

    Driver overlay, as on nodes; vfs, which works on every file system, where that cannot be used.
    """
    skip_without_tools("skopeo", "podman", "runc")
    conf = tmp_path / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{tmp_path}/graph"\n'
        f'runroot = "{short}"\n'
        # or a mount of the directory on itself would outlive the test
        '[storage.options.overlay]\nskip_mount_home = "true"\n'
    )
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(conf))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("STORAGE_DRIVER", raising=False)
    try:
        await run("podman", "info")
    except AgentError:
        conf.write_text(conf.read_text().replace('"overlay"', '"vfs"'))
    store = ContainersStorage()
    await store.prepare()
    return store


@contextlib.asynccontextmanager
async def started(
    command: Sequence[str], directory: Path, short: Path
) -> AsyncIterator[Containerd]:
    """A containerd with root, state and socket of its own; snapshots are plain copies."""
    socket = short / "containerd.sock"
    config = directory / "containerd.toml"
    config.write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
        f'[grpc]\naddress = "{socket}"\n'
        '[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "native"\n'
    )
    child = Child(
        "containerd",
        [*command, "--config", str(config)],
        log=directory / "containerd.log",
        cwd=directory,
    )
    child.start()
    try:

        async def listens() -> bool:
            return socket.exists()

        await wait_until(listens, [child], what="waiting for containerd")
        store = Containerd(socket)
        await store.prepare()
        yield store
    finally:
        await child.stop()


@pytest.fixture
async def containerd(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Containerd]:
    """Debian's containerd, which cannot pin."""
    skip_without_tools("containerd", "ctr", "runc")
    monkeypatch.setenv("CONTAINERD_SNAPSHOTTER", "native")
    async with started(["containerd"], tmp_path, short) as store:
        yield store


@pytest.fixture
async def newer_containerd(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Containerd]:
    """A containerd that can pin, asked with Debian's ctr."""
    skip_without_tools("ctr")
    skip_without_program("containerd")
    monkeypatch.setenv("CONTAINERD_SNAPSHOTTER", "native")
    async with started([str(find_program("containerd")), "containerd"], tmp_path, short) as store:
        yield store
