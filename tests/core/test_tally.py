"""Records added up."""

from __future__ import annotations

from talm.api.progress import ProgressRecord
from talm.core.tally import Tally, add_up


def test_sums_are_sums_and_the_slowest_cluster_says_how_long_yet() -> None:
    slow = ProgressRecord(
        images_done=1, images_total=4, bytes_done=10, bytes_total=40, bytes_per_s=1, eta_s=30
    )
    quick = ProgressRecord(
        images_done=2, images_total=4, bytes_done=30, bytes_total=40, bytes_per_s=5, eta_s=2
    )
    assert add_up([slow, quick]) == Tally(
        records=2,
        images_done=3,
        images_total=8,
        bytes_done=40,
        bytes_total=80,
        bytes_per_s=6,
        eta_s=30,
    )
    assert add_up([quick, slow]) == add_up([slow, quick])


def test_whoever_tells_no_estimate_is_counted_but_whoever_has_it_all_is_not() -> None:
    stalls = ProgressRecord(bytes_done=10, bytes_total=40)
    verifies = ProgressRecord(bytes_done=40, bytes_total=40)
    resolves = ProgressRecord()
    added = add_up([stalls, verifies, resolves])
    assert (added.eta_s, added.unestimated) == (None, 2)
    assert add_up([]) == Tally()
