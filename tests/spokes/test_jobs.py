from __future__ import annotations

from typing import Any

import msgspec
import pytest

from talm.api.ocm import ViewedObject
from talm.core.model import Fact
from talm.spokes.jobs import job_fact, told_whole

DEADLINE = "DeadlineExceeded"


def condition(kind: str, reason: str = "", *, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": "told so"}


TABLE: list[tuple[str, dict[str, Any], Fact]] = [
    ("just created", {}, Fact.JOB_PENDING),
    ("as little as this", {"active": 1}, Fact.JOB_ACTIVE),
    ("no pod ready yet", {"active": 1, "ready": 0, "terminating": 0}, Fact.JOB_ACTIVE),
    ("as little as that", {"active": 0, "succeeded": 1}, Fact.JOB_SUCCEEDED),
    ("complete", {"conditions": [condition("Complete", "CompletionsReached")]}, Fact.JOB_SUCCEEDED),
    ("not complete", {"conditions": [condition("Complete", status="False")]}, Fact.JOB_PENDING),
    ("deadline", {"conditions": [condition("Failed", DEADLINE)], "failed": 1}, Fact.JOB_DEADLINE),
    (
        "deadline, pod still ending",
        {"active": 1, "terminating": 1, "conditions": [condition("FailureTarget", DEADLINE)]},
        Fact.JOB_DEADLINE,
    ),
    ("back-off", {"conditions": [condition("Failed", "BackoffLimitExceeded")]}, Fact.JOB_FAILED),
    ("pod policy", {"conditions": [condition("Failed", "PodFailurePolicy")]}, Fact.JOB_FAILED),
    ("a reason to come", {"conditions": [condition("FailureTarget", "New")]}, Fact.JOB_FAILED),
    ("a failed pod, tried again", {"active": 1, "failed": 1}, Fact.JOB_ACTIVE),
    ("a failed pod, no verdict", {"failed": 1}, Fact.JOB_PENDING),
    ("suspended", {"conditions": [condition("Suspended")]}, Fact.JOB_PENDING),
    ("nulls", {"active": None, "conditions": None}, Fact.JOB_PENDING),
]


@pytest.mark.parametrize("status, fact", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_job_s_status_is_one_fact(status: dict[str, Any], fact: Fact) -> None:
    result = msgspec.convert({"status": status}, ViewedObject)
    assert job_fact(result)[0] is fact


@pytest.mark.parametrize("result", [None, ViewedObject()], ids=["no result", "no status"])
def test_a_job_of_which_nothing_is_told_is_there_and_pending(result: ViewedObject | None) -> None:
    assert job_fact(result) == (Fact.JOB_PENDING, "")


def test_a_bad_end_is_told_in_the_job_s_words() -> None:
    status = {"conditions": [condition("Failed", "BackoffLimitExceeded")]}
    result = msgspec.convert({"status": status}, ViewedObject)
    assert job_fact(result)[1] == "BackoffLimitExceeded: told so"


def ended_by_policy(code: int) -> str:
    text = f"Container c for pod a/b failed with exit code {code} matching FailJob rule at index 1"
    failed = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": text}
    return job_fact(msgspec.convert({"status": {"conditions": [failed]}}, ViewedObject))[1]


def test_an_exit_code_that_ended_the_job_is_told_by_its_class() -> None:
    assert ended_by_policy(15) == "PodFailurePolicy: Unauthorized"


def test_an_exit_code_of_no_class_is_told_in_the_job_s_words() -> None:
    assert ended_by_policy(2).endswith("exit code 2 matching FailJob rule at index 1")


@pytest.mark.parametrize(
    "note, words, whole",
    [
        ("PodFailurePolicy: Unauthorized", "Unauthorized: 401", "PodFailurePolicy: Unauthorized: 401"),
        ("PodFailurePolicy: Unauthorized", "", "PodFailurePolicy: Unauthorized"),
        # The record of an earlier attempt: the last one could not write its own.
        ("PodFailurePolicy: Unauthorized", "StoreFailed: busy", "PodFailurePolicy: Unauthorized"),
        ("BackoffLimitExceeded: told so", "StoreFailed: x", "BackoffLimitExceeded: told so: StoreFailed: x"),
    ],
)  # fmt: skip
def test_the_workload_s_words_follow_the_job_s_and_no_class_is_told_twice(
    note: str, words: str, whole: str
) -> None:
    assert told_whole(note, words) == whole
