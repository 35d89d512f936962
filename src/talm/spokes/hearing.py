"""When something new was last heard of a cluster, by the hub's clock.

A record is compared with the one before it alone: the times in it are a spoke's.  What was written by
ourselves is no news, and neither is the same status once more.  Memory only: an operator that starts has
heard everything just now.
Decided here, too: whether a work's feedback comes by events, which is measured.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

# A workload tells every 30 s.  Where that arrives within so long of the one before, though nobody asked,
# the agent is told of changes, or looks so often that it makes no difference.
_SHORT: Final = dt.timedelta(seconds=45)
# One short gap may be chance: an agent that polls looks once more after it has told something.
_SHORT_GAPS: Final = 2

Key = tuple[str, str]


@dataclass(slots=True)
class Heard:
    """What one object has told, or all objects of one agent on one cluster.

    `at`: the last news; `record_at`: the last other record, of which `record` is the hash; `short_gaps`:
    how many records in a row came soon after the one before.
    """

    at: dt.datetime
    record: int
    record_at: dt.datetime
    short_gaps: int = 0

    @property
    def by_events(self) -> bool:
        """Whether records arrive as they are written."""
        return self.short_gaps >= _SHORT_GAPS


class Hearing:
    """What was heard, by key."""

    def __init__(self) -> None:
        self._heard: dict[Key, Heard] = {}

    def of(self, key: Key) -> Heard | None:
        """What was heard last; None: nothing yet."""
        return self._heard.get(key)

    def news(
        self, key: Key, now: dt.datetime, *, record: str | None = None, asked: bool = False
    ) -> None:
        """Take note of news.  `record` None: it tells nothing of the record; `asked`: it was asked for."""
        found = self._heard.get(key)
        told = hash(record) if record is not None else None
        if found is None:
            self._heard[key] = Heard(now, told or hash(""), now)
            return
        found.at = now
        if told is None or told == found.record:
            return
        if not asked:
            short = now - found.record_at <= _SHORT
            found.short_gaps = found.short_gaps + 1 if short else 0
        found.record, found.record_at = told, now

    def forget(self, key: Key) -> None:
        """It is gone, and whatever comes in its place begins anew."""
        self._heard.pop(key, None)
