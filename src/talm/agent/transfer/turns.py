"""Whose turn it is to use one of the streams: by rank, so that images are complete early.

Who waits long for a registry steps aside, and others use the stream meanwhile; its rank brings it
back before those that were planned later.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator
from typing import Self


class Turns:
    """`count` streams.  The lowest rank comes first, among equals who has waited longest."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    def turn(self, rank: int) -> Turn:
        """Return a turn to be waited for, as a context manager."""
        return Turn(self, rank)

    def wanted_before(self, rank: int) -> bool:
        """Whether somebody of a lower rank waits."""
        return any(other < rank and not called.done() for other, _, called in self._waiting)

    async def take(self, rank: int) -> None:
        """Wait for a stream."""
        if self._free:
            self._free -= 1
            return
        called = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._arrivals), called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self.leave()  # called and ended at the same moment: the next one's turn
            raise

    def leave(self) -> None:
        """Hand the stream to the next in rank that still waits."""
        while self._waiting:
            *_, called = heapq.heappop(self._waiting)
            if not called.done():
                called.set_result(None)
                return
        self._free += 1


class Turn:
    """One user's stream, from when it is called until it is done, but for the times aside."""

    def __init__(self, turns: Turns, rank: int) -> None:
        self.rank = rank
        self._turns = turns
        self._held = False

    async def __aenter__(self) -> Self:
        await self._turns.take(self.rank)
        self._held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    @contextlib.asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Let others have the stream inside the block, then wait for one again."""
        self._leave()
        yield
        await self.__aenter__()

    def _leave(self) -> None:
        if self._held:
            self._held = False
            self._turns.leave()
