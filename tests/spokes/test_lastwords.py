"""What a workload's record says of an attempt that ended badly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from talm.api.progress import RunPhase
from talm.spokes.jobs import told_whole
from talm.spokes.lastwords import last_words

HEARTBEAT = "2026-07-01T12:34:56Z"


def words(**record: Any) -> str:
    return last_words({"record": json.dumps(record)})


def test_a_failure_is_told_by_class_and_text() -> None:
    told = words(
        phase="Failed", errorClass="ImageNotFound", errorText="x: 404", heartbeat=HEARTBEAT
    )
    assert told == "ImageNotFound: x: 404"


def test_an_attempt_that_was_killed_is_told_by_how_far_it_was_when_it_was_heard_last() -> None:
    told = words(phase="Downloading", bytesDone=41, bytesTotal=100, heartbeat=HEARTBEAT)
    assert told == "ended without a record; last seen 41 % at 2026-07-01T12:34:56Z"


@pytest.mark.parametrize(
    ("record", "far"),
    [
        ({"bytesDone": 999, "bytesTotal": 1000}, "99 %"),
        ({"bytesDone": 7, "bytesTotal": 0, "imagesDone": 1, "imagesTotal": 3}, "33 %"),
        ({"bytesDone": 7, "bytesTotal": 5}, "100 %"),
        ({"phase": "Resolving"}, "in phase Resolving"),
        ({"phase": "Starting"}, "in phase Starting"),
        ({"phase": "Verifying", "bytesDone": 5, "bytesTotal": 5}, "100 %"),
    ],
)
def test_how_far_is_told_by_the_best_measure_there_is(record: dict[str, Any], far: str) -> None:
    assert words(**{"phase": "Downloading", **record}) == f"ended without a record; last seen {far}"


def test_what_it_was_trying_again_is_told_and_is_no_class_of_failure() -> None:
    told = words(phase="Downloading", errorClass="RegistryUnreachable", errorText="503")
    assert told.endswith("; it had tried again after RegistryUnreachable: 503")
    assert ": RegistryUnreachable" not in told


@pytest.mark.parametrize("data", [{}, {"record": ""}, {"record": "{"}, {"record": "[" * 100_000}])
def test_without_a_record_nothing_is_said(data: dict[str, str]) -> None:
    assert last_words(data) == ""


def test_a_success_explains_no_failure() -> None:
    assert words(phase=RunPhase.SUCCEEDED) == ""


SILENT = "ended without a record; last seen 41 %"


@pytest.mark.parametrize(
    "note",
    [
        "BackoffLimitExceeded: Job has reached the specified backoff limit",
        "DeadlineExceeded: Job was active longer than specified deadline",
        "PodFailurePolicy: StoreFailed",
    ],
)
def test_every_bad_end_of_a_job_tells_of_the_attempt_that_was_killed(note: str) -> None:
    assert told_whole(note, SILENT) == f"{note}: {SILENT}"
