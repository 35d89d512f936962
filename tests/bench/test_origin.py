from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from bench.origin import SOME_FAULTS, Faults, Origin, Traffic

BLOB = bytes(range(256)) * 1000
DIGEST = "sha256:00"
FREE_PORT = 0


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """A registry that has one blob and a manifest."""

    async def blob(request: web.Request) -> web.Response:
        start = request.http_range.start or 0
        return web.Response(status=206 if start else 200, body=BLOB[start:])

    async def manifest(_: web.Request) -> web.Response:
        return web.Response(body=b"{}", headers={"Docker-Content-Digest": DIGEST})

    application = web.Application()
    application.router.add_get(f"/v2/a/blobs/{DIGEST}", blob)
    application.router.add_get("/v2/a/manifests/x", manifest)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def origin(upstream: str) -> AsyncIterator[Origin]:
    proxy = Origin(upstream)
    async with proxy.serve("127.0.0.1", FREE_PORT):
        yield proxy


@asynccontextmanager
async def get(
    origin: Origin, headers: Mapping[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask for the blob."""
    async with (
        aiohttp.ClientSession(origin.url) as session,
        session.get(f"/v2/a/blobs/{DIGEST}", headers=headers) as answer,
    ):
        yield answer


async def test_blobs_and_manifests_pass_and_only_blobs_are_counted(origin: Origin) -> None:
    async with aiohttp.ClientSession(origin.url) as session:
        async with session.get("/v2/a/manifests/x") as answer:
            assert await answer.read() == b"{}"
            assert answer.headers["Docker-Content-Digest"] == DIGEST
        async with session.head(f"/v2/a/blobs/{DIGEST}") as answer:
            assert answer.content_length == len(BLOB)
        assert origin.blob_bytes == 0
    async with get(origin) as answer:
        assert await answer.read() == BLOB
    assert origin.blob_bytes == len(BLOB)


async def test_a_range_is_passed_on(origin: Origin) -> None:
    headers = {"Range": "bytes=255000-"}
    async with get(origin, headers) as answer:
        assert (answer.status, await answer.read()) == (206, BLOB[255000:])
    assert origin.blob_bytes == 1000


async def test_an_answer_may_be_refused(origin: Origin) -> None:
    for faults, status in ((Faults(unavailable=1), 503), (Faults(too_many=1), 429)):
        origin.reset(faults)
        async with get(origin) as answer:
            assert answer.status == status
    assert origin.blob_bytes == 0


@pytest.mark.parametrize("faults", [Faults(cut=1), Faults(stalled=1, silence_s=0)])
async def test_a_transfer_may_end_in_the_middle(origin: Origin, faults: Faults) -> None:
    origin.reset(faults)
    async with get(origin) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert origin.blob_bytes == len(BLOB) // 2


async def test_a_blob_may_come_with_another_content(origin: Origin) -> None:
    origin.reset(Faults(corrupt=1))
    async with get(origin) as answer:
        assert await answer.read() == bytes(len(BLOB))
    assert origin.spoiled_bytes == len(BLOB)


def test_faults_are_the_same_each_time_and_as_frequent_as_they_should() -> None:
    drawn = [SOME_FAULTS.draw(f"sha256:{n}", 1) for n in range(5000)]
    assert drawn == [SOME_FAULTS.draw(f"sha256:{n}", 1) for n in range(5000)]
    counts = Counter(drawn)
    assert counts["cut"] / 5000 == pytest.approx(0.15, rel=0.2)
    assert counts["unavailable"] / 5000 == pytest.approx(0.05, rel=0.3)
    assert counts[""] / 5000 == pytest.approx(0.71, rel=0.1)


def test_what_came_spoiled_is_no_refetch() -> None:
    assert Traffic(blobs=110, spoiled=10, link=0).refetch(unique=100) == 1.0
