"""Who is told how far the run is: a ConfigMap, the log, a terminal."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from talm.api import kinds
from talm.api.progress import RECORD_KEY, ProgressRecord

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from talm.kube.client import Client

log = structlog.get_logger()


class Sink(Protocol):
    """Who is told, at most every `interval_s` but for changes of phase."""

    interval_s: float

    async def write(self, record: ProgressRecord) -> None:
        """Tell.  TalmError and OSError are survived."""
        ...

    async def close(self) -> None:
        """Let go of what was opened."""
        ...


class ConfigMapSink:
    """The record in a ConfigMap that exists already, with the pod's own account."""

    interval_s = 5.0

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace = namespace
        self._name = name
        self._client: Client | None = None

    async def write(self, record: ProgressRecord) -> None:
        """Merge-patch the one key."""
        client = self._client = self._client or await connect()
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
                mib_per_s=round(record.bytes_per_s / 2**20, 2),
                eta_s=record.eta_s,
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


async def connect() -> Client:
    """Connect with the pod's account.

    The client library takes longer to import than a small image to arrive: in a thread, while
    the download runs, and only when a ConfigMap is to be written.
    """
    module = await asyncio.to_thread(importlib.import_module, "talm.kube.client")
    client: Client = await module.Client.connect(user_agent="talm-agent")
    return client
