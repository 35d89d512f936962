"""What counts as news, and what is measured by it."""

from __future__ import annotations

import datetime as dt

from talm.spokes.hearing import Heard, Hearing

NOW = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)
KEY = ("c1", "pre-cache-run-1")


def after(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


def heard(hearing: Hearing) -> Heard:
    found = hearing.of(KEY)
    assert found is not None
    return found


def listening(*gaps_s: float, asked: bool = False) -> Hearing:
    """Records that came with these gaps."""
    hearing, at = Hearing(), 0.0
    hearing.news(KEY, after(at), record="first")
    for number, gap_s in enumerate(gaps_s):
        at += gap_s
        hearing.news(KEY, after(at), record=f"record {number}", asked=asked)
    return hearing


def test_the_same_record_is_news_of_the_agent_and_none_of_the_workload() -> None:
    hearing = listening()
    hearing.news(KEY, after(30), record="first")
    hearing.news(KEY, after(40))
    assert (heard(hearing).at, heard(hearing).record_at) == (after(40), NOW)


def test_a_record_is_new_when_it_is_another_one_though_its_clock_went_back() -> None:
    hearing = Hearing()
    hearing.news(KEY, NOW, record='{"heartbeat":"2026-03-01T12:00:00Z"}')
    hearing.news(KEY, after(30), record='{"heartbeat":"2021-01-01T00:00:00Z"}')
    assert heard(hearing).record_at == after(30)


def test_feedback_is_by_events_once_two_records_in_a_row_came_soon() -> None:
    assert not heard(listening(30)).by_events
    assert heard(listening(30, 30)).by_events
    assert heard(listening(100, 10, 45)).by_events


def test_an_agent_that_polls_is_not_taken_for_one_that_is_told() -> None:
    assert not heard(listening(60, 114, 75)).by_events
    # It looks once more when it has told something, and may find another record by that.
    assert not heard(listening(60, 1, 80, 1, 114, 1)).by_events


def test_records_that_were_asked_for_measure_nothing() -> None:
    assert not heard(listening(30, 30, 30, asked=True)).by_events


def test_one_long_gap_takes_it_back() -> None:
    assert not heard(listening(30, 30, 30, 60)).by_events


def test_what_is_forgotten_begins_anew() -> None:
    hearing = listening(30, 30)
    hearing.forget(KEY)
    assert hearing.of(KEY) is None
    hearing.news(KEY, after(100), record="x")
    assert heard(hearing) == Heard(after(100), hash("x"), after(100))
