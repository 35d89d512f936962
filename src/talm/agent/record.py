"""The record's size and the rate in it: pure.

A ConfigMap holds 1 MiB, a view of it is copied to the hub every few seconds: 16 KiB is the bound.
Lists are cut, counts never are.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from talm.api.progress import ProgressRecord

MAX_BYTES: Final = 16 << 10
_MAX_TEXT: Final = 200
_MAX_LINES: Final = 12  # with _MAX_TEXT at most 2.6 KiB: every record travels to the hub
_WINDOW_S: Final = 30.0  # a link that stalls shows within half a minute
# What a reader misses least goes first.
_LISTS: Final = ("lines", "missing", "earlier", "warnings", "failed")


def bounded(record: ProgressRecord) -> ProgressRecord:
    """Return the record, shortened until it has at most `MAX_BYTES` as JSON."""
    if _fits(record):
        return record
    failed = [msgspec.structs.replace(f, error_text=cut(f.error_text)) for f in record.failed]
    record = msgspec.structs.replace(
        record,
        failed=tuple(failed),
        warnings=tuple(cut(text) for text in record.warnings),
        earlier=tuple(cut(text) for text in record.earlier),
    )
    for name in _LISTS:
        while not _fits(record) and getattr(record, name):
            kept = getattr(record, name)
            half = kept[len(kept) - len(kept) // 2 :] if name == "lines" else kept[: len(kept) // 2]
            record = msgspec.structs.replace(record, **{name: half})
    if not _fits(record):
        short = {"error_text": cut(record.error_text), "current_image": cut(record.current_image)}
        short |= {"not_pinned": cut(record.not_pinned), "run": cut(record.run)}
        record = msgspec.structs.replace(record, **short)
    return record


def cut(text: str, most: int = _MAX_TEXT) -> str:
    """Return at most `most` characters, with a mark where some are missing."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _fits(record: ProgressRecord) -> bool:
    return len(msgspec.json.encode(record)) <= MAX_BYTES


class Tail:
    """The last lines of a run, each with its time; one that repeats is kept once and counted."""

    def __init__(self, most: int = _MAX_LINES) -> None:
        self._lines: deque[tuple[str, str, int]] = deque(maxlen=most)  # time, text, how often

    def add(self, text: str, at: dt.datetime) -> tuple[str, ...]:
        """Add a line; return all that are kept, oldest first."""
        short = cut(" ".join(text.split()))
        often = 1
        if self._lines and self._lines[-1][1] == short:
            often += self._lines.pop()[2]
        self._lines.append((f"{at:%H:%M:%S}", short, often))
        return tuple(
            f"{when} {line}" + (f" ({count} times)" if count > 1 else "")
            for when, line, count in self._lines
        )


class Meter:
    """Bytes per second over the last 30 s."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: deque[tuple[float, int]] = deque()  # one entry per second that had bytes
        self._since: float | None = None

    def gained(self, count: int) -> None:
        """Count bytes that came now."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if self._seconds and now - self._seconds[-1][0] < 1.0:
            start, before = self._seconds[-1]
            self._seconds[-1] = (start, before + count)
        else:
            self._seconds.append((now, count))
        self._forget(now)

    def rate(self) -> float:
        """Return the rate; 0.0 when nothing came, or too little time has passed to tell."""
        now = self._clock()
        self._forget(now)
        if self._since is None or now - self._since < 1.0:
            return 0.0
        return sum(count for _, count in self._seconds) / min(_WINDOW_S, now - self._since)

    def _forget(self, now: float) -> None:
        while self._seconds and now - self._seconds[0][0] > _WINDOW_S:
            self._seconds.popleft()
