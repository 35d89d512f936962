"""What is told alone is written seldom, the longer the object is the less; what is done is not kept back."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Final

import pytest

from talm.api.cgu import PrecachingStatus
from talm.api.meta import changed
from talm.api.progress import ProgressRecord
from talm.api.words import Phase
from talm.core.model import Cluster, Fact, Outcomes, Settled, Sight, Snapshot
from talm.core.pace import BYTES_PER_S, interval, least_gap

from .given import CNFDB, both, cgu, later, one_pass, snapshot, status, stored

P, F = Phase, Fact
MIB: Final = 2**20
SECOND: Final = dt.timedelta(seconds=1)


def telling(done: int, fact: Fact = F.JOB_ACTIVE) -> dict[str, Sight]:
    record = ProgressRecord(bytes_done=done, bytes_total=100, bytes_per_s=1, eta_s=5)
    return dict.fromkeys(CNFDB, Sight(fact, record=record))


def at_work(size: int = 0) -> Snapshot:
    """Both clusters have told 10 bytes of 100 each, and that was stored."""
    return stored(snapshot(cgu(status(both(P.ACTIVE))), facts=telling(10)), size=size)


def block(of: Settled) -> PrecachingStatus:
    assert of.status.precaching is not None
    return of.status.precaching


def done(of: Settled) -> tuple[int, dt.datetime | None]:
    found = block(of).progress
    assert found is not None
    return found.bytes_done, found.updated_at


def test_the_pause_is_a_second_and_longer_for_what_is_longer_than_a_hundred_kibibytes() -> None:
    assert interval(0) == interval(BYTES_PER_S) == SECOND
    assert interval(700 * 1024) == 7 * SECOND


def test_between_any_two_writes_is_a_second_and_less_for_what_is_small() -> None:
    assert least_gap(0) == 0 * SECOND
    assert least_gap(BYTES_PER_S // 10) == SECOND / 10
    assert least_gap(BYTES_PER_S) == least_gap(MIB) == SECOND


@pytest.mark.parametrize(("size", "after_s"), [(0, 2), (100 * 1024, 2), (700 * 1024, 8)])
def test_new_bytes_wait_until_their_time_has_come_and_are_stored_then(
    size: int, after_s: int
) -> None:
    seen = replace(at_work(size), sights=telling(11))
    for seconds in range(after_s):
        early = one_pass(replace(seen, now=later(seconds=seconds)))
        assert early.status == seen.cgu.status
        assert early.look_again_after == (after_s - seconds) * SECOND
    due = one_pass(replace(seen, now=later(seconds=after_s)))
    assert done(due) == (22, later(seconds=after_s))


def test_the_first_is_stored_at_once() -> None:
    assert done(one_pass(snapshot())) == (0, later())
    older = snapshot(cgu(status(both(P.ACTIVE))), facts=telling(10), size=MIB)
    assert done(one_pass(older)) == (20, later()), "what an operator without sums had stored"


def test_the_end_is_stored_at_once_with_all_that_is_told() -> None:
    seen = replace(at_work(MIB), sights=telling(11, F.JOB_SUCCEEDED), now=later(seconds=1))
    assert done(one_pass(seen)) == (200, later(seconds=1))
    assert set((block(one_pass(seen)).status or {}).values()) == {"Succeeded"}


def test_whatever_else_changes_takes_along_what_is_told() -> None:
    seen = replace(at_work(MIB), sights=telling(11), now=later(seconds=1))
    one = replace(seen, sights={**seen.sights, "cnfdb2": telling(11, F.JOB_FAILED)["cnfdb2"]})
    assert done(one_pass(one)) == (22, later(seconds=1))
    edited = replace(seen, cgu=changed(seen.cgu, spec=cgu(strategy={"max_concurrency": 1}).spec))
    assert done(one_pass(edited)) == (22, later(seconds=1))


def test_a_failure_that_is_told_alone_waits_as_well() -> None:
    seen = replace(at_work(MIB), now=later(seconds=1))
    down = {c: Cluster(c, available=False, since=later()) for c in CNFDB}
    outage = replace(seen, clusters=down)
    # Clocks stand still from now on: that is a state of things.
    stopped = stored(outage)
    assert block(Settled(stopped.cgu.status)).failures_by_class == {"ClusterUnavailable": 2}
    asked = replace(stopped, sights=dict.fromkeys(CNFDB, Sight(F.STALE)), clusters=seen.clusters)
    first = stored(asked, Outcomes({"cnfdb1": "500"}))
    again = one_pass(replace(first, now=later(seconds=2)), Outcomes({"cnfdb1": "503"}))
    assert again.status == first.cgu.status
    due = one_pass(replace(first, now=later(seconds=13)), Outcomes({"cnfdb1": "503"}))
    assert [f.message for f in block(due).failures or ()] == ["503"]


def test_nothing_new_is_no_write_however_long_ago_the_last_one_was() -> None:
    seen = at_work()
    again = one_pass(replace(seen, now=later(minutes=3)))
    assert again.status == seen.cgu.status
    assert done(again) == (20, later())


def test_a_time_that_is_yet_to_come_keeps_nothing_back() -> None:
    seen = replace(at_work(MIB), sights=telling(11), now=later(seconds=-3600))
    assert done(one_pass(seen)) == (22, later(seconds=-3600))


def test_the_sooner_reason_to_look_again_counts() -> None:
    soon = {c: replace(s, recheck=SECOND / 2) for c, s in telling(11).items()}
    seen = replace(at_work(), sights=soon, now=later())
    assert one_pass(seen).look_again_after == SECOND / 2
