"""A cap on what all streams of a run bring together: a token bucket.

Bytes are counted when they have been read; whoever read them waits before it reads on, and TCP's
own flow control passes the wait on to the sender.
"""

from __future__ import annotations

from typing import Final

from talm.agent.transfer.retry import REAL_CLOCK, Clock

_BURST_S: Final = 0.25  # what a pause leaves unused may be caught up, but no more than this


class Bucket:
    """`bytes_per_s` over all streams; None: no cap."""

    def __init__(self, bytes_per_s: float | None, clock: Clock = REAL_CLOCK) -> None:
        self._rate = bytes_per_s
        self._clock = clock
        self._free = 0.0  # below zero: so many bytes have come too early
        self._seen = clock.now()

    async def take(self, count: int) -> None:
        """Account for `count` bytes that came, and wait until they were due."""
        if not self._rate:
            return
        now = self._clock.now()
        earned = (now - self._seen) * self._rate
        self._free = min(self._free + earned, self._rate * _BURST_S) - count
        self._seen = now
        if self._free < 0:
            await self._clock.sleep(-self._free / self._rate)
