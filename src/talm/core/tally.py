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
    """Add up; the order does not matter."""
    known = tuple(records)
    estimates = [r.eta_s for r in known if r.eta_s is not None]
    return Tally(
        records=len(known),
        images_done=images(done_of(r.images_done, r.images_total) for r in known),
        images_total=images(r.images_total for r in known),
        bytes_done=octets(done_of(r.bytes_done, r.bytes_total) for r in known),
        bytes_total=octets(r.bytes_total for r in known),
        bytes_per_s=octets(r.bytes_per_s for r in known),
        eta_s=images([max(estimates)]) if estimates else None,
        unestimated=sum(r.eta_s is None and not is_through(r) for r in known),
    )


def is_through(record: ProgressRecord) -> bool:
    """Whether every byte is there."""
    return 0 < record.bytes_total <= record.bytes_done


def done_of(done: int, total: int) -> int:
    """What is done of a total.

    What was read to find out how much it is, before the total is known, is no part of it.
    """
    return min(done, total)


def images(counts: Iterable[int]) -> int:
    """The sum of counts that fit into 32 bits; a negative one counts as none."""
    return min(sum(max(count, 0) for count in counts), MOST_IMAGES)


def octets(counts: Iterable[int]) -> int:
    """The sum of bytes; a negative one counts as none."""
    return min(sum(max(count, 0) for count in counts), MOST_BYTES)
