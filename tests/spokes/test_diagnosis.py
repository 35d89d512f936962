"""When a pod that tells why is due, and how what it tells is told."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import msgspec
import pytest

from talm.api.ocm import JobStatus, ViewedStatus
from talm.api.words import Hindrance
from talm.core.model import Fact, Sight
from talm.spokes.diagnosis import (
    ASKED,
    NO_DIAGNOSIS,
    NOT_READY,
    PREPARED,
    SCHEDULING,
    STARTS,
    Diagnosis,
    Stalls,
    is_refusal,
    of_pod,
    of_refusal,
    with_diagnosis,
)

ACTIVE, PENDING = Sight(Fact.JOB_ACTIVE), Sight(Fact.JOB_PENDING)
NONE_READY, READY, UNCOUNTED = (
    JobStatus(active=1, ready=0),
    JobStatus(active=1, ready=1),
    JobStatus(active=1),
)
EMPTY, BACK_OFF = JobStatus(), JobStatus(failed=1, ready=0)
TOLD = Diagnosis(asked=True, text=f"{NOT_READY}: ErrImagePull", told=True)
SPOKEN = {"record": "{}"}


def after(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


ROWS = [
    ("active, none ready", ACTIVE, NONE_READY, 60, Fact.JOB_UNREADY),
    ("not yet a minute", ACTIVE, NONE_READY, 59, Fact.JOB_ACTIVE),
    ("ready", ACTIVE, READY, 60, Fact.JOB_ACTIVE),
    ("ready pods are not counted", ACTIVE, UNCOUNTED, 60, Fact.JOB_ACTIVE),
    ("no pod", PENDING, EMPTY, 60, Fact.JOB_PODLESS),
    ("between attempts, never heard", PENDING, BACK_OFF, 60, Fact.JOB_PODLESS),
    ("between attempts, heard", replace(PENDING, progress=SPOKEN), BACK_OFF, 60, Fact.JOB_PENDING),
    ("nothing is told of the Job", PENDING, None, 60, Fact.JOB_PENDING),
    ("ended", Sight(Fact.JOB_SUCCEEDED), EMPTY, 60, Fact.JOB_SUCCEEDED),
    ("not made", Sight(Fact.JOB_MISSING), EMPTY, 60, Fact.JOB_MISSING),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sight", "job", "seconds", "fact"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_it_is_due_when_a_job_has_no_ready_pod_for_a_minute(
    sight: Sight, job: JobStatus | None, seconds: float, fact: Fact
) -> None:
    assert with_diagnosis(sight, job, NO_DIAGNOSIS, after(seconds)).fact is fact


def test_until_then_the_next_look_is_at_the_minute_s_end() -> None:
    waiting = with_diagnosis(ACTIVE, NONE_READY, NO_DIAGNOSIS, after(20))
    assert (waiting.recheck, waiting.hindrance) == (after(40), None)
    sooner = replace(ACTIVE, recheck=after(3))
    assert with_diagnosis(sooner, NONE_READY, NO_DIAGNOSIS, after(20)).recheck == after(3)


def test_what_it_tells_is_told_as_what_is_in_the_way() -> None:
    sight = with_diagnosis(ACTIVE, NONE_READY, TOLD)
    assert sight == Sight(Fact.JOB_ACTIVE, TOLD.text, hindrance=Hindrance.POD_NOT_READY)
    assert with_diagnosis(PENDING, EMPTY, TOLD).fact is Fact.JOB_PENDING


def test_a_ready_pod_takes_it_away() -> None:
    assert with_diagnosis(ACTIVE, READY, TOLD) == Sight(Fact.JOB_RECOVERED)


@pytest.mark.parametrize("fact", [Fact.JOB_DEADLINE, Fact.JOB_FAILED])
def test_a_bad_end_is_told_with_the_cause_where_one_is_known(fact: Fact) -> None:
    ended = Sight(fact, "DeadlineExceeded: too long")
    told = with_diagnosis(ended, EMPTY, TOLD)
    assert told == Sight(fact, f"DeadlineExceeded: too long; {TOLD.text}")
    assert with_diagnosis(ended, EMPTY, of_pod(None)) == ended
    assert with_diagnosis(ended, EMPTY, NO_DIAGNOSIS) == ended


def test_how_far_the_pod_is_is_told_while_no_cause_is() -> None:
    on_node = {"type": "PodScheduled", "status": "True"}
    told = [of_pod(status) for status in (None, ViewedStatus(), ViewedStatus(phase="Running"))]
    assert [found.text for found in told] == [ASKED, SCHEDULING, STARTS]
    assert not any(found.told for found in told)
    prepared = msgspec.convert({"phase": "Pending", "conditions": [on_node]}, ViewedStatus)
    assert of_pod(prepared).text == PREPARED


@pytest.mark.parametrize(
    "words",
    [
        'pods "pre-cache-diagnose" is forbidden: violates PodSecurity "baseline:latest": host namespaces',
        'pods "pre-cache-diagnose" is forbidden: unable to validate against any security context constraint',
        'pods "pre-cache-diagnose" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1',
        'admission webhook "deny.example.com" denied the request: no',
        'Pod "pre-cache-diagnose" is invalid: spec.containers[0].image: Required value',
    ],
)
def test_what_the_api_server_has_judged_is_a_refusal_in_its_words(words: str) -> None:
    for preamble in ("failed to handle Create action with err: ", "Failed to apply manifest: "):
        assert is_refusal(preamble + words)
        assert of_refusal(preamble + words).text == f"the Job's pod is refused: {words}"


@pytest.mark.parametrize(
    "words", ["etcdserver: request timed out", 'namespaces "x" not found', "connection refused"]
)
def test_what_may_pass_is_no_refusal(words: str) -> None:
    assert not is_refusal(words)


def test_a_minute_begins_anew_with_another_run_and_when_the_pod_was_ready() -> None:
    stalls, now = Stalls(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert stalls.seen("c", "run-1", now) == after(0)
    assert stalls.seen("c", "run-1", now + after(30)) == after(30)
    assert stalls.seen("c", "run-2", now + after(40)) == after(0)
    stalls.over("c")
    assert stalls.seen("c", "run-2", now + after(90)) == after(0)
