"""The thin line delivers every byte, in its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from talm.sim.demo.thinline import ThinLine

CONTENT: Final = bytes(range(256)) * 256  # 64 KiB


@pytest_asyncio.fixture
async def server() -> AsyncIterator[int]:
    """Answers one line with CONTENT, then hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            writer.write(CONTENT)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()


async def ask(line: ThinLine) -> bytes:
    host, _, port = line.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"please\n")
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("rate", [None, 2e6])
async def test_every_byte_comes_through(server: int, rate: float | None) -> None:
    async with ThinLine(server, bytes_per_s=rate) as line:
        assert await asyncio.gather(*(ask(line) for _ in range(3))) == [CONTENT] * 3
        assert line.carried == 3 * len(CONTENT)


async def test_all_connections_share_the_rate(server: int) -> None:
    loop = asyncio.get_running_loop()
    async with ThinLine(server, bytes_per_s=400_000) as line:
        started = loop.time()
        await asyncio.gather(ask(line), ask(line))
        # 128 KiB take 0.33 s at 400 kB/s, however quick the machine is
        assert loop.time() - started > 0.25


async def test_a_line_that_gets_wider_is_felt_by_who_is_using_it(server: int) -> None:
    async with ThinLine(server, bytes_per_s=100_000) as line:
        asking = asyncio.ensure_future(ask(line))
        while not line.carried:  # noqa: ASYNC110 - a count tells nobody
            await asyncio.sleep(0.01)
        assert not asking.done()
        line.set_rate(None)
        assert await asking == CONTENT


async def test_ending_the_line_cuts_what_is_on_it(server: int) -> None:
    async with ThinLine(server, bytes_per_s=1_000) as line:
        asking = asyncio.ensure_future(ask(line))
        while not line.carried:  # noqa: ASYNC110 - a count tells nobody
            await asyncio.sleep(0.01)
    assert len(await asking) < len(CONTENT)


async def test_a_server_that_is_down_is_a_closed_connection() -> None:
    probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    async with ThinLine(port) as line:
        assert await ask(line) == b""
