"""How often a status is written: whoever tells bytes every few seconds must not cost a write each time.

A change of what clusters *do* (states, conditions, plan) is stored at once; the shell leaves pauses between
passes.  A change of what is *told* about it alone (`progress`, `failures`) waits until its time has come: a
write costs as much as the whole object is long, so a longer one is written less often.  It does come, at
the latest when its time is over, and with whatever else is stored before.

`updatedAt` of the progress is what this goes by, so it holds over a restart.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Final

from talm.api.cgu import PrecachingStatus
from talm.api.meta import changed

from .fleet import JUST_AFTER
from .model import Settled, Snapshot

SECOND: Final = dt.timedelta(seconds=1)
# What one CGU may cost the hub, whatever its size: the API server writes the object whole each time.
BYTES_PER_S: Final = 100 * 1024


def least_gap(size: int) -> dt.timedelta:
    """How long after a write of an object of so many bytes was begun no pass is, for the shell to keep.

    A second, and less of a small one: two clusters are answered at once.
    """
    return min(SECOND, dt.timedelta(seconds=size / BYTES_PER_S))


def interval(size: int) -> dt.timedelta:
    """The least time between two writes of what is told alone, of an object of so many bytes."""
    return max(SECOND, dt.timedelta(seconds=size / BYTES_PER_S))


def paced(seen: Snapshot, settled: Settled) -> Settled:
    """Put off what is told alone until its time has come, and say when it was told."""
    before, after = seen.cgu.status.precaching, settled.status.precaching
    if after is None or after.progress is None or settled.status is seen.cgu.status:
        return settled
    if before is None:
        return _told(settled, after, seen.now)
    told_at = before.progress.updated_at if before.progress is not None else None
    same = _told(settled, after, told_at)
    if same.status == seen.cgu.status:
        return same
    quiet = changed(
        settled.status,
        precaching=changed(
            after,
            progress=before.progress,
            failures=before.failures,
            failures_by_class=before.failures_by_class,
        ),
    )
    left = _left(seen, told_at)
    if left and quiet == seen.cgu.status:
        look = settled.look_again_after
        return replace(
            settled, status=quiet, look_again_after=left if look is None else min(look, left)
        )
    return _told(settled, after, seen.now)


def _left(seen: Snapshot, told_at: dt.datetime | None) -> dt.timedelta:
    """How long what is told must wait yet; a time that is yet to come is of a clock that was wrong."""
    if told_at is None or told_at > seen.now:
        return dt.timedelta()
    return max(told_at + interval(seen.size) + JUST_AFTER - seen.now, dt.timedelta())


def _told(settled: Settled, block: PrecachingStatus, at: dt.datetime | None) -> Settled:
    assert block.progress is not None  # noqa: S101 (the caller looked)
    stamped = changed(block, progress=changed(block.progress, updated_at=at))
    return replace(settled, status=changed(settled.status, precaching=stamped))
