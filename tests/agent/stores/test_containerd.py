"""Against the real containerd and ctr."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talm.agent.content.manifests import Image, parts_of
from talm.agent.pins.base import unpinned
from talm.agent.pins.labels import LabelPins
from talm.agent.stores.containerd import Containerd
from talm.agent.stores.names import names_of
from talm.agent.stores.tools import run
from talm.errors import AgentError
from talm.sim.images import SyntheticImage, build_image
from talm.sim.plane.binaries import find_program

from .samples import (
    docker_listed,
    docker_schema_2,
    listed,
    resolved,
    runnable,
    spooled,
    zstd_layers,
)

BASE = {"base": b"shared by many"}
BUILT = build_image("a", [BASE, {"file": b"content"}])


def docker_image(built: SyntheticImage, name: str) -> Image:
    return resolved(docker_schema_2(built), name)


async def ctr(store: Containerd, *arguments: str) -> str:
    return await run("ctr", "-a", str(store.socket), "-n", "k8s.io", *arguments)


@pytest.mark.parametrize("make", [resolved, docker_image, listed, docker_listed])
async def test_an_image_keeps_its_digest_and_is_listed_by_name(
    containerd: Containerd, tmp_path: Path, make: Callable[[SyntheticImage, str], Image]
) -> None:
    image = make(BUILT, "registry.example/a:1")
    assert await containerd.missing(image) == image.blobs
    assert not await containerd.has(image)
    await containerd.put(image, spooled(tmp_path / "spool", BUILT))
    assert await containerd.missing(image) == ()
    assert await containerd.has(image)
    listing = (await ctr(containerd, "images", "ls", "-q")).split()
    assert set(names_of(image)) <= set(listing)
    for blob in image.blobs:
        stored = await containerd.blob(blob, tmp_path)
        assert stored is not None
        assert stored.read_bytes() == BUILT.blobs[blob.digest]


async def test_layers_may_be_compressed_with_zstd(containerd: Containerd, tmp_path: Path) -> None:
    built = zstd_layers(BUILT)
    image = resolved(built, "registry.example/a@")
    await containerd.put(image, spooled(tmp_path / "spool", built))
    assert await containerd.has(image)
    assert await containerd.missing(image) == ()


async def test_a_container_starts_without_a_registry(
    containerd: Containerd, tmp_path: Path
) -> None:
    built = runnable()
    image = listed(built, "registry.example/hello@")
    await containerd.put(image, spooled(tmp_path / "spool", built))
    (name,) = names_of(image)
    said = await ctr(containerd, "run", "--rm", "--snapshotter=native", name, tmp_path.name)
    assert said == "hello\n"


async def test_layers_that_are_there_are_not_moved_again(
    containerd: Containerd, tmp_path: Path
) -> None:
    await containerd.put(resolved(BUILT), spooled(tmp_path / "spool", BUILT))
    newer = build_image("a", [BASE, {"file": b"newer"}])
    image = resolved(newer, "registry.example/b@")
    shared = parts_of(image).layers[0]
    assert shared not in await containerd.missing(image)
    spool = spooled(tmp_path / "second", newer, but=frozenset([shared.digest]))
    await containerd.put(image, spool)
    assert await containerd.has(image)


async def test_what_no_image_leads_to_is_missed_since_it_may_be_gone_at_any_moment(
    containerd: Containerd, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a@")
    spool = spooled(tmp_path / "spool", BUILT)
    layer = parts_of(image).layers[0].digest

    async def feed(target: asyncio.StreamWriter) -> None:
        target.write(BUILT.blobs[layer])

    address = ("-a", str(containerd.socket), "-n", "k8s.io")
    words = ("content", "ingest", "--expected-digest", layer, "cut-off")
    await run("ctr", *address, *words, feed=feed)
    assert layer in await ctr(containerd, "content", "ls")
    assert await containerd.missing(image) == image.blobs
    await containerd.put(image, spool)
    assert await Containerd(containerd.socket).missing(image) == ()


async def test_a_second_name_needs_nothing_from_the_spool(
    containerd: Containerd, tmp_path: Path
) -> None:
    await containerd.put(resolved(BUILT), spooled(tmp_path / "spool", BUILT))
    other = listed(BUILT, "registry.example/other@")
    assert await containerd.missing(other) == ()
    assert not await containerd.has(other)
    await containerd.put(other, spooled(tmp_path / "empty", BUILT, but=frozenset(BUILT.blobs)))
    assert await containerd.has(other)


async def test_an_unpacked_image_whose_layers_were_dropped_is_there(
    containerd: Containerd, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a@")
    await containerd.put(image, spooled(tmp_path / "spool", BUILT))
    await ctr(containerd, "content", "rm", *(layer.digest for layer in parts_of(image).layers))
    assert await containerd.missing(image) == ()
    assert await containerd.has(image)
    other = resolved(BUILT, "registry.example/other:1")
    await containerd.put(other, spooled(tmp_path / "empty", BUILT, but=frozenset(BUILT.blobs)))
    assert await containerd.has(other)


async def test_a_damaged_image_is_missed_and_repaired(
    containerd: Containerd, tmp_path: Path
) -> None:
    damaged, whole = resolved(BUILT, "registry.example/a@"), resolved(runnable(), "b.example/b@")
    await containerd.put(damaged, spooled(tmp_path / "spool", BUILT))
    await containerd.put(whole, spooled(tmp_path / "second", runnable()))
    config = parts_of(damaged).config
    await ctr(containerd, "content", "rm", config.digest)
    fresh = Containerd(containerd.socket)
    assert await fresh.missing(damaged) == (config,)
    assert await fresh.missing(whole) == ()
    assert not await fresh.has(damaged)
    await fresh.put(damaged, spooled(tmp_path / "third", BUILT))
    assert await fresh.has(damaged)


async def test_an_image_that_was_removed_is_missed(containerd: Containerd, tmp_path: Path) -> None:
    image = resolved(BUILT, "registry.example/a@")
    await containerd.put(image, spooled(tmp_path / "spool", BUILT))
    await ctr(containerd, "images", "rm", "--sync", *names_of(image))
    assert not await containerd.has(image)


async def test_a_blob_that_is_nowhere_is_a_failure_of_the_store(
    containerd: Containerd, tmp_path: Path
) -> None:
    spool = spooled(tmp_path / "spool", BUILT, but=frozenset(BUILT.blobs))
    with pytest.raises(AgentError) as caught:
        await containerd.put(resolved(BUILT), spool)
    assert caught.value.kind == "StoreFailed"


async def test_a_socket_that_nobody_serves_is_a_failure_of_the_store(
    containerd: Containerd, tmp_path: Path
) -> None:
    with pytest.raises(AgentError, match="no containerd listens there") as caught:
        await Containerd(tmp_path / "none.sock").prepare()
    assert caught.value.kind == "StoreFailed"


async def test_a_containerd_that_tells_the_kubelet_nothing_of_pins_gets_none(
    containerd: Containerd, tmp_path: Path
) -> None:
    image = resolved(BUILT)
    await containerd.put(image, spooled(tmp_path / "spool", BUILT))
    pins = LabelPins(containerd)
    await pins.expect([image])
    verdicts = [await pins.pin(image), await pins.conclude([image])]
    assert [verdict.pinned for verdict in verdicts] == [False, False]
    assert "older than 1.7" in verdicts[0].why
    assert await pins.release() == 0
    assert "pinned" not in await ctr(containerd, "images", "ls")


async def kubelet_sees(store: Containerd, image: Image) -> dict[str, Any]:
    """The image as CRI lists it, once it does: containerd tells its CRI plugin by events."""
    while True:
        listing = await run(str(find_program("containerd")), "cri-images", str(store.socket))
        for line in listing.splitlines():
            seen: dict[str, Any] = json.loads(line)
            if names_of(image)[0] in (seen["digests"] or ()):
                return seen


async def test_the_kubelet_sees_an_image_by_digest_and_by_tag(
    newer_containerd: Containerd, tmp_path: Path
) -> None:
    image = docker_listed(BUILT, "registry.example/a:1")
    await newer_containerd.put(image, spooled(tmp_path / "spool", BUILT))
    while not (seen := await kubelet_sees(newer_containerd, image))["tags"]:
        pass
    assert seen == {
        "digests": [names_of(image)[0]],
        "tags": ["registry.example/a:1"],
        "pinned": False,
    }


async def test_the_kubelet_sees_pins_until_they_are_taken_back(
    newer_containerd: Containerd, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a@")
    await newer_containerd.put(image, spooled(tmp_path / "spool", BUILT))
    assert (await LabelPins(newer_containerd).pin(image)).pinned
    while not (await kubelet_sees(newer_containerd, image))["pinned"]:
        pass
    assert await newer_containerd.unpin() == 1
    while (await kubelet_sees(newer_containerd, image))["pinned"]:
        pass


async def test_a_label_that_somebody_takes_away_is_no_pin(
    newer_containerd: Containerd, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a@")
    await newer_containerd.put(image, spooled(tmp_path / "spool", BUILT))
    pins = LabelPins(newer_containerd)
    assert (await pins.pin(image)).pinned
    (name,) = names_of(image)
    await ctr(newer_containerd, "images", "label", name, "io.cri-containerd.pinned=")
    assert await pins.conclude([image]) == unpinned(f"containerd has not kept the label of {name}")


async def test_only_our_pins_are_taken_back(newer_containerd: Containerd, tmp_path: Path) -> None:
    ours, kept = resolved(BUILT, "registry.example/a@"), listed(BUILT, "registry.example/b@")
    theirs = resolved(BUILT, "registry.example/c@")
    for image in (ours, kept, theirs):
        await newer_containerd.put(image, spooled(tmp_path / "spool", BUILT))
    await newer_containerd.pin(ours)
    await newer_containerd.pin(kept)
    (name,) = names_of(theirs)
    await ctr(newer_containerd, "images", "label", name, "io.cri-containerd.pinned=pinned")
    assert await newer_containerd.unpin(keep=[kept]) == 1
    pinned = 'labels."io.cri-containerd.pinned"==pinned'
    left = (await ctr(newer_containerd, "images", "ls", "-q", pinned)).split()
    assert set(left) == {*names_of(kept), name}
