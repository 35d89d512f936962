"""How far the run is: the numbers, and when they are told.

The run changes one `Progress`; each sink looks at it at its own pace, and at once when the phase
changes.  A sink that fails is tried again at its next turn: telling never ends the work.
Not here: who is told (sinks.py), what fits into a record (record.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec
import structlog

from talm.agent.failures import text_of
from talm.agent.record import Meter, Tail, bounded
from talm.agent.sinks import Sink
from talm.api.progress import FailedImage, FailureClass, ProgressRecord, RunPhase
from talm.errors import AgentError, TalmError

log = structlog.get_logger()

_HEARTBEAT_S: Final = 30.0  # a record older than two of these comes from a process that hangs
_LAST_WORD_S: Final = 3.0  # of the 5 s between SIGTERM and the exit
_PATIENCE_S: Final = (
    60.0  # while nobody hurries: a single node's API server is back within a minute
)
_AGAIN_S: Final = 1.0
_WRITE_S: Final = 10.0  # a connection that hangs is given up, and made anew
_MAX_TEXT: Final = 2000


class Progress:
    """The numbers of one run; also the `Counter` of its downloads."""

    def __init__(self, run: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._record = ProgressRecord(run=run)
        self._turns: list[asyncio.Event] = []
        self._finished = False
        self._meter = Meter(clock)
        self._tail = Tail()
        self._awaited: dict[str, None] = {}  # images by name, in the plan's order

    @property
    def record(self) -> ProgressRecord:
        """The record as of now, without a heartbeat."""
        return self._record

    def enter(self, phase: RunPhase) -> None:
        """Begin a phase; every sink is told at once."""
        log.info("phase", was=str(self._record.phase), now=phase.value)
        self._change(phase=phase)
        self._note(f"phase {phase.value}")
        for turn in self._turns:
            turn.set()

    def is_attempt(self, number: int, earlier: Sequence[str]) -> None:
        """Note which attempt this is, and how each before it ended."""
        for text in earlier:
            log.info("earlier attempt", ended=text)
            self._note(text)
        self._change(attempt=number, earlier=tuple(earlier))

    def planned(self, *, images: int, total: int, held: int, names: Sequence[str] = ()) -> None:
        """Set the totals: bytes of all blobs, and how many of them are here already.

        `names` are the images that will be brought.  What was fetched to find out what to pull and
        is not part of it does not count; that is a restart.
        """
        if held < self._record.bytes_done:
            self._change(restarts=self._record.restarts + 1)
        self._awaited = dict.fromkeys(names)
        self._change(images_total=images, bytes_total=total, bytes_done=held)
        self._is_through("")

    def gained(self, count: int) -> None:
        """Count bytes that arrived."""
        self._meter.gained(count)
        self._change(bytes_done=self._record.bytes_done + count)

    def dropped(self, count: int) -> None:
        """Take back bytes that were thrown away; the one way in which a count goes backwards."""
        if count:
            left = max(0, self._record.bytes_done - count)
            self._change(bytes_done=left, restarts=self._record.restarts + 1)

    def pinned(self, pinned: bool, why: str = "") -> None:
        """Note whether one more image is safe from the runtime's garbage collection; `why` not."""
        if self._record.pinned is not False:
            self.all_pinned(pinned, why)

    def all_pinned(self, pinned: bool, why: str = "") -> None:
        """Note whether all images are, whatever was noted of single ones before."""
        self._change(pinned=pinned, not_pinned="" if pinned else why[:_MAX_TEXT])

    def image_done(self, name: str = "") -> None:
        """Count an image that is in the store."""
        self._is_through(name)
        self._change(images_done=self._record.images_done + 1)

    def image_failed(self, error: AgentError, name: str = "") -> None:
        """Count an image that cannot be had; `name` "" where only the error names it."""
        self._is_through(name)
        text = text_of(error)[:_MAX_TEXT]
        self._note(f"{error.kind}: {text}")
        failed = FailedImage(image=name, error_class=error.kind, error_text=text)
        self._change(
            failed=(*self._record.failed, failed),
            images_failed=self._record.images_failed + 1,
            error_class=error.kind,
            error_text=text,
        )

    def image_lost(self, error: AgentError, name: str) -> None:
        """Take back that an image was done: the store, asked, does not have it."""
        done = max(0, self._record.images_done - 1)
        self._change(images_done=done, restarts=self._record.restarts + 1)
        self.image_failed(error, name)

    def _is_through(self, name: str) -> None:
        """Take an image off the list; blobs come in its order, so its first one is at work."""
        self._awaited.pop(name, None)
        self._change(current_image=next(iter(self._awaited), ""))

    def retrying(self, text: str) -> None:
        """Note a passing trouble; it stays the last error until the run ends."""
        log.warning("trying again", after=text)
        self._note(f"trying again after {text}")
        # The class that it will be when it does not pass.
        kind = FailureClass.REGISTRY_UNREACHABLE.value
        self._change(error_class=kind, error_text=text[:_MAX_TEXT])

    def warn(self, text: str) -> None:
        """Tell what a person should know although nothing has failed."""
        log.warning("warning", text=text)
        if text not in self._record.warnings:
            self._note(f"warning: {text}")
            warnings = (*self._record.warnings, text)
            self._change(warnings=warnings, warnings_total=len(warnings))

    def finish(self, error: AgentError | None) -> None:
        """Enter the final phase, with the error's class and text or with none."""
        self._finished = True
        if error is None:
            self._change(error_class="", error_text="", current_image="")
            self.enter(RunPhase.SUCCEEDED)
        else:
            self._count_missing()
            words = self._last_words(error)[:_MAX_TEXT]
            self._change(error_class=error.kind, error_text=words)
            self._note(f"{error.kind}: {words}")
            self.enter(RunPhase.FAILED)

    def _count_missing(self) -> None:
        """Name what neither came nor failed."""
        left = tuple(self._awaited)
        self._change(missing=left, images_missing=len(left))

    def _last_words(self, error: AgentError) -> str:
        """Add to the text of a run that was stopped how far it was."""
        stopped = error.kind in (FailureClass.PARTLY_CACHED, FailureClass.INTERRUPTED)
        if not (stopped and self._record.images_total):
            return text_of(error)
        now = self._record
        missing = f"; missing: {', '.join(now.missing)}" if now.missing else ""
        return (
            f"{text_of(error)}; {now.images_done} of {now.images_total} images and"
            f" {now.bytes_done / 2**20:.1f} of {now.bytes_total / 2**20:.1f} MiB are here{missing}"
        )

    def told(self) -> ProgressRecord:
        """Return the record as it is told now: with rate and heartbeat, within its bound."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        rate, eta = 0, None
        left = self._record.bytes_total - self._record.bytes_done
        if not self._finished:
            rate = round(self._meter.rate())
            eta = math.ceil(left / rate) if rate and left > 0 else None
        return bounded(
            msgspec.structs.replace(self._record, bytes_per_s=rate, eta_s=eta, heartbeat=now)
        )

    @contextlib.asynccontextmanager
    async def told_to(
        self, sinks: Sequence[Sink], hurry: asyncio.Event | None = None
    ) -> AsyncIterator[None]:
        """Keep `sinks` told inside this block.

        After it the last record is offered again for up to 45 s, or for 3 s once `hurry` is set.
        """
        followers = [asyncio.create_task(self._follow(sink)) for sink in sinks]
        through = asyncio.create_task(_all_through(followers))
        hurried = asyncio.create_task((hurry or asyncio.Event()).wait())
        try:
            yield
        finally:
            await asyncio.wait(
                {through, hurried}, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
            )
            if hurried.done():
                await asyncio.wait({through}, timeout=_LAST_WORD_S)
            if not through.done():
                log.warning("the last record could not be delivered in time")
            for task in (hurried, *followers):
                task.cancel()
            await through

    async def _follow(self, sink: Sink) -> None:
        turn = asyncio.Event()
        turn.set()
        self._turns.append(turn)
        told: ProgressRecord | None = None
        told_at, trouble = 0.0, ""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    pause_s = min(sink.interval_s, _AGAIN_S) if self._finished else sink.interval_s
                    await asyncio.wait_for(turn.wait(), pause_s)
                turn.clear()
                record, last = self._record, self._finished
                if record != told or time.monotonic() - told_at >= _HEARTBEAT_S:
                    trouble = await _tell(sink, self.told(), trouble)
                    if not trouble:
                        told, told_at = record, time.monotonic()
                if last and not trouble:
                    return
        finally:
            await sink.close()

    def _note(self, text: str) -> None:
        """Add to the last lines, which a person on the hub reads."""
        self._change(lines=self._tail.add(text, dt.datetime.now(dt.UTC)))

    def _change(self, **changes: object) -> None:
        self._record = msgspec.structs.replace(self._record, **changes)


async def _all_through(followers: Sequence[asyncio.Task[None]]) -> bool:
    ends = await asyncio.gather(*followers, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            log.error("somebody was told no more", exc_info=end)
    return True


async def _tell(sink: Sink, record: ProgressRecord, before: str) -> str:
    """Return why the record was not delivered, "" when it was; logged unless it was so `before`."""
    try:
        async with asyncio.timeout(_WRITE_S):
            await sink.write(record)
    except (TalmError, OSError) as exc:
        why = str(exc) or f"no answer within {_WRITE_S:g} s"
        if why != before:
            log.warning("record not delivered", to=type(sink).__name__, error=why)
        return why
    return ""
