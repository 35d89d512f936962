"""What every run has around its work: who is told, signals, the deadline, last words, an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

import structlog

from talm.agent.endings import Deadline, outcome, signals
from talm.agent.progress import Progress
from talm.agent.settings import Settings
from talm.agent.sinks import ConfigMapSink, LogSink, Sink, TerminalSink
from talm.api.progress import FailureClass, ProgressRecord
from talm.errors import AgentError

log = structlog.get_logger()

_MAX_MESSAGE: Final = 4096

Work = Callable[[Deadline], Coroutine[None, None, None]]


async def run(
    settings: Settings,
    progress: Progress,
    work: Work,
    on_signal: Callable[[], None] = lambda: None,
) -> int:
    """Do `work` and return the process's exit code; nothing is raised but by a cancelled caller.

    SIGTERM and SIGINT end it as Interrupted: record written, what arrived kept; `on_signal` is
    called then, by which a process can see to it that it ends within 5 s.  Whoever was stopped by the
    Job's deadline waits to be ended.
    """
    deadline = Deadline(settings.job_deadline_s)
    try:
        sinks = _sinks(settings)
    except AgentError as exc:
        log.warning("failed", failure=exc.kind, text=str(exc))
        progress.finish(exc)
        _leave_message(settings.termination_log, progress.record)
        return exc.exit_code
    with signals(on_signal) as ended:
        async with progress.told_to(sinks, hurry=ended):
            error = await outcome(work(deadline), ended, deadline)
            progress.finish(error)
            _leave_message(settings.termination_log, progress.record)
        if error and error.kind == FailureClass.PARTLY_CACHED.value:
            log.info("waiting to be ended", deadline_s=deadline.seconds)
            await _first(ended.wait(), deadline.over())
    return error.exit_code if error else 0


async def _first(*waits: Coroutine[None, None, object]) -> None:
    """Wait for the first of several."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _sinks(settings: Settings) -> list[Sink]:
    target = settings.progress_target()
    sinks: list[Sink] = [TerminalSink() if sys.stderr.isatty() else LogSink()]
    if target:
        sinks.append(ConfigMapSink(*target))
    return sinks


def _leave_message(file: Path | None, record: ProgressRecord) -> None:
    """Write `CLASS: text` where the kubelet reads a pod's last words: 4096 bytes of UTF-8."""
    if file is None or not record.error_class:
        return
    try:
        words = f"{record.error_class}: {record.error_text}".encode()[:_MAX_MESSAGE]
        file.write_text(words.decode(errors="ignore"), encoding="utf-8")
    except OSError as exc:
        log.warning("no termination message", file=str(file), error=str(exc))
