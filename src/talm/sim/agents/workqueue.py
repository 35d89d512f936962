"""The queue of an OCM agent's controller: one worker, each key at most once, delays, back-off.

Behaves as client-go's work queue under controller-runtime: a key that is added while it is
worked on comes again afterwards; of several delays for one key the earliest wins; a failure
comes back after 5 ms, doubled each time up to 1,000 s; success forgets the failures.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog

from talm.errors import TalmError

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 0.005
LAST_RETRY_S: Final = 1000.0
DOUBLINGS: Final = 18  # 5 ms * 2^18 is past the limit; keeps the power small

Work: TypeAlias = Callable[[str], Awaitable[float | None]]


class Panic(TalmError):
    """The agent's code dereferenced nil; its framework recovers and tries again for ever."""


class SerialQueue:
    """Runs `work(key)` for each key added, one at a time, in order.

    `work` returns the seconds after which it wants the key again (None or <= 0: not by itself)
    and raises TalmError to be called again after the back-off.
    """

    def __init__(self, work: Work, *, name: str) -> None:
        self.name = name
        self._work = work
        self._ready: collections.deque[str] = collections.deque()
        self._dirty: set[str] = set()
        self._current: str | None = None
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def add(self, key: str) -> None:
        """Have `key` worked on as soon as its turn comes."""
        if self._stopped or key in self._dirty:
            return
        self._dirty.add(key)
        if key == self._current:
            return
        self._ready.append(key)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    def add_after(self, key: str, delay_s: float) -> None:
        """Have `key` worked on in `delay_s`, or earlier if an earlier delay is pending."""
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        pending = self._delayed.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + delay_s:
                return
            pending.cancel()
        self._delayed[key] = loop.call_later(delay_s, self._due, key)

    def forget(self, key: str) -> None:
        """Forget the failures of `key`: its next one is its first."""
        self._failures.pop(key, None)

    def reset(self) -> None:
        """Forget everything, as a restarted process does; what runs is cut off."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for handle in self._delayed.values():
            handle.cancel()
        self._ready.clear()
        self._dirty.clear()
        self._delayed.clear()
        self._failures.clear()
        self._current = None

    def stop(self) -> None:
        """Reset and accept nothing more."""
        self._stopped = True
        self.reset()

    @property
    def idle(self) -> bool:
        """Nothing is running and nothing is ready (delayed keys may remain)."""
        return self._task is None

    def _due(self, key: str) -> None:
        self._delayed.pop(key, None)
        self.add(key)

    async def _drain(self) -> None:
        mine = asyncio.current_task()
        try:
            while self._ready:
                key = self._ready.popleft()
                self._current = key
                self._dirty.discard(key)
                await self._once(key)
                self._current = None
                if key in self._dirty:
                    self._ready.append(key)
        finally:
            if self._task is mine:  # after a reset the queue may already have a new task
                self._task = None

    async def _once(self, key: str) -> None:
        try:
            again_s = await self._work(key)
        except TalmError as exc:
            log.debug("retry", queue=self.name, key=key, error=str(exc))
            self.add_after(key, self._back_off(key))
        except Exception:
            # a fault of the simulator itself: loud, and the key is not lost
            log.exception("agent failed", queue=self.name, key=key)
            self.add_after(key, self._back_off(key))
        else:
            self._failures.pop(key, None)
            if again_s is not None and again_s > 0:
                self.add_after(key, again_s)

    def _back_off(self, key: str) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(FIRST_RETRY_S * float(1 << min(failures, DOUBLINGS)), LAST_RETRY_S)
