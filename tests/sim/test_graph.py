from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from talm.sim.graph import Fails, Garbles, GraphServer, Hangs, Release

RELEASES = (
    Release("4.10.8", "r/release@sha256:8", ("stable-4.10",)),
    Release("4.9.1", "r/release@sha256:1", ("stable-4.9",)),
    Release("4.10.9", "r/release@sha256:9", ("stable-4.10", "fast-4.10")),
)


@pytest.fixture
async def graph() -> AsyncIterator[GraphServer]:
    async with GraphServer(RELEASES, [("4.10.8", "4.10.9"), ("4.9.1", "4.10.8")]) as graph:
        yield graph


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_channel_has_its_versions_and_the_ways_between_them(
    graph: GraphServer, session: aiohttp.ClientSession
) -> None:
    async with session.get(graph.url, params={"channel": "stable-4.10"}) as response:
        found = await response.json()
    assert [(n["version"], n["payload"]) for n in found["nodes"]] == [
        ("4.10.8", "r/release@sha256:8"),
        ("4.10.9", "r/release@sha256:9"),
    ]
    assert found["edges"] == [[0, 1]]


async def test_an_unknown_channel_is_empty_and_a_missing_one_an_error(
    graph: GraphServer, session: aiohttp.ClientSession
) -> None:
    async with session.get(graph.url, params={"channel": "candidate-9"}) as response:
        assert (await response.json())["nodes"] == []
    async with session.get(graph.url) as response:
        assert response.status == 400


async def test_the_real_services_path_answers_too(
    graph: GraphServer, session: aiohttp.ClientSession
) -> None:
    url = graph.url.replace("/graph", "/api/upgrades_info/v1/graph")
    async with session.get(url, params={"channel": "fast-4.10"}) as response:
        assert len((await response.json())["nodes"]) == 1


async def test_each_fault_takes_the_place_of_one_answer(
    graph: GraphServer, session: aiohttp.ClientSession
) -> None:
    graph.faults.extend([Fails(502), Garbles(), Hangs(0.0)])
    asked = {"channel": "stable-4.10"}
    async with session.get(graph.url, params=asked) as response:
        assert response.status == 502
    async with session.get(graph.url, params=asked) as response:
        with pytest.raises(ValueError, match="Unterminated"):
            await response.json()
    for _ in range(2):
        async with session.get(graph.url, params=asked) as response:
            assert len((await response.json())["nodes"]) == 2
    assert graph.served == 4


async def test_a_hanging_answer_ends_with_the_server(session: aiohttp.ClientSession) -> None:
    async with GraphServer(RELEASES) as graph:
        graph.faults.append(Hangs())
        url, asked = graph.url, {"channel": "stable-4.10"}

        async def ask() -> int:
            async with session.get(url, params=asked) as response:
                return response.status

        answer = asyncio.create_task(ask())
        while not graph.served:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.001)
        assert not answer.done()
    assert await answer == 200
