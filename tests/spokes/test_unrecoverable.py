"""Ends of a Job that are the cluster's: what each becomes, by views and by works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from talm.api.ocm import ViewedObject
from talm.api.words import Phase, View
from talm.core.model import Fact, Sight
from talm.core.precache import advance
from talm.spokes.answers import Answer, Question
from talm.spokes.facts import judge
from talm.spokes.own import TALM
from talm.spokes.workfacts import work_fact
from tests.spokes.test_facts import Picture
from tests.spokes.test_workfacts import OURS, work
from tests.spokes.world import ORDER

Look = Callable[[str, str], Sight]


def by_view(kind: str, reason: str) -> Sight:
    """The Job's status as a view shows it; its pod may still be ending."""
    said = {"type": kind, "status": "True", "reason": reason, "message": "told so"}
    status: dict[str, Any] = {"terminating": 1, "conditions": [said]}
    job = msgspec.convert({"status": status}, ViewedObject)
    return judge(Picture({View.JOB: Question(Answer.FOUND, job, born=1)}), TALM, ORDER)


def by_work(kind: str, reason: str) -> Sight:
    """The same as a work's feedback tells it."""
    name = {"Failed": "failed", "FailureTarget": "target"}[kind]
    told: dict[str, int | str] = {f"{name}Reason": reason, f"{name}Message": "told so"}
    return work_fact(work(job=OURS | told), ORDER)


BOTH = pytest.mark.parametrize("look", [by_view, by_work], ids=["views", "works"])
EARLY_OR_LATE = pytest.mark.parametrize("kind", ["Failed", "FailureTarget"])


def becomes(sight: Sight) -> set[Phase]:
    return {advance(phase, sight.fact).goto for phase in (Phase.STARTING, Phase.ACTIVE)}


@BOTH
@EARLY_OR_LATE
def test_an_end_by_the_pod_failure_policy_is_an_unrecoverable_error(look: Look, kind: str) -> None:
    sight = look(kind, "PodFailurePolicy")
    assert sight == Sight(Fact.JOB_FAILED, "PodFailurePolicy: told so")
    assert becomes(sight) == {Phase.FAILED} == {"UnrecoverableError"}


@BOTH
@EARLY_OR_LATE
def test_an_exceeded_back_off_limit_is_an_unrecoverable_error(look: Look, kind: str) -> None:
    sight = look(kind, "BackoffLimitExceeded")
    assert sight == Sight(Fact.JOB_FAILED, "BackoffLimitExceeded: told so")
    assert becomes(sight) == {Phase.FAILED} == {"UnrecoverableError"}


@BOTH
@EARLY_OR_LATE
def test_an_exceeded_deadline_is_a_time_out_and_no_error(look: Look, kind: str) -> None:
    sight = look(kind, "DeadlineExceeded")
    assert becomes(sight) == {Phase.TIMED_OUT} == {"PrecacheTimeout"}
