"""How far the run is, told to whoever listens: a ConfigMap, the log, a terminal.

The run changes one `Progress`; each sink looks at it at its own pace, and at once when the phase
changes.  A sink that fails is tried again at its next turn: telling never ends the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog

from talm.agent.failures import text_of
from talm.api import kinds
from talm.api.progress import RECORD_KEY, ProgressRecord, RunPhase
from talm.errors import AgentError, TalmError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from talm.kube.client import Client

log = structlog.get_logger()

_HEARTBEAT_S: Final = 30.0  # a record older than two of these comes from a process that hangs
_LAST_WORD_S: Final = 3.0  # of the 5 s between SIGTERM and the exit
_MAX_TEXT: Final = 2000


class Sink(Protocol):
    """Who is told, at most every `interval_s` but for changes of phase."""

    interval_s: float

    async def write(self, record: ProgressRecord) -> None:
        """Tell.  TalmError and OSError are survived."""
        ...

    async def close(self) -> None:
        """Let go of what was opened."""
        ...


class Progress:
    """The numbers of one run; also the `Counter` of its downloads."""

    def __init__(self, run: str) -> None:
        self._record = ProgressRecord(run=run)
        self._turns: list[asyncio.Event] = []
        self._finished = False

    @property
    def record(self) -> ProgressRecord:
        """The record as of now, without a heartbeat."""
        return self._record

    def enter(self, phase: RunPhase) -> None:
        """Begin a phase; every sink is told at once."""
        log.info("phase", was=str(self._record.phase), now=phase.value)
        self._change(phase=phase)
        for turn in self._turns:
            turn.set()

    def planned(self, *, images: int, total: int, held: int) -> None:
        """Set the totals: bytes of all blobs, and how many of them are here already."""
        self._change(images_total=images, bytes_total=total, bytes_done=held)

    def gained(self, count: int) -> None:
        """Count bytes that arrived."""
        self._change(bytes_done=self._record.bytes_done + count)

    def dropped(self, count: int) -> None:
        """Take back bytes that were thrown away; the one way in which a count goes backwards."""
        if count:
            left = max(0, self._record.bytes_done - count)
            self._change(bytes_done=left, restarts=self._record.restarts + 1)

    def working_on(self, image: str) -> None:
        """Name the image that is being brought."""
        self._change(current_image=image)

    def pinned(self, pinned: bool) -> None:
        """Note whether one more image is safe from the runtime's garbage collection."""
        self._change(pinned=pinned and self._record.pinned is not False)

    def image_done(self) -> None:
        """Count an image that is in the store."""
        self._change(images_done=self._record.images_done + 1)

    def retrying(self, text: str) -> None:
        """Note a passing trouble; it stays the last error until the run ends."""
        log.warning("trying again", after=text)
        self._change(error_text=text[:_MAX_TEXT])

    def warn(self, text: str) -> None:
        """Tell what a person should know although nothing has failed."""
        log.warning("warning", text=text)
        if text not in self._record.warnings:
            self._change(warnings=(*self._record.warnings, text))

    def finish(self, error: AgentError | None) -> None:
        """Enter the final phase, with the error's class and text or with none."""
        self._finished = True
        if error is None:
            self._change(error_class="", error_text="", current_image="")
            self.enter(RunPhase.SUCCEEDED)
        else:
            self._change(error_class=error.kind, error_text=text_of(error)[:_MAX_TEXT])
            self.enter(RunPhase.FAILED)

    @contextlib.asynccontextmanager
    async def told_to(self, sinks: Sequence[Sink]) -> AsyncIterator[None]:
        """Keep `sinks` told inside this block; the last record reaches them within 3 s, or not."""
        followers = [asyncio.create_task(self._follow(sink)) for sink in sinks]
        try:
            yield
        finally:
            if followers:
                _, late = await asyncio.wait(followers, timeout=_LAST_WORD_S)
                for follower in late:
                    log.warning("the last record could not be delivered in time")
                    follower.cancel()
                await asyncio.gather(*followers, return_exceptions=True)

    async def _follow(self, sink: Sink) -> None:
        turn = asyncio.Event()
        turn.set()
        self._turns.append(turn)
        told: ProgressRecord | None = None
        told_at = 0.0
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(turn.wait(), sink.interval_s)
                turn.clear()
                record, last = self._record, self._finished
                due = record != told or time.monotonic() - told_at >= _HEARTBEAT_S
                if due and await _tell(sink, record):
                    told, told_at = record, time.monotonic()
                if last:
                    return
        finally:
            await sink.close()

    def _change(self, **changes: object) -> None:
        self._record = msgspec.structs.replace(self._record, **changes)


async def _tell(sink: Sink, record: ProgressRecord) -> bool:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    try:
        await sink.write(msgspec.structs.replace(record, heartbeat=now))
    except (TalmError, OSError) as exc:
        log.warning("record not delivered", to=type(sink).__name__, error=str(exc))
        return False
    return True


class ConfigMapSink:
    """The record in a ConfigMap that exists already, with the pod's own account."""

    interval_s = 5.0

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace = namespace
        self._name = name
        self._client: Client | None = None

    async def write(self, record: ProgressRecord) -> None:
        """Merge-patch the one key."""
        client = self._client = self._client or await _connect()
        text = msgspec.json.encode(record).decode()
        patch = {"data": {RECORD_KEY: text}}
        await client.merge_patch(kinds.CONFIG_MAP, self._name, patch, self._namespace)

    async def close(self) -> None:
        """Close the connections to the API server."""
        if self._client:
            await self._client.close()


class LogSink:
    """One line when bytes or images have moved."""

    interval_s = 5.0

    async def write(self, record: ProgressRecord) -> None:
        """Log the counts."""
        if record.bytes_total:
            log.info(
                "progress",
                images=f"{record.images_done}/{record.images_total}",
                mib=f"{record.bytes_done / 2**20:.1f}/{record.bytes_total / 2**20:.1f}",
                current=record.current_image,
            )

    async def close(self) -> None:
        """Nothing is open."""


class TerminalSink:
    """A progress bar, for a run by hand."""

    interval_s = 0.2

    def __init__(self) -> None:
        # rich is only worth its import where a terminal is
        progress = importlib.import_module("rich.progress")
        self._bar: RichProgress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        self._task: TaskID = self._bar.add_task("Starting", total=None)
        self._bar.start()

    async def write(self, record: ProgressRecord) -> None:
        """Move the bar."""
        images = f"{record.images_done}/{record.images_total} images"
        self._bar.update(
            self._task,
            description=f"{record.phase} {images}",
            total=record.bytes_total or None,
            completed=record.bytes_done,
        )

    async def close(self) -> None:
        """Leave the last picture on the screen."""
        self._bar.stop()


async def _connect() -> Client:
    """Connect with the pod's account.

    The client library takes longer to import than a small image to arrive: in a thread, while
    the download runs, and only when a ConfigMap is to be written.
    """
    module = await asyncio.to_thread(importlib.import_module, "talm.kube.client")
    client: Client = await module.Client.connect(user_agent="talm-agent")
    return client
