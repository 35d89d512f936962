"""How many requests may be in flight: halved when the API server suffers, creeping up again.

No fixed rate: an idle hub is used as fast as it answers, a busy one is left alone (additive increase,
multiplicative decrease).
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
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._times: collections.deque[float] = collections.deque(maxlen=WINDOW)

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place; what is raised inside tells how the server does."""
        while self.in_flight >= self.limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.in_flight += 1
        try:
            yield
        except TooBusy:
            self._halve()
            raise
        else:
            self._grow()
        finally:
            self.in_flight -= 1
            self._wake()

    def answered(self, seconds: float) -> None:
        """One request took so long."""
        self._times.append(seconds)
        if len(self._times) == WINDOW and sorted(self._times)[-2] > SLOW_S:
            self._times.clear()
            self._halve()

    def _halve(self) -> None:
        self.limit = max(FLOOR, self.limit // 2)
        self._good = 0

    def _grow(self) -> None:
        self._good += 1
        if self._good >= GOOD_ANSWERS_PER_STEP and self.limit < self._most:
            self.limit += 1
            self._good = 0

    def _wake(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
