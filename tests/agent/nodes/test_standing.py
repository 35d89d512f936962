from __future__ import annotations

from typing import Any

import pytest

from talm.agent.failures import failure
from talm.agent.nodes.standing import (
    Patience,
    Standing,
    State,
    failure_of,
    is_over,
    next_nodes,
    standing,
    summary,
)
from talm.api.progress import EXIT_CODES, FailureClass, ProgressRecord, RunPhase

from .given import PENDING, RUNNING, ended, node, node_job

F, S = FailureClass, State


def record(kind: str = "", text: str = "", **counts: Any) -> ProgressRecord:
    phase = RunPhase.FAILED if kind else RunPhase.DOWNLOADING
    return ProgressRecord(phase=phase, error_class=kind, error_text=text, **counts)


@pytest.mark.parametrize(
    "ready, status, state, has_turn",
    [
        (True, None, S.WAITS, False),
        (False, None, S.AWAITED, False),
        (True, {}, S.PULLS, True),
        (True, PENDING, S.PULLS, True),
        (True, RUNNING, S.PULLS, True),
        (False, RUNNING, S.PULLS, False),
        (False, ended(), S.DONE, False),
        (True, ended("BackoffLimitExceeded"), S.FAILED, False),
    ],
)
def test_a_node_stands_where_its_job_does(
    ready: bool, status: dict[str, Any] | None, state: State, has_turn: bool
) -> None:
    job = None if status is None else node_job("a", status)
    found = standing(node("a", ready=ready), job, None)
    assert (found.state, found.has_turn) == (state, has_turn)


@pytest.mark.parametrize(
    "end, said, kind, text",
    [
        (ended("BackoffLimitExceeded", "no more"), record(F.STORE_FAILED, "disk"),
         F.STORE_FAILED, "disk"),
        (ended("PodFailurePolicy", "… failed with exit code 15 matching …"), None,
         F.UNAUTHORIZED, "exit code 15"),
        (ended("DeadlineExceeded", "was active longer"), record(F.PARTLY_CACHED, "2 of 3"),
         F.PARTLY_CACHED, "2 of 3"),
        (ended("DeadlineExceeded", "was active longer"), None,
         F.PARTLY_CACHED, "was active longer"),
        (ended("BackoffLimitExceeded", "no more"), record(run="r", images_done=2, images_total=9),
         F.INTERRUPTED, "last seen with 2 of 9 images"),
        (ended("BackoffLimitExceeded", "no more"), record("Bug", "KeyError: 1", run="r"),
         F.INTERRUPTED, "Bug: KeyError: 1"),
        (ended("BackoffLimitExceeded", "no more"), None, F.INTERRUPTED, "it has told nothing"),
    ],
)  # fmt: skip
def test_a_failed_node_has_a_class_and_a_text(
    end: dict[str, Any], said: ProgressRecord | None, kind: FailureClass, text: str
) -> None:
    error = standing(node("a"), node_job("a", end), said).error
    assert error is not None
    assert (error.kind, error.exit_code) == (kind, EXIT_CODES[kind])
    assert text in str(error)


def at(
    name: str, state: State, *, has_turn: bool = False, kind: FailureClass = F.IMAGE_NOT_FOUND
) -> Standing:
    error = failure(kind, f"of {name}") if state is S.FAILED else None
    return Standing(name, state, has_turn=has_turn, error=error)


def test_at_most_so_many_nodes_pull_at_the_same_time_in_the_order_of_their_names() -> None:
    waiting = [at(name, S.WAITS) for name in ("d", "b", "c")]
    assert next_nodes(waiting, 2) == ("b", "c")
    assert next_nodes([*waiting, at("a", S.PULLS, has_turn=True)], 2) == ("b",)
    assert next_nodes([*waiting, *(at(n, S.PULLS, has_turn=True) for n in "xyz")], 2) == ()


def test_neither_a_node_that_is_done_nor_one_that_is_stuck_keeps_others_waiting() -> None:
    others = [at("a", S.DONE), at("b", S.FAILED), at("c", S.PULLS), at("e", S.AWAITED)]
    assert next_nodes([*others, at("d", S.WAITS)], 1) == ("d",)


@pytest.mark.parametrize(
    "states, over",
    [
        ((), False),
        ((S.DONE, S.DONE), True),
        ((S.DONE, S.FAILED), True),
        ((S.FAILED, S.PULLS), False),
        ((S.FAILED, S.WAITS), False),
        ((S.DONE, S.AWAITED), False),
        ((S.FAILED, S.AWAITED), True),
    ],
)
def test_it_is_over_when_nothing_can_mend_or_worsen_it(
    states: tuple[State, ...], over: bool
) -> None:
    assert is_over([at(str(n), state) for n, state in enumerate(states)]) is over


def test_the_most_serious_failure_counts_and_every_failed_node_is_told() -> None:
    found = failure_of([
        at("a", S.FAILED, kind=F.PARTLY_CACHED),
        at("b", S.DONE),
        at("c", S.FAILED, kind=F.UNAUTHORIZED),
        at("d", S.FAILED, kind=F.INSUFFICIENT_SPACE),
        at("e", S.AWAITED),
    ])  # fmt: skip
    assert found is not None
    assert (found.kind, found.exit_code) == (F.UNAUTHORIZED, EXIT_CODES[F.UNAUTHORIZED])
    assert str(found) == (
        "Unauthorized: 3 of 5 nodes failed: a: PartlyCached: of a; c: Unauthorized: of c;"
        " d: InsufficientSpace: of d; e: not ready"
    )
    assert failure_of([at("b", S.DONE)]) is None


def test_a_summary_names_a_few_of_those_that_are_not_done() -> None:
    assert summary([at("a", S.DONE)]) == "1 of 1 nodes have everything"
    many = [at("a", S.DONE), *(at(name, S.WAITS) for name in "bcdefgh")]
    assert summary(many) == (
        "1 of 8 nodes have everything; b waits for its turn, c waits for its turn,"
        " d waits for its turn, e waits for its turn, f waits for its turn and 2 more"
    )


def test_a_node_whose_pod_does_not_run_gives_its_turn_away_and_says_why() -> None:
    found = standing(node("a"), node_job("a", PENDING), None, "ErrImagePull: not found")
    assert (found.state, found.has_turn) == (State.PULLS, False)
    assert summary([found]) == (
        "0 of 1 nodes have everything; a waits for its pod (ErrImagePull: not found)"
    )


def test_a_job_whose_pod_never_runs_is_stuck_after_a_while() -> None:
    patience = Patience(300)
    jobs = {"a": node_job("a", PENDING), "b": node_job("b", RUNNING), "c": node_job("c", ended())}
    assert patience.stuck(jobs, 1000) == frozenset()
    assert patience.stuck(jobs, 1299) == frozenset()
    assert patience.stuck(jobs, 1300) == {"a"}
    assert patience.stuck({"a": node_job("a", RUNNING)}, 1301) == frozenset()
    assert patience.stuck(jobs, 1302) == frozenset()  # its next pod gets its time, too


def test_an_api_server_that_counts_no_ready_pods_is_believed() -> None:
    assert node_job("a", {"active": 1}).runs
    assert not node_job("a", {}).runs
