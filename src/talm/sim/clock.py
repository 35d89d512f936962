"""The time that simulated things live by.

A spoke has its own clock, which may be wrong (`skew`), and its own speed (`pace`): at pace 10
a Job of 60 s takes 6 s of real time, while timestamps stay on the wall clock.  Everything is
derived from the event loop's time, so that a test with a virtual loop needs no waiting.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Final

SECOND: Final = dt.timedelta(seconds=1)


class Clock:
    """`now` of one place, and waiting at its pace.  Create it inside a running loop."""

    def __init__(
        self,
        *,
        pace: float = 1.0,
        skew: dt.timedelta = dt.timedelta(0),
        start: dt.datetime | None = None,
    ) -> None:
        self.pace = pace
        self.skew = skew
        self._loop = asyncio.get_running_loop()
        self._base = start or dt.datetime.fromtimestamp(time.time(), dt.UTC)
        self._zero = self._loop.time()

    def now(self) -> dt.datetime:
        """The time that this place believes in (aware, UTC)."""
        return self._base + dt.timedelta(seconds=self._loop.time() - self._zero) + self.skew

    def stamp(self) -> str:
        """`now` as the API server writes it: seconds, no fraction."""
        return format_time(self.now())

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of this place's own pace."""
        await asyncio.sleep(self.real(seconds))

    def real(self, seconds: float) -> float:
        """How long `seconds` of this place take in the loop's seconds."""
        return seconds / self.pace

    def beside(self, *, skew: dt.timedelta, pace: float | None = None) -> Clock:
        """A clock of another place: same true time, its own error and pace."""
        twin = Clock(pace=self.pace if pace is None else pace, skew=skew, start=self._base)
        twin._zero = self._zero
        return twin


def format_time(moment: dt.datetime) -> str:
    """RFC 3339 with whole seconds in UTC, rounded down as metav1.Time does."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
