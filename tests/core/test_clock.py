"""A deadline's clock runs, stands still, and is written only when one turns into the other."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from talm.core.clock import Clock, spent, tick

from .given import NOW, later


def seconds(count: float) -> dt.timedelta:
    return dt.timedelta(seconds=count)


def test_a_new_clock_starts_from_zero_and_one_that_stands_has_no_start() -> None:
    assert tick(None, running=True, now=NOW) == Clock(since=NOW)
    assert tick(None, running=False, now=NOW) == Clock()
    assert spent(None, NOW) == seconds(0)


def test_a_running_clock_is_not_written_again() -> None:
    wait = Clock(spent=5, since=NOW)
    assert tick(wait, running=True, now=later(seconds=90)) is wait
    assert spent(wait, later(seconds=90)) == seconds(95)


def test_a_stopped_clock_keeps_what_was_spent_and_is_not_written_again() -> None:
    wait = tick(Clock(spent=5, since=NOW), running=False, now=later(seconds=90))
    assert wait == Clock(spent=95)
    assert tick(wait, running=False, now=later(minutes=90)) is wait
    assert spent(wait, later(minutes=90)) == seconds(95)


def test_a_clock_goes_on_from_what_was_spent() -> None:
    wait = tick(Clock(spent=95), running=True, now=later(minutes=90))
    assert wait == Clock(spent=95, since=later(minutes=90))


def test_a_hub_clock_that_was_set_back_takes_no_time_away() -> None:
    wait = Clock(spent=5, since=later(minutes=10))
    assert spent(wait, NOW) == seconds(5)
    assert tick(wait, running=False, now=NOW) == Clock(spent=5)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), max_size=30))
def test_what_is_spent_is_the_time_in_which_it_ran(spans: list[tuple[bool, int]]) -> None:
    now, wait, ran = NOW, None, 0
    for running, length in spans:
        wait = tick(wait, running=running, now=now)
        now += seconds(length)
        ran += length if running else 0
    assert spent(wait, now) == seconds(ran)


def test_time_in_which_nobody_watched_does_not_count() -> None:
    hour = dt.timedelta(hours=1)
    wait = Clock(spent=60, since=NOW)
    back = NOW + hour
    assert spent(wait, back + dt.timedelta(minutes=5), back) == dt.timedelta(minutes=6)
    assert spent(wait, back, NOW - hour) == hour + dt.timedelta(minutes=1)
    stopped = tick(wait, running=False, now=back + dt.timedelta(minutes=5), watched_since=back)
    assert stopped == Clock(spent=360)
