"""Whole runs into the stores of real runtimes."""

from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.main import run_agent
from talm.agent.settings import Settings
from talm.agent.stores.containerd import Containerd
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.tools import run
from talm.sim.images import SyntheticImage, build_image

from ..conftest import SettingsFor
from ..faultyregistry import FaultyRegistry

BASE = {"base": b"shared"}
IMAGES = [build_image(name, [BASE, {"file": name.encode()}]) for name in ("a", "b", "c")]


def unique(images: list[SyntheticImage]) -> int:
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
