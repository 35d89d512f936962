"""Against the real skopeo and podman."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talm.agent.content.manifests import Image, parts_of
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.names import names_of
from talm.agent.stores.tools import run
from talm.errors import AgentError
from talm.sim.images import SyntheticImage, build_image

from ..conftest import until
from .conftest import skip_without_tools
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


def archives(directory: Path) -> list[Path]:
    return list(directory.glob("*.tar"))


async def podman_images() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        await run("podman", "images", "--digests", "--format", "json")
    )
    return found


@pytest.mark.parametrize("make", [resolved, docker_image, listed, docker_listed])
async def test_an_image_keeps_its_digest_and_podman_lists_it(
    storage: ContainersStorage,
    tmp_path: Path,
    make: Callable[[SyntheticImage, str], Image],
) -> None:
    image = make(BUILT, "registry.example/a@")
    spool = spooled(tmp_path / "spool", BUILT)
    assert await storage.missing(image) == image.blobs
    assert not await storage.has(image)
    await storage.put(image, spool)
    assert await storage.missing(image) == ()
    assert await storage.has(image)
    (found,) = await podman_images()
    name = f"registry.example/a@{image.digest}"
    assert name in found["Names"]
    raw = await run("podman", "image", "inspect", "--format", "{{.RepoDigests}}", name)
    assert name in raw


async def test_an_image_pulled_by_tag_is_found_by_both(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a:1")
    await storage.put(image, spooled(tmp_path / "spool", BUILT))
    for name in ("registry.example/a:1", f"registry.example/a@{image.digest}"):
        await run("podman", "image", "exists", name)
    assert await storage.has(image)


async def test_layers_may_be_compressed_with_zstd(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    built = zstd_layers(BUILT)
    image = resolved(built, "registry.example/a@")
    await storage.put(image, spooled(tmp_path / "spool", built))
    assert await storage.has(image)
    assert await storage.missing(image) == ()


async def test_a_container_starts_without_a_registry(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    built = runnable()
    image = listed(built, "registry.example/hello@")
    await storage.put(image, spooled(tmp_path / "spool", built))
    # runc and low limits: what is left where a machine takes CAP_SYS_RESOURCE away
    limits = ("--ulimit=nofile=64:64", "--ulimit=nproc=64:64")
    options = ("--rm", "--pull=never", "--network=none", *limits)
    name = names_of(image)[0]
    assert await run("podman", "--runtime=runc", "run", *options, name) == "hello\n"


async def test_the_store_of_a_mounted_file_system_is_filled_by_its_own_skopeo(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    mounted = ContainersStorage(Path("/proc/self/root"))  # this one, under another name
    await mounted.prepare()
    image = resolved(BUILT, "registry.example/a@")
    await mounted.put(image, spooled(tmp_path / "spool", BUILT))
    assert await mounted.has(image)
    assert await storage.has(image)
    assert mounted.directory == Path("/proc/self/root") / storage.directory.relative_to("/")


async def test_a_file_system_without_skopeo_is_a_failure_of_the_store(tmp_path: Path) -> None:
    skip_without_tools()
    with pytest.raises(AgentError, match="chroot ended with exit code 127") as caught:
        await ContainersStorage(tmp_path).prepare()
    assert caught.value.kind == "StoreFailed"


async def test_a_layer_is_read_from_its_unpacked_files(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a@")
    assert await storage.blob(image.blobs[1], tmp_path) is None
    await storage.put(image, spooled(tmp_path / "spool", BUILT))
    for layer in parts_of(image).layers:
        file = await storage.blob(layer, tmp_path)
        assert file is not None
        assert file.read_bytes() == gzip.decompress(BUILT.blobs[layer.digest])


async def test_a_layer_whose_files_were_changed_is_not_read(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a@")
    await storage.put(image, spooled(tmp_path / "spool", BUILT))
    changed = list(storage.directory.rglob("file"))
    assert changed
    for file in changed:
        file.write_bytes(b"CONTENT")
    assert await storage.blob(parts_of(image).layers[1], tmp_path) is None
    for file in changed:
        file.unlink()
    assert await storage.blob(parts_of(image).layers[1], tmp_path) is None
    assert not archives(tmp_path)


async def test_layers_that_are_there_are_not_moved_again(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    await storage.put(resolved(BUILT), spooled(tmp_path / "spool", BUILT))
    newer = build_image("a", [BASE, {"file": b"newer"}])
    image = resolved(newer, "registry.example/b:2")
    shared = parts_of(image).layers[0]
    assert shared not in await storage.missing(image)
    spool = spooled(tmp_path / "second", newer, but=frozenset([shared.digest]))
    await storage.put(image, spool)
    assert await storage.has(image)


async def test_a_second_name_needs_nothing_from_the_spool(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    await storage.put(resolved(BUILT), spooled(tmp_path / "spool", BUILT))
    other = listed(BUILT, "registry.example/other@")
    assert await storage.missing(other) == ()
    assert not await storage.has(other)
    await storage.put(other, spooled(tmp_path / "empty", BUILT, but=frozenset(BUILT.blobs)))
    assert await storage.has(other)


async def test_what_the_nodes_policy_rejects_is_not_imported(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    policy = tmp_path / "home/.config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    rules = {"registry.example": [{"type": "reject"}]}
    accept = [{"type": "insecureAcceptAnything"}]
    policy.write_text(json.dumps({"default": accept, "transports": {"docker": rules}}))
    image = resolved(BUILT, "registry.example/a@")
    with pytest.raises(AgentError, match="rejected by policy") as caught:
        await storage.put(image, spooled(tmp_path / "spool", BUILT))
    assert caught.value.kind == "StoreFailed"
    assert not await storage.has(image)
    await storage.put(resolved(BUILT, "other.example/a@"), spooled(tmp_path / "spool", BUILT))


@pytest.mark.parametrize("prefix", ["registry.example", "registry.example/team/a"])
async def test_a_drop_in_of_the_node_leads_no_import_elsewhere(
    storage: ContainersStorage, tmp_path: Path, prefix: str
) -> None:
    drop_ins = tmp_path / "home/.config/containers/registries.conf.d"
    drop_ins.mkdir(parents=True)
    (drop_ins / "mirror.conf").write_text(
        f'[[registry]]\nprefix = "{prefix}"\nlocation = "127.0.0.1:9/elsewhere"\n'
    )
    for name in ("registry.example/team/a:1", "registry.example/team/a@"):
        image = resolved(BUILT, name)
        await storage.put(image, spooled(tmp_path / "spool", BUILT))
        assert await storage.has(image)


async def test_a_blob_that_is_nowhere_is_a_failure_of_the_store(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    spool = spooled(tmp_path / "spool", BUILT, but=frozenset(BUILT.blobs))
    with pytest.raises(AgentError, match="skopeo ended with exit code 1") as caught:
        await storage.put(resolved(BUILT), spool)
    assert caught.value.kind == "StoreFailed"


async def test_an_image_that_was_removed_is_missed(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    image = resolved(BUILT, "registry.example/a@")
    await storage.put(image, spooled(tmp_path / "spool", BUILT))
    await run("podman", "rmi", "--all", "--force")
    assert not await storage.has(image)
    assert await storage.missing(image) == image.blobs


async def test_what_skopeo_copies_on_its_way_is_in_the_spool_and_no_more_than_was_missing(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    built = build_image("a", [{f"{layer}/{n}": bytes(2000) for n in range(800)} for layer in "ab"])
    image = resolved(built, "registry.example/a@")
    spool = spooled(tmp_path / "spool", built)
    putting = asyncio.create_task(storage.put(image, spool))
    most = 0
    while not putting.done():
        await asyncio.sleep(0.001)
        with contextlib.suppress(FileNotFoundError):
            copies = spool.directory.glob(".import-*/layers/*/*")
            most = max(most, sum(copy.stat().st_size for copy in copies))
    await putting
    assert 0 < most <= sum(blob.size for blob in image.blobs)
    assert not list(spool.directory.glob(".*"))


async def test_an_import_that_is_cancelled_leaves_nothing_on_its_way(
    storage: ContainersStorage, tmp_path: Path
) -> None:
    built = build_image("a", [{str(n): bytes(2000) for n in range(2000)}])
    spool = spooled(tmp_path / "spool", built)
    putting = asyncio.create_task(storage.put(resolved(built, "registry.example/a@"), spool))
    await until(lambda: any(spool.directory.glob(".import-*/layers/*")))
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert not list(spool.directory.glob(".*"))


async def test_nothing_of_the_way_to_the_image_stays(
    storage: ContainersStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    await storage.put(resolved(BUILT), spooled(tmp_path / "spool", BUILT))
    assert not list(temporary.iterdir())
    assert not list((tmp_path / "home").rglob("registries*"))
