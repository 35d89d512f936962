"""Whole runs into the stores of real runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from talm.agent.main import run_agent
from talm.agent.pins.releasing import release
from talm.agent.settings import Settings
from talm.agent.stores.containerd import Containerd
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.tools import run
from talm.sim.images import SyntheticImage, build_image, build_release

from ..conftest import SettingsFor
from ..faultyregistry import FaultyRegistry

BASE = {"base": b"shared"}
IMAGES = [build_image(name, [BASE, {"file": name.encode()}]) for name in ("a", "b", "c")]


def unique(images: Sequence[SyntheticImage]) -> int:
    blobs = {digest: len(blob) for image in images for digest, blob in image.blobs.items()}
    return sum(blobs.values())


async def pulled_twice(registry: FaultyRegistry, settings: Settings) -> None:
    """Run until all is there, and once more, which moves nothing."""
    assert await run_agent(settings) == 0
    assert registry.blob_bytes == unique(IMAGES)
    assert await run_agent(settings) == 0
    assert registry.blob_bytes == unique(IMAGES)


@pytest.fixture
def settings(registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path) -> SettingsFor:
    names = [registry.add(image) for image in IMAGES]

    def settings(store: str) -> Settings:
        return settings_for(*names, store=store, spool=tmp_path / "spool")

    return settings


async def test_podman_lists_every_image_of_a_run(
    storage: ContainersStorage, registry: FaultyRegistry, settings: SettingsFor
) -> None:
    await pulled_twice(registry, settings("containers-storage"))
    listed = await run("podman", "images", "--digests", "--format", "{{.Digest}}")
    assert set(listed.split()) == {image.digest for image in IMAGES}


async def test_containerd_lists_every_image_of_a_run(
    containerd: Containerd, registry: FaultyRegistry, settings: SettingsFor
) -> None:
    await pulled_twice(registry, settings(f"containerd:{containerd.socket}"))
    address = str(containerd.socket)
    listed = await run("ctr", "--address", address, "-n", "k8s.io", "images", "ls")
    digests = {line.split()[2] for line in listed.splitlines()[1:]}
    assert digests == {image.digest for image in IMAGES}


async def test_a_run_pins_its_images_instead_of_the_last_one_s(
    newer_containerd: Containerd,
    registry: FaultyRegistry,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    place, spool = f"containerd:{newer_containerd.socket}", tmp_path / "spool"
    specs = [registry.add(image) for image in IMAGES]
    pinned = 'labels."io.cri-containerd.pinned"==pinned'
    ctr = ("ctr", "--address", str(newer_containerd.socket), "-n", "k8s.io")
    for wanted in (specs[:2], specs[1:]):
        settings = settings_for(*wanted, store=place, spool=spool)
        assert await run_agent(settings) == 0
        assert set((await run(*ctr, "images", "ls", "-q", pinned)).split()) == set(wanted)


async def test_a_run_s_pins_are_taken_back_by_its_name_unless_another_has_pinned_since(
    newer_containerd: Containerd,
    registry: FaultyRegistry,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    place, spool = f"containerd:{newer_containerd.socket}", tmp_path / "spool"
    specs = [registry.add(image) for image in IMAGES]
    pinned = 'labels."io.cri-containerd.pinned"==pinned'
    ctr = ("ctr", "--address", str(newer_containerd.socket), "-n", "k8s.io")
    for run_id in ("run-1", "run-2"):
        settings = settings_for(*specs[:2], store=place, spool=spool, pinned_for=run_id)
        assert await run_agent(settings) == 0
    older = settings_for(store=place, spool=spool, pinned_for="run-1")
    assert await release(older) == 0
    assert set((await run(*ctr, "images", "ls", "-q", pinned)).split()) == set(specs[:2])
    assert await release(settings) == 2
    assert not (await run(*ctr, "images", "ls", "-q", pinned)).split()


async def release_pulled_twice(
    registry: FaultyRegistry, settings_for: SettingsFor, store: str, spool: Path
) -> None:
    """Run twice; what the second one reads to learn what to pull, it finds in the store."""
    images = build_release(registry.host, size_mib=0.2)
    release = [registry.add(image) for image in images][-1]
    settings = settings_for(platform_image=release, store=store, spool=spool)
    assert await run_agent(settings) == 0
    assert registry.blob_bytes == unique(images)
    assert await run_agent(settings) == 0
    assert registry.blob_bytes == unique(images)


async def test_a_release_in_containers_storage_is_not_fetched_again_to_be_read(
    storage: ContainersStorage, registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path
) -> None:
    place = "containers-storage"
    await release_pulled_twice(registry, settings_for, place, tmp_path / "spool")


async def test_a_release_in_containerd_is_not_fetched_again_to_be_read(
    containerd: Containerd, registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path
) -> None:
    place = f"containerd:{containerd.socket}"
    await release_pulled_twice(registry, settings_for, place, tmp_path / "spool")
