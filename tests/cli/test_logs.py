"""What `talm logs` prints, and what it says where nothing is kept."""

from __future__ import annotations

import datetime as dt

import pytest

from talm.api.progress import FailedImage
from talm.api.words import Phase
from talm.cli.logs import record_lines, why_not
from talm.cli.told import Told
from tests.cli.fleets import NOW, SMALL, a_cgu, record
from tests.cli.golden import assert_golden

FULL = record(
    1_229,
    16_384,
    attempt=3,
    earlier=("attempt 1: node rebooted", "attempt 2: Interrupted"),
    warnings=("the file system of /var is 88 % full",),
    error_class="RegistryUnreachable",
    error_text="quay.io: 503",
    images_failed=1,
    failed=(FailedImage(image="quay.io/a/b", error_class="ImageNotFound", error_text="404"),),
    missing=("quay.io/a/c",),
    lines=("03:29:50 phase Downloading", "03:29:55 trying again after quay.io: 503 (7 times)"),
)


def test_a_record_is_shown_with_all_that_it_has() -> None:
    assert_golden("logs-full", record_lines("spoke-0003", Told(FULL), NOW))


def test_a_record_without_anything_is_short() -> None:
    empty = record(0, 0, images_done=0, images_total=0, current_image="", heartbeat=None)
    assert list(record_lines("c", Told(empty), NOW)) == [
        "c  Downloading, attempt 1",
        "  images     0 of ?",
    ]


def test_a_sum_over_nodes_shows_how_many_are_done_and_which_failed() -> None:
    failed = FailedImage(node="b", error_class="StoreFailed", error_text="node b: disk")
    told = record(1, 2, nodes_done=1, nodes_total=3, nodes_failed=1, failed=(failed,))
    lines = list(record_lines("c", Told(told), NOW))
    assert "  nodes      1 of 3 done, 1 failed" in lines
    assert "  failed     StoreFailed: node b: disk" in lines


def test_of_an_old_record_it_is_said_by_whose_clock_it_is_old() -> None:
    old = Told(record(1, 2, heartbeat=NOW - dt.timedelta(minutes=7)))
    said = "7m ago by the spoke's clock (it should tell every 30 s)"
    assert said in list(record_lines("c", old, NOW))[1]


@pytest.mark.parametrize("phase", Phase)
def test_where_nothing_is_kept_it_says_why_and_where_to_look(phase: Phase) -> None:
    text = why_not(a_cgu("up", {"c": phase.value}), "c", "")
    assert text.startswith(f"{phase}: ")
    if phase in {Phase.ACTIVE, Phase.FAILED, Phase.TIMED_OUT}:
        assert "on the spoke" in text


def test_what_may_not_be_read_is_the_reason_only_while_there_is_something() -> None:
    active, done = a_cgu("up", {"c": "Active"}), a_cgu("up", {"c": "Succeeded"})
    assert "not allowed" in why_not(active, "c", "not allowed")
    assert "not allowed" not in why_not(done, "c", "not allowed")


def test_a_failed_cluster_shows_the_cause_that_is_kept() -> None:
    assert "(PodFailurePolicy: ImageNotFound: x: 404)" in why_not(SMALL, "spoke-0002", "")


def test_a_cluster_without_pre_caching_has_nothing_to_tell() -> None:
    assert why_not(a_cgu("up", {}), "c", "").startswith("NotStarted: nothing runs")
