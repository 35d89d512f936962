"""A specification that changes after clusters have begun: who keeps it, who waits, who starts anew."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pytest

from talm.api.cgu import PrecachingSpec, Wait
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.decide import decide
from talm.core.due import Due, Voice
from talm.core.fleet import stored_phases
from talm.core.model import Cluster, Effect, Fact, Move, Sight, Snapshot, SpecSources
from talm.core.precache import BEFORE_SETUP
from talm.core.prepare import prepare
from talm.core.renewal import Change, renewal
from talm.core.settle import settle
from talm.core.specifications import one_for_all

from .given import (
    CNFDB,
    DONE,
    IMAGE,
    NOW,
    SPEC,
    both,
    cgu,
    conditions,
    one_pass,
    policy,
    snapshot,
    status,
    stored,
)

P: Final = Phase
OLD: Final = PrecachingSpec(platform_image="quay.io/old@sha256:" + "0" * 64, space_required="35")


def begun_with_the_old(phases: Mapping[str, Phase], **more: object) -> Snapshot:
    """The clusters have begun with `OLD`; the policy asks for `SPEC` by now."""
    return snapshot(cgu(status(phases, spec=OLD)), **more)  # type: ignore[arg-type]


def phases_and_spec(seen: Snapshot) -> tuple[Mapping[str, Phase], PrecachingSpec | None]:
    after = one_pass(seen).status
    assert after.precaching is not None
    return stored_phases(after), after.precaching.spec


@pytest.mark.parametrize("phase", sorted(BEFORE_SETUP))
def test_while_nobody_is_past_preparing_the_new_specification_takes_its_place_at_once(
    phase: Phase,
) -> None:
    phases, spec = phases_and_spec(
        begun_with_the_old(both(phase), facts=dict.fromkeys(CNFDB, Fact.LEFTOVERS))
    )
    assert spec == SPEC
    assert set(phases.values()) <= {P.NOT_STARTED, P.PREPARING}


@pytest.mark.parametrize("running", [P.STARTING, P.ACTIVE])
def test_an_attempt_under_way_keeps_its_specification_and_everybody_else_waits(
    running: Phase,
) -> None:
    for waiting in (P.NOT_STARTED, P.PREPARING, P.SUCCEEDED, P.FAILED):
        seen = begun_with_the_old(
            {"cnfdb1": running, "cnfdb2": waiting},
            facts={"cnfdb1": Fact.JOB_PENDING, "cnfdb2": Fact.CLEAN},
        )
        assert prepare(seen).change is Change.AWAITED
        phases, spec = phases_and_spec(seen)
        assert (phases, spec) == ({"cnfdb1": running, "cnfdb2": waiting}, OLD)


def test_whoever_waits_for_a_change_loses_no_time() -> None:
    seen = begun_with_the_old({"cnfdb1": P.ACTIVE, "cnfdb2": P.PREPARING})
    after = one_pass(seen).status.precaching
    assert after is not None
    assert after.waits == (Wait(since=NOW, clusters=("cnfdb1",)),)


def test_whoever_waits_for_a_change_says_so() -> None:
    seen = begun_with_the_old({"cnfdb1": P.ACTIVE, "cnfdb2": P.PREPARING})
    after = one_pass(seen).status.precaching
    assert after is not None
    (entry,) = after.failures or ()
    assert (entry.cluster, entry.reason) == ("cnfdb2", "SpecificationChanged")
    assert "waiting for the attempts under way" in entry.message


def test_a_change_that_waits_is_told() -> None:
    seen = begun_with_the_old(both(P.ACTIVE))
    (told,) = prepare(seen).warnings
    assert told.startswith("what is to be cached has changed; the attempts under way keep")


@pytest.mark.parametrize("ended", [P.SUCCEEDED, P.TIMED_OUT, P.FAILED])
def test_when_no_attempt_is_under_way_everybody_is_outdated(ended: Phase) -> None:
    seen = begun_with_the_old({"cnfdb1": ended, "cnfdb2": P.SUCCEEDED})
    phases, spec = phases_and_spec(seen)
    assert (phases, spec) == (both(P.NOT_STARTED), SPEC)
    assert not any(move.effects for move in decide(seen).moves)


def test_what_was_said_of_the_old_caches_is_taken_back() -> None:
    first = stored(snapshot(cgu(status(both(P.SUCCEEDED)))))
    assert conditions(first.cgu.status)["PrecachingSuceeded"][0] == "True"
    other = replace(first, policies=snapshot(policies=[policy(image="quay.io/new:1")]).policies)
    after = one_pass(other)
    told = conditions(after.status)
    assert told["PrecachingSuceeded"] == (
        "False", "InProgress", "Precaching in progress for 2 clusters",
    )  # fmt: skip
    assert told["PrecachingDone"][0] == "False"
    assert told["PrecacheSpecValid"][0] == "True"
    assert [(event.reason, event.note) for event in after.events] == [
        (
            "CguPrecachingOutdated",
            "ClusterGroupUpgrade du-upgrade-4918: what is to be cached has changed, "
            "2 clusters are brought up to date",
        )
    ]


def test_an_enabled_update_waits_until_outdated_caches_are_brought_up_to_date() -> None:
    of = cgu(status(both(P.SUCCEEDED), spec=OLD), enable=True)
    decision = decide(snapshot(of))
    assert decision.rollout is None
    assert settle(snapshot(of), decision, DONE).status.status is not None
    assert decide(snapshot(cgu(status(both(P.SUCCEEDED)), enable=True))).rollout is not None


def test_once_the_update_runs_a_change_changes_nothing() -> None:
    running = stored(snapshot(cgu(status(both(P.SUCCEEDED)), enable=True)))
    other = replace(running, policies=snapshot(policies=[policy(image="quay.io/new:1")]).policies)
    assert phases_and_spec(other) == (both(P.SUCCEEDED), SPEC)


def test_an_attempt_on_an_unavailable_cluster_is_not_waited_for() -> None:
    away = {"cnfdb1": Cluster("cnfdb1", available=False, since=NOW), "cnfdb2": Cluster("cnfdb2")}
    seen = begun_with_the_old({"cnfdb1": P.ACTIVE, "cnfdb2": P.SUCCEEDED}, clusters=away)
    assert phases_and_spec(seen) == (both(P.NOT_STARTED), SPEC)


def test_an_attempt_that_another_cgu_will_clean_up_is_not_waited_for() -> None:
    seen = begun_with_the_old(
        {"cnfdb1": P.ACTIVE, "cnfdb2": P.SUCCEEDED}, owners={"cnfdb1": "ztp/older"}
    )
    assert phases_and_spec(seen) == (both(P.NOT_STARTED), SPEC)


def test_an_attempt_on_a_silent_cluster_is_not_waited_for() -> None:
    heard = Due(Voice.WORKLOAD, NOW - dt.timedelta(hours=1), dt.timedelta(minutes=5))
    for sight, goto in (
        (Sight(Fact.JOB_ACTIVE, due=heard), P.NOT_STARTED),
        (Sight(Fact.JOB_ACTIVE), P.ACTIVE),
    ):
        phases = {"cnfdb1": P.ACTIVE, "cnfdb2": P.SUCCEEDED}
        after, _ = phases_and_spec(begun_with_the_old(phases, facts={"cnfdb1": sight}))
        assert after["cnfdb1"] is goto


def test_an_attempt_on_a_cluster_that_has_left_the_plan_is_not_waited_for() -> None:
    seen = begun_with_the_old({"cnfdb1": P.ACTIVE, "cnfdb2": P.SUCCEEDED})
    left = replace(seen, cgu=changed(seen.cgu, spec=changed(seen.cgu.spec, clusters=("cnfdb2",))))
    assert phases_and_spec(left) == ({"cnfdb2": P.NOT_STARTED}, SPEC)


def test_a_cluster_that_ended_and_left_the_plan_is_forgotten_with_its_old_cache() -> None:
    seen = begun_with_the_old(both(P.SUCCEEDED), policies=[policy(compliant=["cnfdb1"])])
    assert phases_and_spec(seen) == ({"cnfdb2": P.NOT_STARTED}, SPEC)


@pytest.mark.parametrize("ended", [P.TIMED_OUT, P.FAILED])
def test_what_a_forgotten_cluster_left_behind_when_it_failed_is_taken_away(ended: Phase) -> None:
    phases = {"cnfdb1": ended, "cnfdb2": P.SUCCEEDED}
    moves = decide(begun_with_the_old(phases, policies=[policy(compliant=["cnfdb1"])])).moves
    assert Move("cnfdb1", None, (Effect.REMOVE,)) in moves


def test_a_specification_that_asks_for_the_same_in_another_order_changes_nothing() -> None:
    one = PrecachingSpec(platform_image=IMAGE, additional_images=("a", "b"))
    other = PrecachingSpec(platform_image=IMAGE, additional_images=("b", "a", "b"))
    seen = snapshot(cgu(status(both(P.SUCCEEDED), spec=one)))
    found = renewal(seen, CNFDB, one_for_all(one), one_for_all(other))
    assert (found.change, found.specs.spec) == (Change.NONE, one)


def test_a_change_that_is_taken_back_leaves_no_trace() -> None:
    seen = snapshot(cgu(status({"cnfdb1": P.ACTIVE, "cnfdb2": P.SUCCEEDED})))
    assert prepare(seen).change is Change.NONE
    assert phases_and_spec(seen)[1] == SPEC


def test_a_specification_that_cannot_be_derived_takes_nothing_away() -> None:
    seen = begun_with_the_old(both(P.SUCCEEDED), sources=SpecSources(config_name="gone"))
    assert phases_and_spec(seen) == (both(P.SUCCEEDED), OLD)
    (told,) = prepare(seen).warnings
    assert told.startswith("what was begun goes on with its specification: failed to get")
