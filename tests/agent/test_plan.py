from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from talm.agent.content.manifests import Blob, Image
from talm.agent.content.references import parse
from talm.agent.plan import make_plan
from talm.agent.transfer.registry import Document

SIZES = {f"sha256:{n:064x}": 100 * (n + 1) for n in range(8)}
DIGESTS = tuple(SIZES)


def image(number: int, *blobs: int, name: str = "image") -> Image:
    digest = f"sha256:{number:064d}"
    found = tuple(Blob(DIGESTS[n], SIZES[DIGESTS[n]]) for n in sorted(set(blobs)))
    reference = parse(f"quay.io/{name}@{digest}")
    return Image(reference, (Document(digest, "", b""),), found)


def lacking(images: list[Image], *held: int) -> dict[str, tuple[Blob, ...]]:
    have = {DIGESTS[n] for n in held}
    return {i.digest: tuple(b for b in i.blobs if b.digest not in have) for i in images}


def test_blobs_that_images_share_count_once() -> None:
    images = [image(1, 0, 1), image(2, 0, 2)]
    plan = make_plan(images, lacking(images, 1), {DIGESTS[0]: 40, DIGESTS[1]: 7})
    assert (plan.total_bytes, plan.missing_bytes, plan.spooled_bytes) == (600, 400, 40)
    assert (plan.download_bytes, plan.unpacked_bytes, plan.cached) == (360, 800, 0)
    assert [blob.digest for blob in plan.missing] == [DIGESTS[0], DIGESTS[2]]


def test_more_in_the_spool_than_a_blob_has_counts_as_the_blob() -> None:
    images = [image(1, 0)]
    assert make_plan(images, lacking(images), {DIGESTS[0]: 900}).download_bytes == 0


def test_images_that_are_complete_early_come_first() -> None:
    images = [image(1, 7), image(2, 0, 3), image(3, 0), image(4, 0, 1), image(5)]
    ordered = make_plan(images, lacking(images), {}).images
    assert [int(i.image.digest[-1]) for i in ordered] == [5, 3, 4, 2, 1]


def test_an_image_that_is_named_twice_is_brought_once_but_keeps_every_name() -> None:
    images = [image(1, 0), image(1, 0), image(1, 0, name="other")]
    plan = make_plan(images, lacking(images), {})
    assert [i.image.reference.path for i in plan.images] == ["image", "other"]
    assert plan.total_bytes == 100


def test_the_plan_as_data_says_what_is_there_and_what_is_missing() -> None:
    images = [image(1, 0, 1), image(2, 1)]
    plan = make_plan(images, lacking(images, 1), {DIGESTS[0]: 40}, ["look out"])
    data = json.loads(json.dumps(plan.as_data()))
    assert data["totals"] == {
        "images": 2,
        "imagesCached": 1,
        "blobs": 2,
        "blobsMissing": 1,
        "bytes": 300,
        "bytesMissing": 100,
        "bytesSpooled": 40,
        "bytesToDownload": 60,
        "estimatedUnpackedBytes": 200,
    }
    assert [entry["cached"] for entry in data["images"]] == [True, False]
    assert data["images"][1]["blobs"][1] == {"digest": DIGESTS[1], "size": 200, "missing": False}
    assert data["warnings"] == ["look out"]
    assert data["failed"] == []


SETS = st.lists(st.frozensets(st.integers(0, 7), max_size=8), max_size=8)


@given(SETS, st.frozensets(st.integers(0, 7)))
def test_every_image_is_planned_once_and_each_next_one_needs_the_least(
    contents: list[frozenset[int]], held: frozenset[int]
) -> None:
    images = [image(number, *blobs) for number, blobs in enumerate(contents)]
    missing = lacking(images, *held)
    plan = make_plan(images, missing, {})
    assert sorted(i.image.digest for i in plan.images) == sorted(i.digest for i in images)
    there: set[str] = set()
    for number, planned in enumerate(plan.images):
        needs = [
            sum(b.size for b in other.missing if b.digest not in there)
            for other in plan.images[number:]
        ]
        assert needs[0] == min(needs)
        there |= {blob.digest for blob in planned.missing}
    unique = {blob.digest: blob.size for blobs in missing.values() for blob in blobs}
    assert plan.missing_bytes == sum(unique.values())


@given(
    SETS, st.frozensets(st.integers(0, 7)), st.dictionaries(st.integers(0, 7), st.integers(0, 900))
)
def test_every_blob_counts_once_and_what_is_held_is_not_downloaded(
    contents: list[frozenset[int]], held: frozenset[int], spooled: dict[int, int]
) -> None:
    images = [image(number, *blobs) for number, blobs in enumerate(contents)]
    plan = make_plan(images, lacking(images, *held), {DIGESTS[n]: s for n, s in spooled.items()})
    named = {DIGESTS[n] for blobs in contents for n in blobs}
    missing = named - {DIGESTS[n] for n in held}
    assert sorted(blob.digest for blob in plan.blobs) == sorted(named)
    assert sorted(blob.digest for blob in plan.missing) == sorted(missing)
    assert plan.total_bytes == sum(SIZES[digest] for digest in named)
    assert plan.download_bytes == sum(
        max(0, SIZES[digest] - spooled.get(DIGESTS.index(digest), 0)) for digest in missing
    )
    assert plan.cached == sum(not missing & {blob.digest for blob in i.blobs} for i in images)
