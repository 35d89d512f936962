"""The clock of a cluster's deadline: it runs only while the cluster could get on.

Kept as what was spent before, and since when it has been running; so it changes (and is written)
only when it starts or stops.  Time in which nobody watched (the operator was down, or blind) does not count:
what a cluster has done meanwhile is only being learnt.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple


class Clock(NamedTuple):
    """`spent` is in seconds, up to `since`; without `since` it stands still."""

    spent: int = 0
    since: dt.datetime | None = None


def tick(
    clock: Clock | None,
    *,
    running: bool,
    now: dt.datetime,
    watched_since: dt.datetime | None = None,
) -> Clock:
    """Start or stop the clock; unchanged (the same object) when neither happens."""
    if clock is None:
        return Clock(since=now if running else None)
    if running and clock.since is None:
        return Clock(clock.spent, now)
    if not running and clock.since is not None:
        return Clock(int(spent(clock, now, watched_since).total_seconds()))
    return clock


def spent(
    clock: Clock | None, now: dt.datetime, watched_since: dt.datetime | None = None
) -> dt.timedelta:
    """Time spent so far; a clock that was never started has spent none."""
    if clock is None:
        return dt.timedelta()
    before = dt.timedelta(seconds=clock.spent)
    if clock.since is None:
        return before
    since = clock.since if watched_since is None else max(clock.since, watched_since)
    return before + max(now - since, dt.timedelta())
