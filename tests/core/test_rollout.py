"""The remediation: batch by batch, in each batch every cluster policy by policy, until time is up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from talm.api.cgu import ClusterRemediationProgress, ClusterState, PolicyRef, PolicyStatus
from talm.core.model import RootPolicy
from talm.core.rollout import Batches, Course, Limits, RolloutStep, enforced, step
from talm.core.story import Rollout, RolloutVerdict

from .given import NOW, later

FIRST: Final = PolicyRef(name="first", namespace="ztp")
SECOND: Final = PolicyRef(name="second", namespace="ztp")
FOUR_HOURS: Final = Limits(dt.timedelta(hours=4))
RUNNING: Final = RolloutVerdict(Rollout.RUNNING)
DONE: Final = ClusterRemediationProgress(state="Completed")


def at(index: int) -> ClusterRemediationProgress:
    return ClusterRemediationProgress(state="InProgress", policy_index=index)


def complete(*names: str) -> tuple[ClusterState, ...]:
    return tuple(ClusterState(name=name, state="complete") for name in names)


def late(name: str, policy: str) -> ClusterState:
    hangs_on = PolicyStatus(name=policy, status="NonCompliant")
    return ClusterState(name=name, state="timedout", current_policy=hangs_on)


def course(plan: Batches, *policies: PolicyRef, **more: Any) -> Course:
    return Course(NOW, plan, policies or (FIRST,), **more)


def policies(**compliance: Mapping[str, str]) -> dict[PolicyRef, RootPolicy]:
    """Policy name -> cluster -> word; a cluster that is absent is not matched."""
    return {
        PolicyRef(name=name, namespace="ztp"): RootPolicy("ztp", name, compliance=words)
        for name, words in compliance.items()
    }


def words(compliant: str = "", other: str = "") -> dict[str, str]:
    """`a b` are compliant, `c d` are not."""
    return dict.fromkeys(compliant.split(), "Compliant") | dict.fromkeys(
        other.split(), "NonCompliant"
    )


def run(
    of: Course,
    found: Mapping[PolicyRef, RootPolicy],
    *,
    minutes: float = 0,
    limits: Limits = FOUR_HOURS,
) -> RolloutStep:
    return step(of, found, limits, later(minutes=minutes))


# --- the clusters of a batch ---


def test_the_first_batch_is_enforced_at_its_first_policy() -> None:
    found = policies(first=words(other="a b c"), second=words(other="a b c"))
    after = run(course((("a", "b"), ("c",)), FIRST, SECOND), found)
    assert after.verdict == RUNNING
    assert after.course.progress == {"a": at(0), "b": at(0)}
    assert after.course.batch_started_at == NOW
    assert after.enforced == {FIRST: ("a", "b"), SECOND: ()}


def test_a_cluster_goes_on_to_the_next_policy_by_itself_and_stays_on_the_earlier_one() -> None:
    found = policies(first=words("a", "b"), second=words(other="a b"))
    after = run(course((("a", "b"),), FIRST, SECOND), found)
    assert after.course.progress == {"a": at(1), "b": at(0)}
    assert after.enforced == {FIRST: ("a", "b"), SECOND: ("a",)}


def test_a_policy_that_does_not_match_the_cluster_is_skipped() -> None:
    found = policies(first=words(other="b"), second=words(other="a b"))
    after = run(course((("a",), ("b",)), FIRST, SECOND), found)
    assert after.course.progress == {"a": at(1)}


def test_a_complete_cluster_has_its_entry_and_stays_enforced_until_its_batch_ends() -> None:
    after = run(course((("a", "b"),)), policies(first=words("a", "b")))
    assert after.course.progress == {"a": DONE, "b": at(0)}
    assert after.course.clusters == complete("a")
    assert after.enforced == {FIRST: ("a", "b")}


def test_a_complete_cluster_is_not_reopened_within_its_batch() -> None:
    before = course((("a", "b"),), progress={"a": DONE, "b": at(0)}, clusters=complete("a"))
    after = run(before, policies(first=words(other="a b")))
    assert after.course.progress == {"a": DONE, "b": at(0)}
    assert after.course.clusters == complete("a")


def test_a_cluster_does_not_fall_back_to_a_policy_that_it_has_passed() -> None:
    before = course((("a",),), FIRST, SECOND, progress={"a": at(1)})
    found = policies(first=words(other="a"), second=words(other="a"))
    assert run(before, found).course.progress == {"a": at(1)}


def test_a_policy_that_vanished_holds_its_clusters() -> None:
    after = run(course((("a",),)), {})
    assert after.course.progress == {"a": at(0)}
    assert after.verdict == RUNNING


def test_a_policy_that_was_not_evaluated_holds_its_clusters() -> None:
    assert run(course((("a",),)), policies(first={})).course.progress == {"a": at(0)}


# --- batches ---


def test_when_all_are_complete_the_next_batch_starts_with_everybody_released() -> None:
    before = course((("a",), ("b",)), batch_started_at=NOW, progress={"a": at(0)})
    after = run(before, policies(first=words("a", "b")), minutes=5)
    assert after.verdict == RUNNING
    assert after.enforced == {FIRST: ()}
    assert (after.course.batch, after.course.batch_started_at) == (2, later(minutes=5))
    assert after.course.progress == {}
    assert after.course.clusters == complete("a")
    assert after.deadline == later(minutes=5)


def test_the_last_batch_completes_the_remediation() -> None:
    before = course((("a",), ("b",)), batch=2, batch_started_at=NOW, clusters=complete("a"))
    after = run(before, policies(first=words("a b")))
    assert after.verdict == RolloutVerdict(Rollout.COMPLETED)
    assert after.course.clusters == complete("a", "b")
    assert after.enforced == {}


def test_an_earlier_batch_that_regressed_holds_the_end_until_the_whole_time_is_up() -> None:
    before = course((("a",), ("b",)), batch=2, batch_started_at=NOW, clusters=complete("a"))
    found = policies(first=words("b", "a"))
    after = run(before, found, minutes=5)
    assert after.verdict == RUNNING
    assert after.enforced == {FIRST: ("b",)}
    assert after.deadline == later(minutes=240)
    end = run(after.course, found, minutes=240)
    assert end.verdict == RolloutVerdict(Rollout.TIMED_OUT)
    assert end.course.clusters == complete("a", "b")
    mended = run(after.course, policies(first=words("a b")), minutes=200)
    assert mended.verdict == RolloutVerdict(Rollout.COMPLETED)


# --- time ---


def test_each_batch_has_its_share_and_the_last_one_the_remainder() -> None:
    found = policies(first=words(other="a b c"))
    plan = (("a",), ("b",), ("c",))
    first = run(course(plan), found)
    assert first.deadline == later(minutes=80)
    second = run(course(plan, batch=2, batch_started_at=later(minutes=20)), found, minutes=20)
    assert second.deadline == later(minutes=130)
    third = run(course(plan, batch=3, batch_started_at=later(minutes=130)), found, minutes=130)
    assert third.deadline == later(minutes=240)
    assert run(third.course, found, minutes=239).verdict == RUNNING


def test_with_continue_the_batch_that_is_late_is_left_behind() -> None:
    before = course(
        (("a", "b"), ("c",)),
        FIRST,
        SECOND,
        batch_started_at=NOW,
        progress={"a": at(0), "b": at(1)},
    )
    found = policies(first=words("b", "a c"), second=words("a", "b c"))
    assert run(before, found, minutes=119).course.batch == 1
    after = run(before, found, minutes=120)
    assert after.verdict == RUNNING
    assert after.course.batch == 2
    assert after.course.clusters == (late("a", "first"), late("b", "second"))
    assert after.enforced == {FIRST: (), SECOND: ()}


def test_with_abort_a_late_batch_ends_the_remediation() -> None:
    limits = replace(FOUR_HOURS, on_batch_timeout="Abort")
    found = policies(first=words("a", "b c"))
    before = course((("a", "b"), ("c",)), batch_started_at=NOW)
    after = run(before, found, minutes=120, limits=limits)
    assert after.verdict == RolloutVerdict(Rollout.TIMED_OUT, text=" on some clusters")
    assert after.course.clusters == (*complete("a"), late("b", "first"))


def test_a_late_canary_ends_the_remediation_whatever_the_action() -> None:
    limits = replace(FOUR_HOURS, canaries=1)
    found = policies(first=words(other="a b"))
    after = run(course((("a",), ("b",)), batch_started_at=NOW), found, minutes=120, limits=limits)
    assert after.verdict == RolloutVerdict(Rollout.TIMED_OUT, text=" on canary clusters")
    assert after.course.clusters == (late("a", "first"),)
    second = course((("a",), ("b",), ("c",)), batch=2, batch_started_at=NOW)
    assert run(second, found, minutes=120, limits=limits).verdict == RUNNING


def test_when_the_whole_time_is_up_the_running_batch_is_late_and_batches_not_started_have_no_entry() -> (
    None
):
    found = policies(first=words("a", "b c"))
    before = course((("a", "b"), ("c",)), clusters=(late("z", "first"),))
    after = run(before, found, minutes=240)
    assert after.verdict == RolloutVerdict(Rollout.TIMED_OUT)
    assert after.course.clusters == (late("z", "first"), *complete("a"), late("b", "first"))
    assert after.enforced == {}


def test_a_timeout_that_is_repeated_adds_no_second_entry() -> None:
    found = policies(first=words(other="a"))
    once = run(course((("a",),)), found, minutes=240)
    again = run(once.course, found, minutes=241)
    assert again.course.clusters == once.course.clusters == (late("a", "first"),)


def test_a_timeout_of_zero_ends_at_once() -> None:
    limits = Limits(dt.timedelta())
    after = run(course((("a",),)), policies(first=words(other="a")), limits=limits)
    assert after.verdict == RolloutVerdict(Rollout.TIMED_OUT)


def test_the_timeout_is_read_anew_in_every_pass() -> None:
    found = policies(first=words(other="a b"))
    before = course((("a",), ("b",)), batch_started_at=NOW)
    assert run(before, found, minutes=50).deadline == later(minutes=120)
    shorter = Limits(dt.timedelta(minutes=100))
    assert run(before, found, minutes=50, limits=shorter).course.batch == 2
    assert run(before, found, minutes=100, limits=shorter).verdict.kind is Rollout.TIMED_OUT


def test_a_course_beyond_its_plan_has_no_clusters() -> None:
    assert course((("a",),), batch=2).current == ()


def test_the_batch_whose_turn_is_next_follows_the_running_one_or_is_one_that_has_not_begun() -> (
    None
):
    plan = (("a",), ("b",))
    assert course(plan, batch_started_at=NOW).upcoming == ("b",)
    assert course(plan, batch=2).upcoming == ("b",)
    assert course(plan, batch=2, batch_started_at=NOW).upcoming == ()


def test_a_cluster_that_has_not_started_is_enforced_at_the_first_policy_only() -> None:
    waiting = ClusterRemediationProgress(state="NotStarted")
    of = course((("a",),), FIRST, SECOND, progress={"a": waiting})
    assert enforced(of) == {FIRST: ("a",), SECOND: ()}


# --- a whole remediation ---


@settings(max_examples=60)
@given(
    count=st.integers(1, 6),
    size=st.integers(1, 3),
    stuck=st.sets(st.integers(0, 5)),
    minutes=st.integers(5, 60),
)
def test_a_remediation_enforces_one_batch_at_a_time_and_ends(
    count: int, size: int, stuck: set[int], minutes: int
) -> None:
    names = [f"c{i}" for i in range(count)]
    hopeless = {f"c{i}" for i in stuck} & set(names)
    of = course(tuple(tuple(names[i : i + size]) for i in range(0, count, size)), FIRST, SECOND)
    compliant: dict[PolicyRef, set[str]] = {FIRST: set(), SECOND: set()}
    for turn in range(50):
        now = NOW + turn * dt.timedelta(minutes=minutes)
        after = step(of, _found(names, compliant), FOUR_HOURS, now)
        for clusters in after.enforced.values():
            assert set(clusters) <= set(after.course.current)
        if after.verdict != RUNNING:
            break
        for ref, enforced_on in after.enforced.items():
            compliant[ref] |= set(enforced_on) - hopeless
        of = after.course
    entries = [state.name for state in after.course.clusters]
    assert len(entries) == len(set(entries))
    assert {s.name for s in after.course.clusters if s.state == "complete"}.isdisjoint(hopeless)
    in_time = now < NOW + FOUR_HOURS.timeout
    assert after.verdict.kind is (Rollout.COMPLETED if in_time else Rollout.TIMED_OUT)
    assert not (in_time and hopeless)


def _found(
    names: list[str], compliant: Mapping[PolicyRef, set[str]]
) -> dict[PolicyRef, RootPolicy]:
    return {
        ref: RootPolicy(
            "ztp", ref.name, compliance=words(" ".join(done), " ".join(set(names) - done))
        )
        for ref, done in compliant.items()
    }
