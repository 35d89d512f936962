"""How long a cluster takes: from its beginning to Active, and to its end, each counted once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from talm.api.words import Phase
from talm.core.clock import Clock
from talm.core.model import Move
from talm.hub.durations import Durations
from tests.core.given import NOW, cgu, later, snapshot, status

P = Phase
ONE = "cnfdb1"


class Course:
    """One cluster going through states; `measured` is what came of it."""

    def __init__(self) -> None:
        self.measured: list[tuple[str, float]] = []
        self.now_s = 1000.0
        self.restart()

    def restart(self) -> None:
        self.durations = Durations(self, lambda: self.now_s)

    def set_up(self, seconds: float) -> None:
        self.measured.append(("setup", seconds))

    def ended(self, phase: Phase, seconds: float) -> None:
        self.measured.append((phase.value, seconds))

    def goes(
        self,
        was: Phase,
        goto: Phase | None,
        after_s: float = 10,
        *,
        failed: Mapping[str, str] | None = None,
        wait: Clock | None = None,
    ) -> None:
        """So long later the cluster makes this move."""
        self.now_s += after_s
        stored = status({ONE: was}, waits={ONE: wait} if wait else None)
        seen = snapshot(cgu(stored), now=later(seconds=self.now_s - 1000))
        self.durations.stored(seen, [Move(ONE, goto)], failed or {})

    def is_idle(self) -> bool:
        return not any(vars(self.durations)["_attempts"].values())


def test_the_setup_ends_with_active_and_the_whole_with_the_end() -> None:
    course = Course()
    for was, goto in (
        (P.NOT_STARTED, P.PREPARING),
        (P.PREPARING, P.STARTING),
        (P.STARTING, P.ACTIVE),
        (P.ACTIVE, P.SUCCEEDED),
    ):
        course.goes(was, goto)
    assert course.measured == [("setup", 20), ("Succeeded", 30)]
    assert course.is_idle()


def test_a_job_that_was_never_seen_active_has_no_setup_that_could_be_told() -> None:
    course = Course()
    course.goes(P.NOT_STARTED, P.PREPARING)
    course.goes(P.STARTING, P.SUCCEEDED)
    assert course.measured == [("Succeeded", 10)]


def test_a_job_that_is_started_again_has_one_setup() -> None:
    course = Course()
    course.goes(P.NOT_STARTED, P.PREPARING)
    course.goes(P.STARTING, P.ACTIVE)
    course.goes(P.ACTIVE, P.STARTING)
    course.goes(P.STARTING, P.ACTIVE)
    course.goes(P.ACTIVE, P.TIMED_OUT)
    assert course.measured == [("setup", 10), ("PrecacheTimeout", 40)]


def test_a_move_that_was_not_carried_out_or_leads_nowhere_is_no_move() -> None:
    course = Course()
    course.goes(P.NOT_STARTED, P.PREPARING)
    course.goes(P.PREPARING, P.PREPARING)
    course.goes(P.ACTIVE, P.SUCCEEDED, failed={ONE: "500"})
    course.goes(P.ACTIVE, P.SUCCEEDED)
    course.goes(P.SUCCEEDED, P.SUCCEEDED)
    assert course.measured == [("Succeeded", 30)]


@pytest.mark.parametrize("goto", [None, P.NOT_STARTED], ids=["forgotten", "back to the start"])
def test_who_leaves_or_returns_to_the_start_is_measured_anew(goto: Phase | None) -> None:
    course = Course()
    course.goes(P.NOT_STARTED, P.PREPARING)
    course.goes(P.ACTIVE, goto)
    assert course.is_idle()
    course.goes(P.NOT_STARTED, P.PREPARING)
    course.goes(P.STARTING, P.FAILED)
    assert course.measured == [("UnrecoverableError", 10)]


def test_a_cluster_that_is_brought_up_to_date_is_measured_from_there() -> None:
    course = Course()
    course.goes(P.SUCCEEDED, P.NOT_STARTED)
    course.goes(P.NOT_STARTED, P.PREPARING)
    course.goes(P.ACTIVE, P.SUCCEEDED)
    assert course.measured == [("Succeeded", 10)]


def test_after_a_restart_what_the_status_knows_counts() -> None:
    course = Course()
    course.goes(P.STARTING, P.ACTIVE, 60, wait=Clock(spent=100, since=NOW))
    course.restart()
    course.goes(P.ACTIVE, P.SUCCEEDED, 60, wait=Clock(spent=5, since=later(seconds=60)))
    assert course.measured == [("setup", 160), ("Succeeded", 65)]


def test_a_cgu_that_is_gone_leaves_nothing_behind() -> None:
    course = Course()
    course.goes(P.NOT_STARTED, P.PREPARING)
    assert not course.is_idle()
    course.durations.gone(cgu().metadata.key)
    assert course.is_idle()
