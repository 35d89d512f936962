"""Since when the hub has been watched without a gap.

Deadlines of clusters count only watched time: an operator that was down, or an API server that was, must not
fail a thousand clusters the moment it is back, before it has learnt how far they are.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

# A watch says something every minute (a bookmark); after two and a half it is deaf.
DEAF_S: Final = 150.0
LOOK_S: Final = 15.0


class Heard(Protocol):
    """What is asked of an informer."""

    @property
    def present(self) -> bool: ...

    @property
    def last_heard(self) -> float: ...


class Vigil:
    """`since` moves on when a gap has ended; `run` looks for gaps."""

    def __init__(
        self,
        informers: Iterable[Heard],
        now: Callable[[], dt.datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.since = now().replace(microsecond=0)
        self._informers = tuple(informers)
        self._now = now
        self._clock = clock
        self._deaf = False

    async def run(self) -> None:
        """Look for gaps until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Notice that a gap has begun, or that it has ended: then watching begins anew."""
        silence = (self._clock() - i.last_heard for i in self._informers if i.present)
        deaf = max(silence, default=0.0) > DEAF_S
        if self._deaf and not deaf:
            self.since = self._now().replace(microsecond=0)
        self._deaf = deaf
