"""The work queue between events and passes: which key is looked at next, and when.

    events ─► add ─┐                        ┌─► get ─► pass ─► done ─┐
    next look ─► add_after ─► waiting ─► ready (FIFO)                │
    failure ─► retry ─┘          ▲      the gap of the key ◄─────────┘

Decided here:
- A key is in the queue once, however many events ask for it, and never in two passes at a time;
  what is asked for during a pass means another pass after it.
- Between two passes of a key is a *gap*: as long as the last pass took and 10 ms for each event
  that it answered, within 50 ms and 1 s.  After a quiet time the first event starts a pass at
  once.  So two clusters are answered at once, and 3,500 of them cost a pass per second.
- Whoever makes passes may ask for a longer one (`hold`).
- Ready keys are served in the order in which they became ready, so none starves another.
- A failed key comes back after a back-off; events may bring it back sooner, unless the API
  server has named the time (Retry-After).
Not here: what a pass does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import structlog

from talm.errors import ApiError, Bug, CredentialError, LeadershipLost, TooBusy
from talm.kube.backoff import Backoff

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF_S: Final = 0.1
LONGEST_BACKOFF_S: Final = 60.0

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """The pause between two passes of one key, in seconds."""

    shortest_s: float = 0.05
    longest_s: float = 1.0
    # From 100 events per second on the gap grows to its limit: then a pass answers 100 of them.
    per_event_s: float = 0.01

    def after(self, took_s: float, events: int) -> float:
        """The gap after a pass that took so long and answered so many events."""
        return min(self.longest_s, max(self.shortest_s, took_s + events * self.per_event_s))


@dataclasses.dataclass(slots=True)
class _Entry:
    """What is known of one key; it is forgotten when nothing of it matters any more."""

    events: int = 0  # asked for since its last pass began
    due_at: float = math.inf  # when add_after wants a pass
    not_before: float = -math.inf
    wake_at: float = math.inf  # the timer's next look at it
    queued: bool = False
    running: bool = False
    began_at: float = 0.0
    answers: int = 0  # how many events the running pass answers
    backoff: Backoff | None = None


class WorkQueue(Generic[K]):
    """Keys to be looked at; use it from one event loop.  `clock` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        gap: Gap | None = None,
        first_backoff_s: float = FIRST_BACKOFF_S,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gap = gap or Gap()
        self._backoff_s = first_backoff_s, longest_backoff_s
        self._clock = clock
        self._entries: dict[K, _Entry] = {}
        self._ready: asyncio.Queue[K | None] = asyncio.Queue()  # None: shut down
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()  # keys need not be comparable
        self._timer: asyncio.TimerHandle | None = None
        self._is_shut_down = False

    def __len__(self) -> int:
        """How many keys are ready and wait for a worker."""
        return 0 if self._is_shut_down else self._ready.qsize()

    def add(self, key: K) -> None:
        """Something happened: look at `key` as soon as its gap allows."""
        if not self._is_shut_down:
            entry = self._entries.setdefault(key, _Entry())
            entry.events += 1
            self._consider(key, entry)

    def add_after(self, key: K, delay_s: float) -> None:
        """Look at `key` in `delay_s` at the latest; a pass that begins before makes this void."""
        if not self._is_shut_down:
            entry = self._entries.setdefault(key, _Entry())
            entry.due_at = min(entry.due_at, self._clock() + max(0.0, delay_s))
            self._consider(key, entry)

    async def get(self) -> K | None:
        """Wait for the next key, whose pass begins now; None: the queue was shut down."""
        key = await self._ready.get()
        if key is None:
            self._ready.put_nowait(None)  # for the next worker
            return None
        entry = self._entries[key]
        entry.queued, entry.running = False, True
        entry.answers, entry.events = entry.events, 0
        entry.due_at = math.inf
        entry.began_at = self._clock()
        return key

    def done(self, key: K) -> None:
        """The pass of `key` has ended, well or badly."""
        entry = self._entries[key]
        now = self._clock()
        entry.running = False
        pause = self._gap.after(now - entry.began_at, entry.answers)
        entry.not_before = max(entry.not_before, now + pause)
        self._consider(key, entry)

    def retry(self, key: K, asked_s: float | None = None) -> float:
        """The pass of `key` failed: come back after its back-off; the delay in seconds.

        `asked_s`: what the API server asked for; events do not bring the key back sooner.
        Call it before `done`.
        """
        entry = self._entries[key]
        entry.backoff = entry.backoff or Backoff(*self._backoff_s)
        delay_s = entry.backoff.next_s(asked_s)
        if asked_s is not None:
            entry.not_before = max(entry.not_before, self._clock() + delay_s)
        self.add_after(key, delay_s)
        return delay_s

    def hold(self, key: K, seconds: float) -> None:
        """Begin no pass of `key` for so long, whatever happens; what happens is looked at then."""
        entry = self._entries.setdefault(key, _Entry())
        entry.not_before = max(entry.not_before, self._clock() + seconds)
        self._consider(key, entry)

    def forget(self, key: K) -> None:
        """The pass of `key` succeeded: its next failure starts from the shortest back-off."""
        self._entries[key].backoff = None

    def shut_down(self) -> None:
        """Hand out no more keys; passes that run may end.  Workers get None."""
        self._is_shut_down = True
        if self._timer is not None:
            self._timer.cancel()
        while not self._ready.empty():
            self._ready.get_nowait()
        self._ready.put_nowait(None)

    def poll(self) -> None:
        """Make ready what has become due; the queue's own timer does this."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            if entry is not None and entry.wake_at == at:
                entry.wake_at = math.inf
                self._consider(key, entry)
        self._arm()

    def _consider(self, key: K, entry: _Entry) -> None:
        """Put a key where it belongs now: ready, on the timer, or out of mind."""
        if entry.queued or entry.running or self._is_shut_down:
            return
        now = self._clock()
        wanted_at = now if entry.events else entry.due_at
        at = max(wanted_at, entry.not_before)
        if at <= now:
            entry.queued = True
            self._ready.put_nowait(key)
        elif math.isfinite(at):
            self._wake(key, entry, at)
        elif entry.not_before > now:
            self._wake(key, entry, entry.not_before)  # to forget it then
        elif entry.backoff is None:
            del self._entries[key]

    def _wake(self, key: K, entry: _Entry, at: float) -> None:
        if at < entry.wake_at:
            entry.wake_at = at
            heapq.heappush(self._heap, (at, next(self._order), key))
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and not self._is_shut_down:
            delay = max(0.0, self._heap[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self.poll)


async def run_workers(
    queue: WorkQueue[K],
    reconcile: Callable[[K], Awaitable[float | None]],
    workers: int,
    *,
    on_pass: Callable[[float, bool], None] | None = None,
) -> None:
    """Serve the queue until it is shut down and the passes that run have ended.

    `reconcile(key)` returns in how many seconds it wants to look again (None: at the next event).
    When it raises, the key backs off and the others go on; LeadershipLost and Bug end it all and
    are raised from here.  `on_pass(seconds, succeeded)` is told of each pass, for metrics.
    """

    async def work() -> None:
        while (key := await queue.get()) is not None:
            began = time.monotonic()
            succeeded = False
            try:
                succeeded = await _one_pass(queue, reconcile, key)
            finally:
                queue.done(key)
                if on_pass is not None:
                    on_pass(time.monotonic() - began, succeeded)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _one_pass(
    queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[float | None]], key: K
) -> bool:
    try:
        next_s = await reconcile(key)
    except (LeadershipLost, Bug):
        raise
    except Exception as exc:
        asked_s = exc.retry_after_s if isinstance(exc, TooBusy) else None
        delay_s = queue.retry(key, asked_s)
        # What the API server said is for the reader; anything else is for us, with its traceback.
        expected = isinstance(exc, ApiError | CredentialError)
        log.warning(
            "pass failed",
            key=str(key),
            error=str(exc),
            next_s=round(delay_s, 2),
            exc_info=not expected,
        )
        return False
    queue.forget(key)
    if next_s is not None:
        queue.add_after(key, next_s)
    return True
