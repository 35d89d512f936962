"""SIGKILL in the middle of an import into the store of a real runtime, and the run after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from talm.agent.main import run_agent
from talm.agent.settings import Settings
from talm.agent.stores.base import ImageStore
from talm.agent.stores.containerd import Containerd
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.tools import run
from talm.sim.images import build_image

from ..conftest import SettingsFor, until
from ..faultyregistry import FaultyRegistry, Stalls
from .samples import resolved

CHANCE = random.Random(7)
# Many small files: unpacking takes much longer than to look whether it has begun.
MANY = build_image("many", [{f"d/{n}": CHANCE.randbytes(500) for n in range(8000)}])
OTHER = build_image("other", [{"file": CHANCE.randbytes(6_000_000)}])
BIG = max(OTHER.blobs, key=lambda digest: len(OTHER.blobs[digest]))
HALF = len(OTHER.blobs[BIG]) // 2
UNIQUE = sum(len(blob) for image in (MANY, OTHER) for blob in image.blobs.values())

Moment = Callable[[Path], bool]


def is_copied(tmp_path: Path) -> bool:
    """Whether skopeo holds some of a layer."""
    return any(copy.stat().st_size for copy in (tmp_path / "spool").glob(".import-*/layers/*/*"))


def is_unpacking(tmp_path: Path) -> bool:
    """Whether containers/storage has a layer that is not whole."""
    lists = list((tmp_path / "graph").glob("*-layers/layers.json"))
    return any("incomplete" in (layer.get("flags") or ()) for layer in json.loads(read(*lists)))


def is_ingested(tmp_path: Path) -> bool:
    """Whether containerd has begun to take in a layer, or has it."""
    content = tmp_path / "root/io.containerd.content.v1.content"
    sizes = (file.stat().st_size for file in content.glob("ingest/*/data"))
    return any(size > 100_000 for size in sizes) or is_extracted(tmp_path)


def is_extracted(tmp_path: Path) -> bool:
    """Whether containerd has begun to unpack."""
    snapshots = tmp_path / "root/io.containerd.snapshotter.v1.native/snapshots"
    return any(snapshots.glob("*/d/*"))


def read(*lists: Path) -> str:
    return lists[0].read_text() or "[]" if lists else "[]"


@contextlib.asynccontextmanager
async def agent(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """A run as a process, in a session of its own: killing that kills its children, too."""
    images = [
        word for image in settings.additional_images for word in ("--additional-image", image)
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "talm", "agent", "pull", *images),
        *("--store", settings.store, "--spool", str(settings.spool)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def killed(settings: Settings, is_reached: Callable[[], bool], *, alone: bool) -> None:
    """Kill a run at the moment; `alone`: what it has started lives on."""
    async with agent(settings) as process:

        def reached() -> bool:
            assert process.returncode is None, "it was through before it could be killed"
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                return is_reached()
            return False

        await until(reached)
        kill = os.kill if alone else os.killpg
        kill(process.pid, signal.SIGKILL)
        await process.wait()
        if alone:
            await until(lambda: not members(process.pid))


def members(group: int) -> list[int]:
    """The processes of a group that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, pgrp, *_ = stat.read_text().rpartition(")")[2].split()
            if int(pgrp) == group and state != "Z":
                found.append(int(stat.parent.name))
    return found


# With all that it has started, as a pod is ended; or alone, as on a terminal.
WHO = pytest.mark.parametrize(
    "alone",
    [pytest.param(False, id="whole"), pytest.param(True, id="alone", marks=pytest.mark.long)],
)


class Case:
    """Two images: one that is being imported, and one that is half there, when the run is killed."""

    def __init__(self, registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path) -> None:
        self._registry = registry
        self._specs = [registry.add(image) for image in (MANY, OTHER)]
        self._settings_for = settings_for
        self._tmp_path = tmp_path
        self.images = [resolved(MANY, self._specs[0]), resolved(OTHER, self._specs[1])]

    async def kill_and_go_on(self, place: str, moment: Moment, *, alone: bool = False) -> None:
        spool = self._tmp_path / "spool"
        settings = self._settings_for(*self._specs, store=place, spool=spool)
        self._registry.fails(BIG, Stalls(HALF))
        partial = spool / f"{BIG.replace(':', '-')}.partial"

        def is_reached() -> bool:
            return moment(self._tmp_path) and partial.stat().st_size == HALF

        await killed(settings, is_reached, alone=alone)
        assert self._registry.blob_bytes <= UNIQUE - HALF + 1

    async def finish(self, place: str) -> None:
        spool = self._tmp_path / "spool"
        settings = self._settings_for(*self._specs, store=place, spool=spool)
        assert await run_agent(settings) == 0
        assert self._registry.blob_bytes <= UNIQUE * 1.02
        assert {file.name for file in spool.iterdir()} <= {
            ".lock",
            ".last-run",
            ".pins",
            ".pins.lock",
        }


@pytest.fixture
def case(registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path) -> Case:
    return Case(registry, settings_for, tmp_path)


async def all_there(case: Case, store: ImageStore) -> bool:
    return all([await store.has(image) for image in case.images])


@WHO
@pytest.mark.parametrize("moment", [is_copied, is_unpacking])
async def test_an_import_by_skopeo_that_was_killed_is_made_again(
    storage: ContainersStorage, case: Case, tmp_path: Path, moment: Moment, alone: bool
) -> None:
    await case.kill_and_go_on("containers-storage", moment, alone=alone)
    assert not await storage.has(case.images[1])
    if not alone:  # else skopeo may have had all that it needed
        assert not await storage.has(case.images[0])
    await case.finish("containers-storage")
    assert await all_there(case, ContainersStorage())
    assert not is_unpacking(tmp_path)
    digests = await run("podman", "images", "--digests", "--format", "{{.Digest}}")
    assert set(digests.split()) == {MANY.digest, OTHER.digest}


@WHO
@pytest.mark.parametrize("moment", [is_ingested, is_extracted])
async def test_an_import_by_ctr_that_was_killed_is_made_again(
    containerd: Containerd, case: Case, moment: Moment, alone: bool
) -> None:
    place = f"containerd:{containerd.socket}"
    await case.kill_and_go_on(place, moment, alone=alone)
    assert not await containerd.has(case.images[1])
    if not alone:
        assert not await containerd.has(case.images[0])
    await case.finish(place)
    assert await all_there(case, Containerd(containerd.socket))
    ctr = ("ctr", "-a", str(containerd.socket), "-n", "k8s.io")
    leases = (await run(*ctr, "leases", "ls")).splitlines()[1:]
    assert all("containerd.io/gc.expire=" in lease for lease in leases)
