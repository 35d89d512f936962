"""When a work's agent is asked to look: where news is due, seldom, and never for one that tells itself."""

from __future__ import annotations

import datetime as dt

import pytest

from talm.core.model import Fact, Sight
from talm.spokes.pokes import END_POKES, START_POKES, Pokes

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
PENDING = Sight(Fact.JOB_PENDING)


def after(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


def active(eta_s: int | None = None) -> Sight:
    record = "{}" if eta_s is None else f'{{"etaS":{eta_s}}}'
    return Sight(Fact.JOB_ACTIVE, progress={"record": record})


def known(*, begun: bool = False) -> Pokes:
    """An agent whose work was heard of now."""
    pokes = Pokes()
    pokes.heard("c", "u", begun=begun, now=NOW)
    return pokes


def wait(
    pokes: Pokes,
    sight: Sight,
    seconds: float = 0,
    *,
    watched: bool = True,
    back_since: dt.datetime | None = None,
) -> float | None:
    left = pokes.wait("c", sight, watched=watched, back_since=back_since, now=after(seconds))
    return None if left is None else left.total_seconds()


def test_an_agent_of_which_nothing_was_heard_is_not_poked() -> None:
    assert wait(Pokes(), PENDING) is None


def test_a_job_that_does_not_begin_is_asked_for_three_times_with_longer_pauses() -> None:
    pokes, at, waits = known(), 0.0, []
    while (left := wait(pokes, PENDING, at)) is not None:
        waits.append(left)
        at += left
        assert wait(pokes, PENDING, at) == 0
        pokes.poked("c", after(at), None)
    assert waits == [5, 10, 20]
    assert len(waits) == START_POKES


def test_an_agent_that_tells_by_events_is_not_asked_for_the_end() -> None:
    assert wait(known(begun=True), active(60)) is None


def test_where_the_hub_drops_the_wish_for_events_the_end_is_asked_for_when_it_is_foretold() -> None:
    pokes = known(begun=True)
    assert wait(pokes, active(60), watched=False) == 65
    assert wait(pokes, active(60), 64, watched=False) == 1
    assert wait(pokes, active(60), 70, watched=False) == 0


@pytest.mark.parametrize("eta_s", [None, 4000])
def test_an_end_that_is_not_foretold_or_far_away_is_not_asked_for(eta_s: int | None) -> None:
    assert wait(known(begun=True), active(eta_s), watched=False) is None


def test_a_record_that_cannot_be_read_foretells_nothing() -> None:
    sight = Sight(Fact.JOB_ACTIVE, progress={"record": "{"})
    assert wait(known(begun=True), sight, watched=False) is None


def test_half_a_minute_passes_between_two_pokes_and_there_are_ten_at_most() -> None:
    pokes, at = known(begun=True), 0.0
    for _ in range(END_POKES):
        left = wait(pokes, active(1), at, watched=False)
        assert left == 30
        at += left
        pokes.poked("c", after(at), None)
    assert wait(pokes, active(1), at, watched=False) is None


def test_an_agent_that_tells_of_the_beginning_only_when_it_is_poked_polls() -> None:
    pokes = known()
    pokes.poked("c", after(5), None)
    pokes.heard("c", "u", begun=True, now=after(6))
    assert wait(pokes, active(60), 6) == 65


def test_one_that_tells_of_it_by_itself_does_not() -> None:
    pokes = known()
    pokes.heard("c", "u", begun=True, now=after(1))
    assert wait(pokes, active(60), 1) is None


def beginnings(pokes: Pokes, number: int, *, asked: bool) -> None:
    """Jobs of other clusters begin."""
    for index in range(number):
        cluster = f"{asked}{index}"
        pokes.heard(cluster, "u", begun=False, now=NOW)
        if asked:
            pokes.poked(cluster, after(1), None)
        pokes.heard(cluster, "u", begun=True, now=after(2))


def test_where_most_agents_tell_by_themselves_a_late_one_is_given_more_time() -> None:
    pokes = known()
    beginnings(pokes, 20, asked=False)
    assert wait(pokes, PENDING) == 30
    beginnings(pokes, 20, asked=True)
    assert wait(pokes, PENDING) == 5


def test_a_cluster_that_has_returned_is_asked_once() -> None:
    pokes = known(begun=True)
    back = after(100)
    assert wait(pokes, active(), 101, back_since=NOW) is None
    assert wait(pokes, active(), 101, back_since=back) == 0
    pokes.poked("c", after(50), back)  # by a clock that is behind the hub's
    assert wait(pokes, active(), 101, back_since=back) is None


def test_an_agent_is_given_time_to_make_what_is_missing() -> None:
    pokes = known()
    assert pokes.is_applying("c", NOW) == dt.timedelta(0)
    pokes.told_to_apply("c", NOW)
    assert pokes.is_applying("c", after(10)) == dt.timedelta(seconds=20)
    assert pokes.is_applying("c", after(31)) == dt.timedelta(0)


def test_another_work_begins_anew() -> None:
    pokes = known()
    for _ in range(START_POKES):
        pokes.poked("c", NOW, None)
    assert wait(pokes, PENDING) is None
    pokes.heard("c", "another", begun=False, now=NOW)
    assert wait(pokes, PENDING) == 5
    pokes.forget("c")
    assert wait(pokes, PENDING) is None
