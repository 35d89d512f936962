"""Why clusters failed in a word, and how many for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from talm.api.cgu import PrecachingFailure, PrecachingStatus
from talm.api.progress import FailedImage, FailureClass, ProgressRecord
from talm.api.words import Phase
from talm.core.causes import LONGEST_MESSAGE, MAX_FAILURES, counted, ended, one_line, shown
from talm.core.model import Fact, Sight

from .given import NOW

P, F = Phase, Fact
LOST: Final = FailedImage(image="quay.io/a", error_class="ImageNotFound", error_text="404")
SPOILED: Final = FailedImage(image="quay.io/b", error_class="StoreFailed", error_text="disk")


def entry(why: str, fact: Fact = F.JOB_FAILED, **record: Any) -> PrecachingFailure:
    told = ProgressRecord(**record) if record else None
    return ended("c", P.FAILED, why, Sight(fact, record=told), NOW)


# --- one cluster ---


@pytest.mark.parametrize("kind", [kind.value for kind in FailureClass])
def test_the_class_is_the_workloads_own_word(kind: str) -> None:
    assert entry(f"PodFailurePolicy: {kind}: ref: it is so").failure_class == kind
    assert entry(f"PodFailurePolicy: {kind}").failure_class == kind
    assert entry(f"BackoffLimitExceeded: Job has: {kind}: x", F.JOB_DEADLINE).failure_class == kind


def test_a_word_in_the_middle_of_somebodys_sentence_is_no_class() -> None:
    assert entry("BackoffLimitExceeded: 401 Unauthorized, said a proxy").failure_class == ""
    refused = "the setup took longer than 30 min; last seen: Unauthorized"
    assert entry(refused, F.SETUP_LOST).failure_class == ""


def test_the_image_is_the_one_that_failed_for_this_class_else_the_one_that_was_next() -> None:
    def image(why: str, **record: Any) -> str:
        return entry(why, **record).image

    both = (LOST, SPOILED)
    assert image("PodFailurePolicy: StoreFailed: x", failed=both, current_image="z") == "quay.io/b"
    assert image("DeadlineExceeded: late", failed=both) == "quay.io/a"
    assert image("DeadlineExceeded: late", current_image="quay.io/z") == "quay.io/z"
    assert image("PodFailurePolicy: InsufficientSpace: 3 GiB", current_image="quay.io/z") == ""
    assert image("DeadlineExceeded: late") == ""


def test_an_entry_says_how_often_it_was_tried_and_keeps_odd_counts_within_bounds() -> None:
    assert entry("DeadlineExceeded", attempt=3).attempts == 3
    assert entry("DeadlineExceeded").attempts == 0
    assert entry("x", attempt=-1).attempts == 0
    assert entry("x", attempt=2**40).attempts == 2**31 - 1


def test_a_cause_is_one_line_and_cut_when_it_is_long() -> None:
    assert one_line("two\n  lines\t") == "two lines"
    assert one_line("x" * LONGEST_MESSAGE) == "x" * LONGEST_MESSAGE
    long = entry("x" * 5000, current_image="y" * 5000)
    assert len(long.message) == len(long.image) == LONGEST_MESSAGE
    assert long.message.endswith("…")


# --- all of them ---


def failed(cluster: str, kind: str = "", message: str = "it is so") -> PrecachingFailure:
    return PrecachingFailure(
        cluster=cluster, reason=P.FAILED.value, message=message, failure_class=kind
    )


def waits(cluster: str) -> PrecachingFailure:
    return PrecachingFailure(cluster=cluster, reason="ClusterUnavailable", message="since noon")


def blank(cluster: str) -> PrecachingFailure:
    """A cluster that had failed before and was not named."""
    return failed(cluster, message="")


def names(count: int, prefix: str = "c") -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def test_of_too_many_the_failed_are_named_and_those_with_a_cause_before_all() -> None:
    entries = [waits(c) for c in names(60, "a")] + [blank(c) for c in names(60, "b")]
    entries += [failed(c) for c in names(60, "c")]
    found = shown(entries)
    assert len(found) == MAX_FAILURES
    assert [e.cluster for e in found] == names(40, "b") + names(60, "c")


def test_every_entry_is_counted_by_class_or_by_reason() -> None:
    entries = [failed("a", "ImageNotFound"), failed("b"), waits("c"), waits("d")]
    assert counted(entries, None) == {
        "ClusterUnavailable": 2,
        "ImageNotFound": 1,
        "UnrecoverableError": 1,
    }


def stored(
    entries: Sequence[PrecachingFailure], before: PrecachingStatus | None = None
) -> PrecachingStatus:
    return PrecachingStatus(failures=shown(entries), failures_by_class=counted(entries, before))


def test_counts_stay_complete_when_more_have_failed_than_are_named() -> None:
    kinds = ["ImageNotFound"] * 150 + ["StoreFailed"] * 30
    all_of_them = [failed(c, k) for c, k in zip(names(180), kinds, strict=True)]
    before = stored(all_of_them + [waits(c) for c in names(40, "w")])
    named = {e.cluster: e for e in before.failures or ()}
    assert len(named) == MAX_FAILURES
    # The next pass knows of those alone that are named; one more fails, the outage is over.
    entries = [named.get(c, blank(c)) for c in names(180)] + [failed("a", "StoreFailed")]
    after = stored(entries, before)
    assert after.failures_by_class == {"ImageNotFound": 150, "StoreFailed": 31}
    assert "a" in {e.cluster for e in after.failures or ()}


def test_counts_are_made_up_by_state_where_nothing_was_stored_and_shrink_when_clusters_return() -> (
    None
):
    entries = [blank(c) for c in names(5)]
    assert counted(entries, None) == {"UnrecoverableError": 5}
    known = PrecachingStatus(failures_by_class={"StoreFailed": 3, "ImageNotFound": 40})
    assert counted(entries, known) == {"ImageNotFound": 5}
    assert counted([*entries, *(blank(c) for c in names(40, "d"))], known) == {
        "ImageNotFound": 40,
        "StoreFailed": 3,
        "UnrecoverableError": 2,
    }
    assert counted([], known) == {}
