from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.record import MAX_BYTES, Meter, Tail, bounded
from talm.api.progress import FailedImage, ProgressRecord

TEXT = st.text(max_size=500)
LISTS = st.lists(TEXT, max_size=60).map(tuple)


@given(TEXT, LISTS, LISTS, LISTS, st.integers(0, 400))
def test_a_record_is_cut_to_its_bound_and_its_counts_are_not(
    text: str, earlier: tuple[str, ...], warnings: tuple[str, ...], names: tuple[str, ...], n: int
) -> None:
    record = ProgressRecord(
        run=text * 40,
        images_failed=n,
        images_missing=len(names),
        error_text=text * 4,
        current_image=text,
        failed=tuple(FailedImage(image=f"{text}{i}", error_text=text) for i in range(n)),
        missing=names,
        warnings=warnings,
        warnings_total=len(warnings),
        earlier=earlier,
        lines=warnings,
    )
    found = bounded(record)
    assert len(msgspec.json.encode(found)) <= MAX_BYTES
    counts = (found.images_failed, found.images_missing, found.warnings_total)
    assert counts == (n, len(names), len(warnings))
    assert all(a.image == b.image for a, b in zip(found.failed, record.failed, strict=False))


def test_a_record_that_fits_is_told_as_it_is() -> None:
    record = ProgressRecord(failed=tuple(FailedImage(image=f"a/{n}") for n in range(100)))
    assert bounded(record) is record


def test_names_of_failed_images_are_kept_longest() -> None:
    failed = tuple(FailedImage(image=f"quay.io/a/{n}", error_text="x" * 2000) for n in range(30))
    found = bounded(ProgressRecord(failed=failed, missing=tuple("y" * 100 for _ in range(200))))
    assert [one.image for one in found.failed] == [one.image for one in failed]
    assert found.missing
    assert len(found.missing) < 200


def test_a_text_that_alone_is_too_long_is_cut() -> None:
    found = bounded(ProgressRecord(error_text="\x00" * 3000))
    assert found.error_text == "\x00" * 199 + "…"


def test_the_last_lines_are_the_first_to_go_and_the_latest_stay() -> None:
    lines = tuple(f"{n} {'z' * 200}" for n in range(60))
    failed = tuple(FailedImage(image=f"quay.io/a/{n}", error_text="x" * 100) for n in range(30))
    found = bounded(ProgressRecord(failed=failed, lines=lines))
    assert found.failed == failed
    assert found.lines
    assert found.lines == lines[-len(found.lines) :]


def test_the_tail_keeps_the_last_lines_and_counts_what_repeats() -> None:
    at = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    tail = Tail(2)
    tail.add("one", at)
    tail.add("two\n  words", at)
    assert tail.add("two words", at + dt.timedelta(seconds=1)) == (
        "03:04:05 one",
        "03:04:06 two words (2 times)",
    )
    assert tail.add("y" * 300, at)[-1] == f"03:04:05 {'y' * 199}…"
    assert len(tail.add("last", at)) == 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    clock = Clock()
    meter = Meter(clock)
    assert meter.rate() == 0
    meter.gained(500)
    assert meter.rate() == 0, "too early to tell"
    clock.now = 0.5
    meter.gained(500)
    clock.now = 10.0
    assert meter.rate() == pytest.approx(100)
    for second in range(11, 101):
        clock.now = float(second)
        meter.gained(2000)
    assert meter.rate() == pytest.approx(2000, rel=0.05)
    clock.now = 140.0
    assert meter.rate() == 0
