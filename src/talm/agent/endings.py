"""How a run ends when it does not end by itself: a signal, or the Job's deadline.

    SIGTERM       pulling is cancelled (partial blobs are flushed), Interrupted, exit within 5 s
    the deadline  pulling stops 60 s before it, PartlyCached is told, then the run waits to be
                  ended: a Job whose pod fails at that time would try again in vain

Not here: who is told (progress.py), what the deadline is counted from (attempts.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Final

import structlog

from talm.agent.failures import failure
from talm.api.progress import FailureClass
from talm.errors import AgentError

log = structlog.get_logger()

CRASHED: Final = 1
MARGIN_S: Final = 60.0  # the record needs 5 s to be seen, views of the hub up to a minute
_FLUSH_S: Final = 1.5  # of the 5 s between SIGTERM and the exit; the last record may take 3 s


@contextlib.contextmanager
def signals(on_signal: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Set the event at SIGTERM and SIGINT, and call `on_signal` at the first of them."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end() -> None:
        if not ended.is_set():
            ended.set()
            on_signal()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield ended
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Deadline:
    """When the Job ends: `seconds` after its start (None: never).

    It is counted from this object's making, until `started_before` says better.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.began = dt.datetime.now(dt.UTC)
        self._start = time.monotonic()
        self._moved = asyncio.Event()

    @property
    def margin_s(self) -> float:
        """How long before the end pulling stops: 60 s, less only of a deadline under 4 min."""
        return min(MARGIN_S, (self.seconds or 0.0) / 4)

    def started_before(self, seconds: float) -> None:
        """Note that the Job had been running for so long when this run began."""
        self._start -= max(0.0, seconds)
        self._moved.set()

    def left_s(self) -> float:
        """How long until pulling must stop; infinite without a deadline."""
        if self.seconds is None:
            return math.inf
        return self._start + self.seconds - self.margin_s - time.monotonic()

    def job_left_s(self) -> float | None:
        """How long until the Job ends; None without a deadline."""
        return None if self.seconds is None else self._start + self.seconds - time.monotonic()

    async def near(self) -> None:
        """Wait until pulling must stop; for ever without a deadline."""
        await self._pass(-self.margin_s)

    async def over(self) -> None:
        """Wait until the Job's controller has had time to end the pod."""
        await self._pass(self.margin_s)

    async def _pass(self, offset_s: float) -> None:
        while True:
            self._moved.clear()
            left = None
            if self.seconds is not None:
                left = self._start + self.seconds + offset_s - time.monotonic()
                if left <= 0:
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), left)


async def outcome(
    work: Coroutine[None, None, None], ended: asyncio.Event, deadline: Deadline
) -> AgentError | None:
    """Do `work` until it is through, `ended` is set or the deadline is near; None: all is well.

    Every way to fail becomes an error of a class.
    """
    working = asyncio.create_task(work)
    watching = [asyncio.create_task(ended.wait()), asyncio.create_task(deadline.near())]
    try:
        await asyncio.wait([working, *watching], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait([working], timeout=_FLUSH_S)
        if working.done() and not working.cancelled():
            return _result(working)
    finally:
        for task in (working, *watching):
            task.cancel()
    if ended.is_set():
        return failure(FailureClass.INTERRUPTED, "ended by a signal; what arrived is kept")
    return failure(
        FailureClass.PARTLY_CACHED,
        f"stopped {deadline.margin_s:g} s before the Job's deadline of {deadline.seconds:g} s",
    )


def _result(working: asyncio.Task[None]) -> AgentError | None:
    exc = working.exception()
    if exc is None or isinstance(exc, AgentError):
        return exc
    log.error("crashed", exc_info=exc)
    return AgentError("Bug", f"{type(exc).__name__}: {exc}", CRASHED)
