from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from talm.api.ocm import ManagedClusterAction, ManagedClusterView
from talm.spokes.answers import Answer, Deed, State, deed, outcome, question, remembered
from talm.spokes.ledger import Present
from tests.spokes.hub import START

ERR = "failed to get resource with err: "
OLD = "2020-01-01T00:00:00Z"


def view(status: object) -> Present[ManagedClusterView]:
    body = {"metadata": {"uid": "v", "resourceVersion": "7"}, "status": status}
    return Present(msgspec.convert(body, ManagedClusterView), "v", 7, START, 0)


def said(status: str, message: str, **more: Any) -> dict[str, Any]:
    condition = {"type": "Processing", "status": status, "message": message}
    return {"conditions": [condition | {"lastTransitionTime": OLD}], **more}


VIEWS: list[tuple[object, Answer]] = [
    (None, Answer.AWAITED),
    ({}, Answer.AWAITED),
    ({"conditions": []}, Answer.AWAITED),
    (said("True", "Watching resources successfully", result={"status": {}}), Answer.FOUND),
    (said("True", "found"), Answer.FOUND),
    (said("True", ""), Answer.FOUND),
    (said("False", "not found"), Answer.MISSING),
    (said("False", ERR + 'jobs.batch "pre-cache" not found'), Answer.MISSING),
    (said("False", ERR + 'namespaces "x" not found\n'), Answer.MISSING),
    (said("False", ERR + "dial tcp 10.0.0.1:6443: connect: connection refused"), Answer.AWAITED),
    (said("False", "not found: try again later"), Answer.AWAITED),
    (said("Unknown", ""), Answer.AWAITED),
]


@pytest.mark.parametrize("status, answer", VIEWS)
def test_a_view_s_words_are_one_answer(status: object, answer: Answer) -> None:
    assert question(view(status), START).answer is answer


def test_a_result_that_is_kept_beside_a_failure_is_stale() -> None:
    kept = said("False", ERR + "timeout", result={"status": {"active": 1}})
    assert question(view(kept), START).result is None
    assert question(view(said("False", "not found", result={})), START).result is None


def test_the_agent_s_words_are_kept_when_they_are_no_answer() -> None:
    assert question(view(said("False", ERR + "timeout")), START).note == ERR + "timeout"


def test_a_question_knows_its_age_and_when_its_newest_answer_was_written() -> None:
    asked = question(view(said("True", "found")), START + dt.timedelta(seconds=5))
    assert (asked.born, asked.told, asked.age) == (7, 7, dt.timedelta(seconds=5))


def action(
    status: str | None, message: str = "", attempt: str | None = None
) -> Present[ManagedClusterAction]:
    meta: dict[str, Any] = {"uid": "a", "resourceVersion": "9"}
    if attempt is not None:
        meta["annotations"] = {"talm.ran.openshift.io/attempt": attempt}
    body: dict[str, Any] = {"metadata": meta}
    if status is not None:
        body["status"] = {
            "conditions": [{"type": "Completed", "status": status, "message": message}]
        }
    return Present(msgspec.convert(body, ManagedClusterAction), "a", 9, START, 0)


CREATE = "failed to handle Create action with err: "
DELETE = "failed to handle Delete action with err: "
ACTIONS = [
    (None, "", False, State.PENDING, False),
    ("Unknown", "", False, State.PENDING, False),
    ("True", "Resource action is done.", False, State.DONE, False),
    ("False", CREATE + 'namespaces "x" already exists', False, State.DONE, True),
    ("False", CREATE + 'object is being deleted: namespaces "x" already exists', False, State.FAILED,
     False),
    ("False", CREATE + 'namespaces "x" not found', False, State.FAILED, False),
    ("False", CREATE + "forbidden: it is being terminated", False, State.FAILED, False),
    ("False", DELETE + 'namespaces "x" not found', True, State.DONE, True),
    ("False", DELETE + "the server could not find the requested resource", True, State.FAILED, False),
]  # fmt: skip


@pytest.mark.parametrize("status, message, deletes, state, moot", ACTIONS)
def test_an_action_s_words_are_one_state(
    status: str | None, message: str, deletes: bool, state: State, moot: bool
) -> None:
    found = deed(action(status, message), deletes=deletes, now=START)
    assert (found.state, found.moot) == (state, moot)


@pytest.mark.parametrize("text, attempt", [(None, 1), ("3", 3), ("0", 1), ("x", 1), ("9" * 9, 1)])
def test_the_attempt_is_read_from_the_annotation(text: str | None, attempt: int) -> None:
    assert deed(action(None, attempt=text), deletes=False, now=START).attempt == attempt


@pytest.mark.parametrize(
    "attempt, pause_s", [(1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (1000, 300)]
)
def test_the_pause_before_another_try_doubles_up_to_five_minutes(
    attempt: int, pause_s: int
) -> None:
    failed = Deed(State.FAILED, attempt=attempt)
    assert failed.pause_left == dt.timedelta(seconds=pause_s)
    waited = Deed(State.FAILED, attempt=attempt, age=dt.timedelta(seconds=pause_s))
    assert waited.is_due and not failed.is_due


def test_only_completed_true_is_final_for_an_agent() -> None:
    assert not deed(action("True"), deletes=False, now=START).may_run
    moot = deed(action("False", CREATE + "x already exists"), deletes=False, now=START)
    assert moot.state is State.DONE and moot.may_run
    assert deed(action(None), deletes=False, now=START).may_run


def test_what_is_remembered_of_an_action_is_its_end() -> None:
    now = START + dt.timedelta(seconds=30)
    ended = deed(action("False", CREATE + "no", attempt="2"), deletes=False, now=now)
    kept = outcome(ended, "run", now)
    assert kept is not None
    again = remembered(kept, now)
    assert (again.state, again.text, again.attempt, again.age, again.present) == (
        State.FAILED, CREATE + "no", 2, dt.timedelta(seconds=30), False,
    )  # fmt: skip
    assert outcome(deed(action(None), deletes=False, now=now), "run", now) is None


def test_an_object_that_the_cache_does_not_show_yet_is_awaited() -> None:
    unseen: Present[ManagedClusterView] = Present(None, "v", 7, START, 1)
    assert question(unseen, START).answer is Answer.AWAITED
    not_yet: Present[ManagedClusterAction] = Present(None, "a", 7, START, 2)
    found = deed(not_yet, deletes=False, now=START)
    assert (found.state, found.present, found.attempt) == (State.PENDING, True, 2)
