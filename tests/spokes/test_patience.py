"""The thresholds of silence follow the way by which a cluster is heard."""

from __future__ import annotations

import datetime as dt

import pytest

from talm.spokes.patience import DEFAULT, Patience


def seconds(span: dt.timedelta) -> float:
    return span.total_seconds()


def test_a_record_by_events_has_three_turns_of_the_workload() -> None:
    assert seconds(DEFAULT.record_in_work(by_events=True)) == 90


def test_a_record_by_polls_has_the_longest_poll_beside_them() -> None:
    assert seconds(DEFAULT.record_in_work(by_events=False)) == 90 + 114


@pytest.mark.parametrize(("interval_s", "within_s"), [(2, 94), (70, 230), (300, 690), (0, 150)])
def test_a_view_is_not_silent_before_two_of_its_intervals(interval_s: int, within_s: int) -> None:
    assert seconds(DEFAULT.record_in_view(interval_s)) == within_s
    assert seconds(DEFAULT.record_in_view(interval_s)) > 2 * interval_s


def test_an_agent_that_has_to_look_has_the_longest_poll_to_answer() -> None:
    assert seconds(DEFAULT.work_answer(told=True)) == 120
    assert seconds(DEFAULT.work_answer(told=False)) == 234


def test_all_of_it_follows_the_settings() -> None:
    own = Patience(*(dt.timedelta(seconds=s) for s in (10, 20, 300)))
    assert seconds(own.record_in_work(by_events=True)) == 10
    assert seconds(own.record_in_work(by_events=False)) == 310
    assert seconds(own.record_in_view(5)) == 20
    assert seconds(own.work_answer(told=False)) == 320
