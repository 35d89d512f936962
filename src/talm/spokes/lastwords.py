"""What a workload's record says of an attempt that ended badly.

    phase Failed     the class and the text of its failure
    Succeeded        nothing: the Job failed for another reason
    any other        it was killed: how far it was when it was heard last

The workload ends itself before the Job's deadline and at a signal, each time with a record, so that a
record that is in the middle of things is that of an attempt which had no time for one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from talm.api.progress import ProgressRecord, RunPhase, read_record

ENDED_SILENT: Final = "ended without a record"


def last_words(progress: Mapping[str, str]) -> str:
    """What it says; "" when nothing of it has reached the hub."""
    record = read_record(progress)
    if record is None or record.phase == RunPhase.SUCCEEDED:
        return ""
    if record.phase == RunPhase.FAILED:
        return _joined(": ", record.error_class, record.error_text)
    tried = _joined(": ", record.error_class, record.error_text)
    return _joined(
        "; ", ENDED_SILENT, _seen(record), f"it had tried again after {tried}" * bool(tried)
    )


def _seen(record: ProgressRecord) -> str:
    at = f" at {_moment(record.heartbeat)}" if record.heartbeat else ""
    return f"last seen {_far(record)}{at}"


def _far(record: ProgressRecord) -> str:
    """`41 %` of the bytes, or of the images where bytes are not known; else the phase."""
    for done, total in (
        (record.bytes_done, record.bytes_total),
        (record.images_done, record.images_total),
    ):
        if total > 0:
            return f"{min(100, max(0, 100 * done // total))} %"
    return f"in phase {record.phase}"


def _moment(at: dt.datetime) -> str:
    """In UTC, by the spoke's clock."""
    utc = at if at.tzinfo is None else at.astimezone(dt.UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%SZ}"


def _joined(by: str, *parts: str) -> str:
    return by.join(part for part in parts if part)
