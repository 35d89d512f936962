"""What now: in which stage a CGU is, and what is asked for in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from talm.api.cgu import (
    Actions,
    AfterCompletion,
    BeforeEnable,
    CguStatus,
    ClusterRemediationProgress,
    ClusterState,
    PolicyRef,
    UpgradeStatus,
)
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.decide import Decision, Stage, decide, has_succeeded_condition, stored_course
from talm.core.model import Blocker, Cluster, Effect, Fact, Move, Snapshot
from talm.core.story import Rollout, RolloutVerdict

from .given import (
    CNFDB,
    META,
    NOW,
    POLICY,
    SPEC,
    both,
    cgu,
    condition,
    later,
    policy,
    snapshot,
    status,
)

P: Final = Phase
REF: Final = PolicyRef(name=POLICY, namespace="ztp-group")
DELETED: Final = changed(META, deletion_timestamp=NOW)
OVER: Final = UpgradeStatus(started_at=NOW, completed_at=NOW)


def running(**more: Any) -> CguStatus:
    """A remediation of both clusters in one batch that was stored at `NOW`."""
    return CguStatus(
        remediation_plan=(CNFDB,),
        managed_policies_for_upgrade=(REF,),
        status=UpgradeStatus(started_at=NOW, current_batch=1, current_batch_started_at=NOW),
        **more,
    )


def keeping(stored: CguStatus) -> Snapshot:
    """A CGU that wants its objects kept at its end."""
    actions = Actions(after_completion=AfterCompletion(delete_objects=False))
    return snapshot(cgu(stored, actions=actions))


# --- stages ---


def test_a_new_cgu_gets_the_finalizer_before_anything_else() -> None:
    new = changed(META, finalizers=("somebodys/own",))
    assert decide(snapshot(cgu(meta=new))) == Decision(Stage.ADOPTING, add_finalizer=True)
    assert decide(snapshot(cgu(meta=changed(META, finalizers=None)))).stage is Stage.ADOPTING


def test_a_cgu_whose_farewell_was_said_is_over() -> None:
    assert decide(snapshot(cgu(CguStatus(status=OVER)))) == Decision(Stage.OVER)


@pytest.mark.parametrize("word", ["True", "False", "Unknown"])
def test_a_succeeded_condition_ends_a_cgu_whoever_wrote_it_even_as_the_only_condition(
    word: str,
) -> None:
    ended = CguStatus(conditions=(condition("Succeeded", word, "BecauseISaySo"),))
    assert has_succeeded_condition(ended)
    found = decide(snapshot(cgu(ended)))
    assert (found.stage, found.drop_placements) == (Stage.ENDED, True)
    assert (
        decide(snapshot(cgu(changed(running(), conditions=ended.conditions)))).stage is Stage.ENDED
    )


def test_at_the_end_what_did_not_succeed_is_removed() -> None:
    ended = changed(
        status({"cnfdb1": P.ACTIVE, "cnfdb2": P.SUCCEEDED}),
        conditions=(condition("Succeeded", "True"),),
    )
    assert decide(snapshot(cgu(ended))).moves == (Move("cnfdb1", None, (Effect.REMOVE,)),)


def test_objects_are_kept_at_the_end_when_the_user_wants_so() -> None:
    ended = CguStatus(conditions=(condition("Succeeded", "True"),))
    assert decide(keeping(ended)).drop_placements is False
    before = Actions(before_enable=BeforeEnable())
    assert decide(snapshot(cgu(ended, actions=before))).drop_placements is True


def test_a_deleted_cgu_says_farewell_and_drops_its_finalizer_in_one_pass() -> None:
    found = decide(snapshot(cgu(status(both(P.ACTIVE)), meta=DELETED)))
    assert found.stage is Stage.DELETING
    assert [m.effects for m in found.moves] == [(Effect.REMOVE,), (Effect.REMOVE,)]
    assert (found.drop_placements, found.drop_finalizer) == (True, True)


def test_a_deleted_cgu_whose_farewell_was_said_only_drops_its_objects_and_its_finalizer() -> None:
    done = changed(status(both(P.FAILED)), status=OVER)
    found = decide(snapshot(cgu(done, meta=DELETED)))
    assert found.moves == ()
    assert (found.drop_placements, found.drop_finalizer) == (True, True)


def test_somebody_elses_finalizer_on_a_deleted_cgu_is_theirs() -> None:
    meta = changed(DELETED, finalizers=("somebodys/own",))
    assert decide(snapshot(cgu(meta=meta))).drop_finalizer is False


def test_a_deleted_cgu_whose_policies_and_clusters_have_vanished_goes_all_the_same() -> None:
    gone = snapshot(cgu(status(both(P.ACTIVE)), meta=DELETED), policies=(), clusters={})
    found = decide(gone)
    assert found.moves == ()
    assert found.drop_finalizer is True


# --- pre-caching ---


def test_pre_caching_starts_at_once_although_the_cgu_is_not_enabled() -> None:
    found = decide(snapshot(cgu(status(both(P.NOT_STARTED)), enable=False)))
    assert found.moves == tuple(Move(c, P.PREPARING, (Effect.CLEAN_UP,)) for c in CNFDB)


def test_enabled_from_the_start_the_remediation_still_waits_for_pre_caching() -> None:
    found = decide(snapshot(cgu(status(both(P.ACTIVE)), enable=True)))
    assert (found.stage, found.gate, found.rollout) == (Stage.PREPARING, None, None)


def test_each_policy_has_an_empty_placement_from_the_start() -> None:
    found = decide(snapshot())
    assert found.placements is not None
    assert [(w.policy, w.clusters) for w in found.placements] == [(REF, ())]


def test_while_held_placements_are_left_as_they_are_and_those_under_way_go_on() -> None:
    facts = {"cnfdb1": Fact.JOB_SUCCEEDED, "cnfdb2": Fact.JOB_ACTIVE}
    seen = snapshot(cgu(status(both(P.ACTIVE))), policies=(), facts=facts)
    found = decide(seen)
    assert found.placements is None
    assert found.moves == (Move("cnfdb1", P.SUCCEEDED, (Effect.REMOVE,)),)


def test_when_pre_caching_is_done_a_cgu_that_is_not_enabled_waits() -> None:
    found = decide(snapshot(cgu(status(both(P.SUCCEEDED)))))
    assert found.gate == RolloutVerdict(Rollout.NOT_ENABLED)
    assert found.rollout is None


def test_a_blocked_cgu_waits() -> None:
    seen = snapshot(
        cgu(status(both(P.SUCCEEDED)), enable=True), blockers=(Blocker("x", exists=False),)
    )
    assert decide(seen).gate == RolloutVerdict(Rollout.BLOCKED_BY_MISSING, ("x",))


def test_clusters_that_failed_pre_caching_are_left_out() -> None:
    mixed = status({"cnfdb1": P.FAILED, "cnfdb2": P.SUCCEEDED})
    found = decide(snapshot(cgu(mixed, enable=True)))
    assert found.rollout is not None
    assert found.rollout.course.plan == (("cnfdb2",),)
    assert found.gate == RolloutVerdict(Rollout.RUNNING)
    assert found.placements is not None
    assert [w.clusters for w in found.placements] == [("cnfdb2",)]


@pytest.mark.parametrize("enable", [False, True])
def test_when_all_failed_the_cgu_ends_whether_enabled_or_not(enable: bool) -> None:
    failed = status({"cnfdb1": P.FAILED, "cnfdb2": P.TIMED_OUT})
    found = decide(snapshot(cgu(failed, enable=enable)))
    assert found.gate == RolloutVerdict(Rollout.ALL_FAILED_PRECACHING)
    assert found.ends is True
    assert [(m.cluster, m.goto, m.effects) for m in found.moves] == [
        ("cnfdb1", P.FAILED, (Effect.REMOVE,)),
        ("cnfdb2", P.TIMED_OUT, (Effect.REMOVE,)),
    ]
    assert (found.placements, found.drop_placements) == (None, True)


def test_pre_caching_that_is_switched_off_removes_what_was_begun() -> None:
    stored = status({"cnfdb1": P.ACTIVE, "cnfdb2": P.NOT_STARTED})
    found = decide(snapshot(cgu(stored, pre_caching=False)))
    assert found.moves == (
        Move("cnfdb1", None, (Effect.REMOVE,)),
        Move("cnfdb2", None),
    )
    assert found.gate == RolloutVerdict(Rollout.NOT_ENABLED)


# --- remediation ---


def test_without_pre_caching_an_enabled_cgu_begins_at_once() -> None:
    of = cgu(pre_caching=False, enable=True, strategy={"max_concurrency": 1})
    found = decide(snapshot(of, policies=[policy(compliant=["cnfdb1"])]))
    assert found.rollout is not None
    course = found.rollout.course
    assert (course.plan, course.policies, course.started_at) == ((("cnfdb2",),), (REF,), NOW)
    assert course.clusters == (ClusterState(name="cnfdb1", state="complete"),)


def test_with_nothing_to_enforce_the_cgu_ends_once_it_is_enabled() -> None:
    compliant = [policy(compliant=CNFDB)]
    assert decide(snapshot(policies=compliant)).gate == RolloutVerdict(Rollout.NOT_ENABLED)
    found = decide(snapshot(cgu(enable=True), policies=compliant))
    assert found.gate == RolloutVerdict(Rollout.ALREADY_COMPLIANT)
    assert found.ends is True


def test_a_cgu_without_policies_and_templates_is_valid_and_ends_at_once() -> None:
    found = decide(snapshot(cgu(enable=True, managed_policies=None), policies=()))
    assert found.gate == RolloutVerdict(Rollout.ALREADY_COMPLIANT)


def test_a_running_remediation_goes_on_with_what_is_stored_whatever_the_spec_says_now() -> None:
    edited = cgu(
        running(),
        enable=False,
        clusters=("cnfdb9",),
        managed_policies=(POLICY, "another"),
        strategy={"max_concurrency": 1},
    )
    found = decide(snapshot(edited))
    assert found.stage is Stage.REMEDIATING
    assert found.gate == RolloutVerdict(Rollout.RUNNING)
    assert found.rollout is not None
    assert found.rollout.course.plan == (CNFDB,)


def test_the_remediation_ends_when_all_comply_and_its_placements_go() -> None:
    found = decide(snapshot(cgu(running()), policies=[policy(compliant=CNFDB)]))
    assert found.gate == RolloutVerdict(Rollout.COMPLETED)
    assert (found.ends, found.placements, found.drop_placements) == (True, None, True)
    kept = decide(replace(keeping(running()), policies={POLICY: (policy(compliant=CNFDB),)}))
    assert kept.drop_placements is False


def test_a_late_canary_is_told_apart_from_other_clusters() -> None:
    plan = (("cnfdb1",), ("cnfdb2",))
    late = cgu(
        changed(running(), remediation_plan=plan), strategy={"canaries": ("cnfdb1",), "timeout": 60}
    )
    found = decide(snapshot(late, now=later(minutes=30)))
    assert found.gate == RolloutVerdict(Rollout.TIMED_OUT, text=" on canary clusters")


def test_a_batch_that_is_late_may_abort_the_remediation() -> None:
    plan = (("cnfdb1",), ("cnfdb2",))
    late = cgu(
        changed(running(), remediation_plan=plan),
        batch_timeout_action="Abort",
        strategy={"timeout": 60},
    )
    found = decide(snapshot(late, now=later(minutes=30)))
    assert found.gate == RolloutVerdict(Rollout.TIMED_OUT, text=" on some clusters")


def test_a_placement_that_cannot_select_is_told_and_the_remediation_goes_on() -> None:
    problems = {"p2": "two", "p1": "one"}
    found = decide(snapshot(cgu(running()), placement_problems=problems))
    assert found.gate == RolloutVerdict(Rollout.WAITING_FOR_PLACEMENT, ("p1",), "one")
    assert found.placements is not None
    assert [w.clusters for w in found.placements] == [CNFDB]


def test_a_policy_of_the_same_name_elsewhere_is_not_taken_for_the_managed_one() -> None:
    elsewhere = replace(policy(compliant=CNFDB), namespace="elsewhere")
    found = decide(snapshot(cgu(running()), policies=[elsewhere]))
    assert found.gate == RolloutVerdict(Rollout.RUNNING)


def test_the_stored_course_is_read_as_it_was_written() -> None:
    progress = {"cnfdb1": ClusterRemediationProgress(state="InProgress", policy_index=0)}
    stored = running(clusters=(ClusterState(name="z", state="complete"),))
    assert stored.status is not None
    stored = changed(
        stored, status=changed(stored.status, current_batch_remediation_progress=progress)
    )
    course = stored_course(stored)
    assert course is not None
    assert (course.batch, course.batch_started_at, course.progress) == (1, NOW, progress)
    assert course.clusters == stored.clusters
    assert stored_course(CguStatus(status=UpgradeStatus(started_at=NOW))) is None
    assert stored_course(CguStatus(status=UpgradeStatus())) is None


def test_when_somebody_removed_the_progress_the_remediation_begins_anew_with_what_is_seen() -> None:
    robbed = changed(running(), status=None, precaching=status(both(P.SUCCEEDED)).precaching)
    found = decide(snapshot(cgu(robbed, enable=True), policies=[policy(compliant=["cnfdb1"])]))
    assert found.rollout is not None
    assert found.rollout.course.plan == (("cnfdb2",),)


# --- the specification ---


def other_image(seen: Snapshot) -> Snapshot:
    return replace(seen, policies={POLICY: (policy(image="quay.io/other@sha256:" + "1" * 64),)})


@pytest.mark.parametrize("phase", [P.NOT_STARTED, P.PREPARING])
def test_a_changed_specification_replaces_the_stored_one_while_nobody_is_past_preparing(
    phase: Phase,
) -> None:
    found = decide(other_image(snapshot(cgu(status(both(phase)))))).prepared
    assert found is not None
    assert found.spec is not None
    assert found.spec.platform_image.startswith("quay.io/other")


@pytest.mark.parametrize("phase", [P.STARTING, P.ACTIVE])
def test_a_changed_specification_is_not_taken_while_somebody_is_under_way(phase: Phase) -> None:
    stored = status({"cnfdb1": phase, "cnfdb2": P.NOT_STARTED})
    found = decide(other_image(snapshot(cgu(stored)))).prepared
    assert found is not None
    assert found.spec == SPEC


def test_clusters_have_no_duty_to_report_their_availability() -> None:
    silent = {c: Cluster(c) for c in CNFDB}
    seen = snapshot(
        cgu(status(both(P.STARTING)), enable=True),
        clusters=silent,
        facts=dict.fromkeys(CNFDB, Fact.JOB_MISSING),
        now=later(minutes=60),
    )
    assert {m.effects for m in decide(seen).moves} == {(Effect.START_JOB,)}
