"""Records of many clusters added up: images, bytes, rate, and how long yet.

A record is what a cluster's workload last told; one that has told nothing yet counts as unknown, and
nothing is guessed for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from talm.api.progress import ProgressRecord


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over `records` clusters.

    `eta_s` is the longest of their own estimates, since they download side by side; None: no cluster
    tells one.  `unestimated` clusters are at work and tell none, so that it may take longer.
    """

    records: int = 0
    images_done: int = 0
    images_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: int = 0
    eta_s: int | None = None
    unestimated: int = 0


def add_up(records: Iterable[ProgressRecord]) -> Tally:
    """Add up; the order does not matter."""
    known = tuple(records)
    estimates = [r.eta_s for r in known if r.eta_s is not None]
    return Tally(
        records=len(known),
        images_done=sum(r.images_done for r in known),
        images_total=sum(r.images_total for r in known),
        bytes_done=sum(r.bytes_done for r in known),
        bytes_total=sum(r.bytes_total for r in known),
        bytes_per_s=sum(r.bytes_per_s for r in known),
        eta_s=max(estimates, default=None),
        unestimated=sum(r.eta_s is None and not is_through(r) for r in known),
    )


def is_through(record: ProgressRecord) -> bool:
    """Whether every byte is there."""
    return 0 < record.bytes_total <= record.bytes_done
