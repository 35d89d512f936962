"""The matrix judges sharply: whatever is not explained by a fault is a breach."""

from __future__ import annotations

import pytest

from talm.sim.faults import parse_faults

from .judge import GONE, Expected, Seen, expected_of, outcome, violations

OK = {"c": Expected()}


def expected(faults: str, *, enabled: bool = False) -> dict[str, Expected]:
    (hit,) = parse_faults(faults).plan(["c"]).values()
    return {"c": expected_of(hit, enabled=enabled)}


def seen(phase: str, message: str = "", *, jobs: int = 1) -> Seen:
    return Seen({"c": phase}, {"c": (phase, message)} if message else {}, {"c": jobs})


def test_a_success_with_one_job_is_as_it_must_be() -> None:
    assert violations(OK, seen("Succeeded")) == []


@pytest.mark.parametrize("phase", ["NotStarted", "PreparingToStart", "Starting", "Active"])
def test_a_cluster_that_is_open_after_the_deadlines_is_stuck(phase: str) -> None:
    assert violations(OK, seen(phase, "waits for Godot")) == [
        f"c: stuck in {phase}: waits for Godot"
    ]


def test_a_failure_of_a_cluster_that_was_not_struck_is_a_breach() -> None:
    assert violations(OK, seen("UnrecoverableError", "BackoffLimitExceeded: x")) == [
        "c: UnrecoverableError, which nothing explains: BackoffLimitExceeded: x"
    ]


@pytest.mark.parametrize("jobs", [0, 2])
def test_no_job_and_two_jobs_are_breaches(jobs: int) -> None:
    assert violations(OK, seen("Succeeded", jobs=jobs)) == [f"c: {jobs} Jobs"]


@pytest.mark.parametrize(
    ("faults", "phase", "message"),
    [
        ("job-fails=1", "UnrecoverableError", "BackoffLimitExceeded: Job has reached"),
        ("job-hangs=1", "PrecacheTimeout", "DeadlineExceeded: Job was active"),
        ("pull-back-off=1", "PrecacheTimeout", "DeadlineExceeded: Job was active"),
        ("stuck-leftovers=1", "UnrecoverableError", "the setup took longer than 30 min"),
    ],
)
def test_what_a_fault_ends_must_end_so_and_say_so(faults: str, phase: str, message: str) -> None:
    rule = expected(faults)
    assert violations(rule, seen(phase, message)) == []
    assert violations(rule, seen("Succeeded")) != [], "the workload had failed"
    assert violations(rule, seen(phase, "no reason")) != [], "not in the words of the fault"


def test_a_namespace_that_somebody_mends_ends_nothing() -> None:
    assert expected("stuck-leftovers=1,stuck-for=5") == {"c": Expected()}


def test_an_outage_ends_a_cluster_only_when_enabled_and_for_good() -> None:
    said = seen("UnrecoverableError", "the cluster has been unavailable since X", jobs=0)
    assert violations(expected("cut-when-active=1", enabled=True), said) == []
    assert violations(expected("cut-when-active=1"), said) != []
    assert violations(expected("cut-when-active=1,offline-for=5", enabled=True), said) != []


def test_a_job_after_the_cluster_was_given_up_is_a_breach() -> None:
    late = Seen({"c": "Succeeded"}, {}, {"c": 1}, late_jobs=["c"])
    assert violations(OK, late) == ["c: a Job after it was given up"]


def test_whatever_is_left_is_a_breach_but_of_clusters_that_left_the_hub() -> None:
    left = Seen({"c": "Succeeded"}, {}, {"c": 1}, (), ["c/a-view"], {"c": ["Namespace /x"]})
    assert violations(OK, left) == ["left on the hub: c/a-view", "left on c: Namespace /x"]
    gone = Seen({}, {}, {}, (), ["c/a-view"], {"c": ["Namespace /x"]})
    rule = {"c": Expected(((GONE, ""),), 0, 1, may_leave=True)}
    assert violations(rule, gone) == []
    assert violations(OK, gone)[0] == "c: forgotten, which nothing explains"


def test_a_cgu_that_is_left_is_a_breach_too() -> None:
    left = Seen({"c": "Succeeded"}, {}, {"c": 1}, (), ["row-v/up"])
    assert violations(OK, left) == ["left on the hub: row-v/up"]


def test_outcomes_are_counted_in_the_order_of_states() -> None:
    phases = {"a": "PrecacheTimeout", "b": "Succeeded", "c": "Succeeded"}
    assert outcome(Seen(phases)) == "2 Succeeded, 1 PrecacheTimeout"
