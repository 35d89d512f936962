"""How many requests may be in flight: halved when the API server suffers, creeping up again.

No fixed rate: an idle hub is used as fast as it answers, a busy one is left alone (additive increase,
multiplicative decrease).  Places are handed over in the order in which they were asked for.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from talm.errors import TooBusy

FLOOR: Final = 4
# A p99 over the last answers that is slower than this means that the server queues.
SLOW_S: Final = 2.0
WINDOW: Final = 100
# One more in flight per so many good answers.
GOOD_ANSWERS_PER_STEP: Final = 50


class Throttle:
    """A bounded number of clusters worked on at the same time; one of them has one request in flight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most
        self.in_flight = 0
        self._good = 0
        self._halvings = 0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._times: collections.deque[float] = collections.deque(maxlen=WINDOW)

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place; what is raised inside tells how the server does."""
        await self._enter()
        halvings = self._halvings
        try:
            yield
        except TooBusy:
            # All that were under way together are refused together: that is one sign, not many.
            if halvings == self._halvings:
                self._halve()
            raise
        else:
            self._grow()
        finally:
            self._leave()

    def answered(self, seconds: float) -> None:
        """One request took so long."""
        self._times.append(seconds)
        if len(self._times) == WINDOW and sorted(self._times)[-2] > SLOW_S:
            self._halve()

    async def _enter(self) -> None:
        if not self._waiting and self.in_flight < self.limit:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()  # the place was ours already
            raise

    def _leave(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self.in_flight += 1
                turn.set_result(None)

    def _halve(self) -> None:
        self.limit = max(min(FLOOR, self._most), self.limit // 2)
        self._halvings += 1
        self._good = 0
        self._times.clear()

    def _grow(self) -> None:
        self._good += 1
        if self._good >= GOOD_ANSWERS_PER_STEP and self.limit < self._most:
            self.limit += 1
            self._good = 0
