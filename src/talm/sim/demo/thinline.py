"""A thin line to a server: a TCP relay on loopback through which answers come at a set rate.

It stands for the bandwidth between a site and the registry, knows nothing of the protocol, and
delivers every byte.  The rate is shared by all connections; requests are not slowed down.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Self

from talm.sim.plane.listen import LOOPBACK

_PIECE: Final = 8 << 10  # small beside a second's worth, so that many connections take turns


class ThinLine:
    """The relay to `port` on loopback; `async with` starts and stops it."""

    def __init__(self, port: int, *, bytes_per_s: float | None = None) -> None:
        """`bytes_per_s` None: as fast as it goes."""
        self.carried = 0
        """Bytes delivered so far."""
        self._target = port
        self._rate = bytes_per_s
        self._free_at = 0.0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """`host:port`, to be used in place of the server's own."""
        assert self._server is not None  # noqa: S101 - it was started
        return f"{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    def set_rate(self, bytes_per_s: float | None) -> None:
        """Make it thinner or wider from now on."""
        self._rate = bytes_per_s
        self._free_at = 0.0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, LOOPBACK, 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client to the server until either side hangs up."""
        far: asyncio.StreamWriter | None = None
        try:
            answers, far = await asyncio.open_connection(LOOPBACK, self._target)
            ways = [
                asyncio.ensure_future(_pump(reader, far)),
                asyncio.ensure_future(self._pump_slowly(answers, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            return  # the client sees its connection closed, as with a server that is down
        finally:
            for end in (writer, far):
                if end is not None:
                    end.close()
                    with contextlib.suppress(OSError):
                        await end.wait_closed()

    async def _pump_slowly(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        while piece := await source.read(_PIECE):
            await self._wait_turn(len(piece))
            target.write(piece)
            await target.drain()
            self.carried += len(piece)

    async def _wait_turn(self, size: int) -> None:
        """Wait until the line has carried what was before."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        begin = max(now, self._free_at)
        self._free_at = begin + size / self._rate
        await asyncio.sleep(begin - now)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE):
        target.write(piece)
        await target.drain()
