"""How a blob's bytes are read: whole, and in few reads however small the packets are."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from talm.agent.transfer.endpoints import Endpoint
from talm.agent.transfer.registry import BlobStream, open_session

ENDPOINT = Endpoint("http://127.0.0.1/v2", "127.0.0.1", "")
PACKETS = 300
PACKET = b"0123456789abcdef" * 64


async def trickle(request: web.Request) -> web.StreamResponse:
    """A packet each millisecond, as a fast link brings them."""
    response = web.StreamResponse()
    response.content_length = PACKETS * len(PACKET)
    await response.prepare(request)
    for _ in range(PACKETS):
        await response.write(PACKET)
        await asyncio.sleep(0.001)
    return response


async def test_small_packets_are_collected_and_nothing_is_lost() -> None:
    app = web.Application()
    app.router.add_get("/", trickle)
    async with TestServer(app) as server, open_session(20.0) as session:
        for _ in range(2):  # the connection is fit for another request
            async with session.get(server.make_url("/")) as response:
                stream = BlobStream(0, False, response, ENDPOINT)
                chunks = [chunk async for chunk in stream.chunks("a blob")]
            assert b"".join(chunks) == PACKET * PACKETS
            assert len(chunks) < PACKETS / 2
