from __future__ import annotations

import os
from pathlib import Path

import pytest

from talm.agent.stores.oci_layout import OciLayout
from talm.agent.transfer.registry import digest_of
from talm.errors import AgentError
from talm.sim.images import SyntheticImage, build_image

from .samples import resolved, spooled


@pytest.fixture
def store(tmp_path: Path) -> OciLayout:
    store = OciLayout(tmp_path / "images")
    store.create()
    return store


@pytest.fixture
def built() -> SyntheticImage:
    return build_image("a", [{"file": b"content"}])


async def test_an_image_is_missing_then_put_then_there(
    store: OciLayout, built: SyntheticImage, tmp_path: Path
) -> None:
    image, spool = resolved(built), spooled(tmp_path / "spool", built)
    assert await store.missing(image) == image.blobs
    assert not await store.has(image)
    await store.put(image, spool)
    assert await store.missing(image) == ()
    assert await store.has(image)
    assert not any(spool.whole(digest).exists() for digest in built.blobs)


@pytest.mark.parametrize("which", ["manifest", "blob", "index"])
async def test_what_was_taken_away_later_is_noticed(
    store: OciLayout, built: SyntheticImage, tmp_path: Path, which: str
) -> None:
    image = resolved(built)
    await store.put(image, spooled(tmp_path / "spool", built))
    files = {
        "manifest": store.blob_file(image.digest),
        "blob": store.blob_file(image.blobs[0].digest),
        "index": store.directory / "index.json",
    }
    files[which].unlink()
    assert not await store.has(image)


async def test_a_name_moves_to_the_newer_image_and_others_keep_theirs(
    store: OciLayout, built: SyntheticImage, tmp_path: Path
) -> None:
    newer = build_image("a", [{"file": b"newer"}])
    other = resolved(built, "quay.io/other:1")
    for image, content in ((resolved(built), built), (other, built), (resolved(newer), newer)):
        await store.put(image, spooled(tmp_path / "spool", content))
    assert await store.has(resolved(newer))
    assert await store.has(other)
    assert not await store.has(resolved(built))


async def test_an_existing_layout_is_kept(
    store: OciLayout, built: SyntheticImage, tmp_path: Path
) -> None:
    await store.put(resolved(built), spooled(tmp_path / "spool", built))
    again = OciLayout(store.directory)
    again.create()
    assert await again.has(resolved(built))


def test_what_a_killed_process_has_half_written_goes_a_day_later(store: OciLayout) -> None:
    blobs, lock = store.directory / "blobs/sha256", store.directory / ".index.lock"
    halves = [blobs / ".00.copy", blobs / ".00.x7w_q2", store.directory / ".index.json.abcd"]
    for file in (*halves, lock, blobs / "00"):
        file.write_bytes(b"half")
    store.create()
    assert all(file.exists() for file in halves), "somebody may be writing them"
    for file in (*halves, lock, blobs / "00"):
        os.utime(file, (0, 0))
    store.create()
    assert not any(file.exists() for file in halves)
    assert lock.exists()
    assert (blobs / "00").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"manifests": 3}'])
async def test_a_damaged_index_is_a_failure_of_the_store(
    store: OciLayout, built: SyntheticImage, tmp_path: Path, text: str
) -> None:
    (store.directory / "index.json").write_text(text)
    with pytest.raises(AgentError) as caught:
        await store.put(resolved(built), spooled(tmp_path / "spool", built))
    assert caught.value.kind == "StoreFailed"


def test_a_digest_names_a_file_below_the_layout(store: OciLayout) -> None:
    digest = digest_of(b"x")
    assert store.blob_file(digest).parent == store.directory / "blobs" / "sha256"
