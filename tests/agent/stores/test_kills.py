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
from talm.agent.stores.oci_layout import OciLayout
from talm.agent.stores.tools import run
from talm.api.progress import EXIT_CODES, FailureClass
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

LONG = pytest.mark.long

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


def is_listed(tmp_path: Path) -> bool:
    """Whether the layout has the first image: what comes for it no kill can cut any more."""
    return MANY.digest in read(*(tmp_path / "layout").glob("index.json"))


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


@contextlib.asynccontextmanager
async def killed(
    settings: Settings, is_reached: Callable[[], bool], *, alone: bool
) -> AsyncIterator[None]:
    """Kill a run at the moment; `alone`: what it has started lives on, no longer than the block."""
    async with agent(settings) as process:

        def reached() -> bool:
            assert process.returncode is None, "it was through before it could be killed"
            return is_reached()

        await until(reached)
        kill = os.kill if alone else os.killpg
        kill(process.pid, signal.SIGKILL)
        await process.wait()
        yield


# With all that it has started, as a pod is ended; or alone, as on a terminal.
WHO = pytest.mark.parametrize(
    "alone",
    [pytest.param(False, id="whole"), pytest.param(True, id="alone", marks=LONG)],
)


class Case:
    """Two images: one that is being imported, and one that is half there, when the run is killed."""

    def __init__(self, registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path) -> None:
        self._registry = registry
        self._specs = [registry.add(image) for image in (MANY, OTHER)]
        self._settings_for = settings_for
        self._tmp_path = tmp_path
        self.images = [resolved(MANY, self._specs[0]), resolved(OTHER, self._specs[1])]

    def settings(self, place: str) -> Settings:
        return self._settings_for(*self._specs, store=place, spool=self._tmp_path / "spool")

    @contextlib.asynccontextmanager
    async def killed(self, place: str, moment: Moment, *, alone: bool) -> AsyncIterator[None]:
        self._registry.fails(BIG, Stalls(HALF))
        partial = self._tmp_path / "spool" / f"{BIG.replace(':', '-')}.partial"

        def is_reached() -> bool:
            there = partial.exists() and partial.stat().st_size == HALF
            return there and is_seen(moment, self._tmp_path)

        async with killed(self.settings(place), is_reached, alone=alone):
            assert self._registry.blob_bytes <= UNIQUE - HALF + 1
            yield

    async def finish(self, place: str) -> None:
        """Run again: all comes, nothing twice, nothing is left in the spool."""
        assert await run_agent(self.settings(place)) == 0
        assert self._registry.blob_bytes <= UNIQUE * 1.02
        left = {file.name for file in (self._tmp_path / "spool").iterdir()}
        assert left <= {".lock", ".last-run", ".pins", ".pins.lock"}


@pytest.fixture
def case(registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path) -> Case:
    return Case(registry, settings_for, tmp_path)


async def all_there(case: Case, store: ImageStore) -> bool:
    return all([await store.has(image) for image in case.images])


@WHO
@pytest.mark.parametrize("moment", [pytest.param(is_copied, marks=LONG), is_unpacking])
async def test_an_import_by_skopeo_that_was_killed_is_made_again(
    storage: ContainersStorage, case: Case, tmp_path: Path, moment: Moment, alone: bool
) -> None:
    async with case.killed("containers-storage", moment, alone=alone):
        assert not await storage.has(case.images[1])
        if not alone:  # else skopeo may have had all that it needed
            assert not await storage.has(case.images[0])
        await case.finish("containers-storage")
    assert await all_there(case, ContainersStorage())
    assert not is_unpacking(tmp_path)
    digests = await run("podman", "images", "--digests", "--format", "{{.Digest}}")
    assert set(digests.split()) == {MANY.digest, OTHER.digest}


@WHO
@pytest.mark.parametrize("moment", [pytest.param(is_ingested, marks=LONG), is_extracted])
async def test_an_import_by_ctr_that_was_killed_is_made_again(
    containerd: Containerd, case: Case, moment: Moment, alone: bool
) -> None:
    place = f"containerd:{containerd.socket}"
    async with case.killed(place, moment, alone=alone):
        assert not await containerd.has(case.images[1])
        if not alone:
            assert not await containerd.has(case.images[0])
        await case.finish(place)
    assert await all_there(case, Containerd(containerd.socket))
    ctr = ("ctr", "-a", str(containerd.socket), "-n", "k8s.io")
    leases = (await run(*ctr, "leases", "ls")).splitlines()[1:]
    assert all("containerd.io/gc.expire=" in lease for lease in leases)


def kill_child(process: asyncio.subprocess.Process) -> bool:
    """Kill the program that the run has started; False when there is none."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    return bool(children)


class Single:
    """One image whose import is killed, without the run that has started it."""

    def __init__(self, registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path) -> None:
        self._registry = registry
        self._spec = registry.add(MANY)
        self._settings_for = settings_for
        self._tmp_path = tmp_path

    async def fails_and_is_mended(self, store: ImageStore, place: str, moment: Moment) -> None:
        settings = self._settings_for(self._spec, store=place, spool=self._tmp_path / "spool")
        image = resolved(MANY, self._spec)
        async with agent(settings) as process:
            await until(lambda: process.returncode is not None or is_seen(moment, self._tmp_path))
            assert kill_child(process)
            assert await process.wait() == EXIT_CODES[FailureClass.STORE_FAILED]
        assert not await store.has(image)
        fetched = self._registry.blob_bytes
        assert await run_agent(settings) == 0
        assert self._registry.blob_bytes == fetched
        assert await store.has(image)


def is_seen(moment: Moment, tmp_path: Path) -> bool:
    """Whether it has come, where files come and go."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return moment(tmp_path)
    return False


@pytest.fixture
def single(registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path) -> Single:
    return Single(registry, settings_for, tmp_path)


async def test_a_skopeo_that_was_killed_fails_its_image_until_the_next_run(
    storage: ContainersStorage, single: Single
) -> None:
    await single.fails_and_is_mended(storage, "containers-storage", is_unpacking)


@LONG
async def test_a_ctr_that_was_killed_fails_its_image_until_the_next_run(
    containerd: Containerd, single: Single
) -> None:
    place = f"containerd:{containerd.socket}"
    await single.fails_and_is_mended(containerd, place, is_extracted)


async def test_a_run_into_a_layout_that_was_killed_goes_on_where_it_was(
    case: Case, tmp_path: Path
) -> None:
    place = f"oci-layout:{tmp_path}/layout"
    async with case.killed(place, is_listed, alone=False):
        assert not await OciLayout(tmp_path / "layout").has(case.images[1])
        await case.finish(place)
    assert await all_there(case, OciLayout(tmp_path / "layout"))
