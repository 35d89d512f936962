"""Numbers as people read them."""

from __future__ import annotations

import datetime as dt

import pytest

from talm.cli.words import moment, part, percent, size, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (60, "1m"),
        (192, "3m12s"),
        (1080, "18m"),
        (3600, "1h"),
        (7080, "1h58m"),
        (86_400, "1d"),
        (273_600, "3d4h"),
    ],
)
def test_a_span_has_two_places_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text
    assert span(dt.timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (2**70, "1048576.0 PiB"),
    ],
)
def test_a_size_is_in_the_unit_that_fits(count: float, text: str) -> None:
    assert size(count) == text


def test_a_part_is_in_the_unit_of_the_whole() -> None:
    assert part(2**29, 16 * 2**30) == "0.5/16.0 GiB"
    assert part(0, 0) == "0/0 B"


def test_all_but_a_byte_is_not_a_hundred_percent() -> None:
    assert (percent(999, 1000), percent(1000, 1000), percent(0, 0)) == ("99 %", "100 %", "")


def test_a_moment_is_in_utc() -> None:
    east = dt.timezone(dt.timedelta(hours=9))
    assert moment(dt.datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=east)) == "2026-01-01T18:04:05Z"
