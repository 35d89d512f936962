"""The clock of a cluster's deadline: it runs only while the cluster could get on.

Kept as what was spent before, and since when it has been running; so it changes (and is written)
only when it starts or stops.  Time in which nobody watched (the operator was down, or blind) does not count:
what a cluster has done meanwhile is only being learnt.
"""

from __future__ import annotations

import datetime as dt

from talm.api.cgu import Wait


def tick(
    wait: Wait | None,
    *,
    running: bool,
    now: dt.datetime,
    watched_since: dt.datetime | None = None,
) -> Wait:
    """Start or stop the clock; unchanged (the same object) when neither happens."""
    if wait is None:
        return Wait(since=now if running else None)
    if running and wait.since is None:
        return Wait(spent=wait.spent, since=now)
    if not running and wait.since is not None:
        return Wait(spent=int(spent(wait, now, watched_since).total_seconds()))
    return wait


def spent(
    wait: Wait | None, now: dt.datetime, watched_since: dt.datetime | None = None
) -> dt.timedelta:
    """Time spent so far; a clock that was never started has spent none."""
    if wait is None:
        return dt.timedelta()
    before = dt.timedelta(seconds=wait.spent)
    if wait.since is None:
        return before
    since = wait.since if watched_since is None else max(wait.since, watched_since)
    return before + max(now - since, dt.timedelta())
