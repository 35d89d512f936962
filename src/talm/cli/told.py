"""What a cluster's workload has told, as the hub shows it: a view's answer -> a record.

Decided here: whether an answer is of this CGU's run, and how old a record may be before the workload
counts as silent.  Not here: how views are read (reading.py, following.py).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import msgspec

from talm.api.ocm import ManagedClusterView
from talm.api.progress import RECORD_KEY, ProgressRecord
from talm.api.words import RUN_LABEL

# The workload writes at least every 30 s; twice that is a process that hangs, as the record's
# description says, and clocks of spokes are allowed a minute.
SILENT_AFTER: Final = dt.timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Told:
    """A record, and every how many seconds the hub looks for a newer one."""

    record: ProgressRecord
    interval_s: int = 0

    def silent_for(self, now: dt.datetime) -> dt.timedelta | None:
        """How old the record is, when that is older than it should be."""
        if self.record.heartbeat is None:
            return None
        age = now - self.record.heartbeat
        limit = SILENT_AFTER + dt.timedelta(seconds=self.interval_s)
        return age if age > limit else None


def told_by(view: ManagedClusterView, run: str) -> Told | None:
    """The record of this run in a view of it; None when there is none (yet), or another run's."""
    result = view.status.result if view.status else None
    if result is None or (result.metadata.labels or {}).get(RUN_LABEL) != run:
        return None
    try:
        record = msgspec.json.decode((result.data or {}).get(RECORD_KEY, ""), type=ProgressRecord)
    except ValueError:
        return None
    return Told(record, view.spec.scope.update_interval_seconds)
