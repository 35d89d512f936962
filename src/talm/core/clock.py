"""The clock of a cluster's deadline: it runs only while the cluster could get on.

Kept as what was spent before, and since when it has been running; so it changes (and is written)
only when it starts or stops.
"""

from __future__ import annotations

import datetime as dt

from talm.api.cgu import Wait


def tick(wait: Wait | None, *, running: bool, now: dt.datetime) -> Wait:
    """Start or stop the clock; unchanged (the same object) when neither happens."""
    if wait is None:
        return Wait(since=now if running else None)
    if running and wait.since is None:
        return Wait(spent=wait.spent, since=now)
    if not running and wait.since is not None:
        return Wait(spent=int(spent(wait, now).total_seconds()))
    return wait


def spent(wait: Wait | None, now: dt.datetime) -> dt.timedelta:
    """Time spent so far; a clock that was never started has spent none."""
    if wait is None:
        return dt.timedelta()
    before = dt.timedelta(seconds=wait.spent)
    return before if wait.since is None else before + max(now - wait.since, dt.timedelta())
