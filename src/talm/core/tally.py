"""Records of many clusters added up: images, bytes, rate, and how long yet.

A record is what a cluster's workload last told; one that has told nothing yet counts as unknown, and
nothing is guessed for it.  Whoever runs a spoke may write anything into its record: counts are kept
within what the API server takes, and nobody has more than it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from talm.api.progress import ProgressRecord

MOST_IMAGES: Final = 2**31 - 1  # int32 on the wire, as is a span in seconds
MOST_BYTES: Final = 2**63 - 1


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
    """Add up; the order does not matter.  One loop: this is done for thousands, in each pass."""
    known = images_done = images_total = bytes_done = bytes_total = rate = unestimated = 0
    longest: int | None = None
    for record in records:
        known += 1
        images_done += done_of(record.images_done, record.images_total)
        images_total += max(record.images_total, 0)
        bytes_done += done_of(record.bytes_done, record.bytes_total)
        bytes_total += max(record.bytes_total, 0)
        rate += max(record.bytes_per_s, 0)
        if record.eta_s is not None:
            longest = record.eta_s if longest is None else max(longest, record.eta_s)
        elif not is_through(record):
            unestimated += 1
    return Tally(
        records=known,
        images_done=within(images_done, MOST_IMAGES),
        images_total=within(images_total, MOST_IMAGES),
        bytes_done=within(bytes_done, MOST_BYTES),
        bytes_total=within(bytes_total, MOST_BYTES),
        bytes_per_s=within(rate, MOST_BYTES),
        eta_s=None if longest is None else within(longest, MOST_IMAGES),
        unestimated=unestimated,
    )


def is_through(record: ProgressRecord) -> bool:
    """Whether every byte is there."""
    return 0 < record.bytes_total <= record.bytes_done


def done_of(done: int, total: int) -> int:
    """What is done of a total; neither is less than nothing.

    What was read to find out how much it is, before the total is known, is no part of it.
    """
    return max(min(done, total), 0)


def within(count: int, most: int) -> int:
    """A count as the API server takes it."""
    return min(max(count, 0), most)
