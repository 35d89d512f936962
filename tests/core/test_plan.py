"""Batches: canaries first, each cluster once; and the time that each batch has."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.core.plan import batch_deadline, computed_max_concurrency, plan_batches

NAMES = st.integers(0, 30).map(lambda n: f"c{n}")
MIDNIGHT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def test_canaries_go_first_in_their_own_order_and_one_at_a_time() -> None:
    plan = plan_batches(("a", "b", "c", "d", "e"), ("d", "b"), 2)
    assert plan == (("d",), ("b",), ("a", "c"), ("e",))


def test_a_canary_that_needs_nothing_has_no_batch() -> None:
    assert plan_batches(("a", "b"), ("z", "b"), 5) == (("b",), ("a",))


@pytest.mark.parametrize("everybody_at_once", [0, -1])
def test_no_limit_means_one_batch_for_all_who_are_no_canaries(everybody_at_once: int) -> None:
    assert plan_batches(("a", "b", "c"), ("c",), everybody_at_once) == (("c",), ("a", "b"))
    assert plan_batches((), (), everybody_at_once) == ()


@given(st.lists(NAMES), st.lists(NAMES), st.integers(-3, 40))
def test_each_cluster_is_in_one_batch_in_order_and_no_batch_is_too_large(
    clusters: list[str], canaries: list[str], limit: int
) -> None:
    plan = plan_batches(clusters, canaries, limit)
    planned = [name for batch in plan for name in batch]
    first = [name for name in dict.fromkeys(canaries) if name in clusters]
    assert sorted(planned) == sorted(set(clusters))
    assert planned == first + [name for name in dict.fromkeys(clusters) if name not in first]
    assert all(len(batch) == 1 for batch in plan[: len(first)])
    rest = plan[len(first) :]
    size = limit if limit > 0 else len(planned)
    assert all(len(batch) == size for batch in rest[:-1])
    assert all(0 < len(batch) <= size for batch in rest)


@pytest.mark.parametrize(
    ("asked", "selected", "in_force"),
    [(2, 5, 2), (5, 5, 5), (9, 5, 5), (0, 5, 5), (-1, 5, 5), (3, 0, 0), (0, 0, 0)],
)
def test_the_batch_size_in_force_is_bounded_by_the_selected_clusters(
    asked: int, selected: int, in_force: int
) -> None:
    assert computed_max_concurrency(asked, selected) == in_force


def test_the_first_of_four_batches_has_a_quarter_of_the_time() -> None:
    assert batch_deadline(MIDNIGHT, MIDNIGHT, 4, 4 * HOUR) == MIDNIGHT + HOUR


def test_time_that_a_batch_leaves_unused_is_shared_by_the_next_ones() -> None:
    quick = MIDNIGHT + HOUR / 4
    assert batch_deadline(MIDNIGHT, quick, 3, 4 * HOUR) == quick + HOUR * 1.25


@given(
    started_after=st.integers(0, 10_000),
    batches_left=st.integers(1, 50),
    total=st.integers(0, 20_000),
)
def test_the_last_batch_has_all_that_is_left_and_no_batch_more(
    started_after: int, batches_left: int, total: int
) -> None:
    start = MIDNIGHT + dt.timedelta(minutes=started_after)
    end = MIDNIGHT + dt.timedelta(minutes=total)
    deadline = batch_deadline(MIDNIGHT, start, batches_left, end - MIDNIGHT)
    assert batch_deadline(MIDNIGHT, start, 1, end - MIDNIGHT) == end
    assert min(start, end) <= deadline <= max(start, end)
