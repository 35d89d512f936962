"""All clusters of a CGU: whose turn it is, which move each makes, who leaves, whose clock runs."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any, Final

import pytest

from talm.api.cgu import CguStatus, PrecachingStatus
from talm.api.words import FINAL_PHASES, Phase
from talm.core.clock import Clock
from talm.core.deadlines import settle_clocks
from talm.core.fleet import (
    FleetDecision,
    decide_fleet,
    settle_phases,
    stored_phases,
    verdict,
)
from talm.core.model import Cluster, Effect, Fact, Move, Sight, Snapshot
from talm.core.parting import farewell
from talm.core.story import Precaching, PrecachingVerdict

from .given import CNFDB, NOW, both, cgu, later, snapshot, status

P, F, E = Phase, Fact, Effect
ONE: Final = ("cnfdb1",)
OTHER: Final = {"cnfdb1": "ztp-group-du-sno/older"}
DOWN: Final = {"cnfdb1": Cluster("cnfdb1", available=False, since=NOW)}


def one(phase: Phase, fact: Fact | Sight = F.UNASKED, **more: Any) -> Snapshot:
    """A CGU with one cluster, stored in `phase`, of which `fact` is seen."""
    waits = {"cnfdb1": more.pop("wait")} if "wait" in more else None
    of = cgu(status({"cnfdb1": phase}, waits=waits), clusters=ONE)
    return snapshot(of, facts={"cnfdb1": fact}, **more)


def decided(seen: Snapshot, *, held: bool = False, enabled: bool = False) -> FleetDecision:
    return decide_fleet(seen, ONE, held=held, enabled=enabled)


def move_of(seen: Snapshot, *, held: bool = False, enabled: bool = False) -> Move | None:
    moves = decided(seen, held=held, enabled=enabled).moves
    assert len(moves) <= 1
    return moves[0] if moves else None


# --- claims: a state is stored before the next one is entered ---


def test_a_cluster_leaves_not_started_only_when_that_is_stored() -> None:
    assert decide_fleet(snapshot(), CNFDB, held=False, enabled=False) == FleetDecision()
    assert move_of(one(P.NOT_STARTED)) == Move("cnfdb1", P.PREPARING, (E.CLEAN_UP,))


def test_all_clusters_start_at_once_whatever_the_batch_size() -> None:
    of = cgu(status(both(P.NOT_STARTED)), strategy={"max_concurrency": 1})
    moves = decide_fleet(snapshot(of), CNFDB, held=False, enabled=False).moves
    assert [m.cluster for m in moves] == ["cnfdb1", "cnfdb2"]


def test_an_unknown_word_in_the_status_counts_as_not_started() -> None:
    odd = CguStatus(precaching=PrecachingStatus(status={"cnfdb1": "Dancing", "cnfdb2": "Active"}))
    assert stored_phases(odd) == {"cnfdb1": P.NOT_STARTED, "cnfdb2": P.ACTIVE}
    assert stored_phases(CguStatus()) == {}


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES))
@pytest.mark.parametrize("fact", list(F), ids=lambda fact: fact.name)
def test_a_cluster_at_its_end_is_left_alone(phase: Phase, fact: Fact) -> None:
    assert decided(one(phase, fact), enabled=True) == FleetDecision()


# --- the older CGU has the cluster ---


def test_while_an_older_cgu_has_the_cluster_it_waits_in_not_started() -> None:
    assert decided(one(P.NOT_STARTED, owners=OTHER)) == FleetDecision()


@pytest.mark.parametrize("phase", [P.PREPARING, P.STARTING, P.ACTIVE])
def test_a_cluster_that_an_older_cgu_claims_goes_back_and_asks_for_nothing(phase: Phase) -> None:
    seen = one(phase, F.JOB_SUCCEEDED, owners=OTHER)
    assert move_of(seen) == Move("cnfdb1", P.NOT_STARTED)


def test_another_cgus_cluster_is_not_failed_for_an_outage_nor_looked_at_again_for_it() -> None:
    seen = one(P.NOT_STARTED, owners=OTHER, clusters=DOWN, now=later(minutes=60))
    assert decided(seen, enabled=True) == FleetDecision()


# --- holds ---


def test_while_held_nothing_new_begins() -> None:
    assert decided(one(P.NOT_STARTED), held=True, enabled=True) == FleetDecision()


def test_while_held_a_cleaned_cluster_does_not_enter_the_setup() -> None:
    seen = one(P.PREPARING, F.CLEAN)
    assert move_of(seen) == Move("cnfdb1", P.STARTING)
    assert move_of(seen, held=True) is None


def test_while_held_the_clean_up_goes_on() -> None:
    assert move_of(one(P.PREPARING, F.LEFTOVERS_KEPT), held=True) == Move(
        "cnfdb1", P.PREPARING, (E.REMOVE_AGAIN,)
    )


@pytest.mark.parametrize(
    ("phase", "fact", "goto"),
    [
        (P.STARTING, F.JOB_MISSING, P.STARTING),
        (P.STARTING, F.JOB_ACTIVE, P.ACTIVE),
        (P.ACTIVE, F.JOB_SUCCEEDED, P.SUCCEEDED),
    ],
)
def test_a_hold_does_not_stop_what_has_begun(phase: Phase, fact: Fact, goto: Phase) -> None:
    move = move_of(one(phase, fact), held=True)
    assert move is not None
    assert move.goto is goto


def test_while_held_a_cluster_that_left_the_plan_stays() -> None:
    seen = one(P.ACTIVE, F.JOB_ACTIVE)
    assert decide_fleet(seen, (), held=True, enabled=False).moves == ()


# --- who leaves ---


@pytest.mark.parametrize("phase", [P.PREPARING, P.STARTING, P.ACTIVE])
def test_what_was_begun_on_a_cluster_that_left_the_plan_is_removed(phase: Phase) -> None:
    moves = decide_fleet(one(phase), (), held=False, enabled=False).moves
    assert moves == (Move("cnfdb1", None, (E.REMOVE,)),)


def test_a_leaver_that_has_not_begun_or_is_gone_or_is_anothers_is_only_forgotten() -> None:
    forgotten = (Move("cnfdb1", None),)
    for seen in (
        one(P.NOT_STARTED),
        one(P.ACTIVE, clusters={}),
        one(P.ACTIVE, owners=OTHER),
    ):
        assert decide_fleet(seen, (), held=False, enabled=False).moves == forgotten


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES))
def test_a_leaver_at_its_end_keeps_its_entry(phase: Phase) -> None:
    assert decide_fleet(one(phase), (), held=False, enabled=False).moves == ()


def test_at_the_farewell_what_is_left_of_every_cluster_that_did_not_succeed_is_removed() -> None:
    names = ("done", "late", "failed", "active", "seen", "new", "foreign", "gone")
    phases = dict(zip(names, (
        P.SUCCEEDED, P.TIMED_OUT, P.FAILED, P.ACTIVE, P.NOT_STARTED, P.NOT_STARTED, P.FAILED,
        P.FAILED,
    ), strict=True))  # fmt: skip
    seen = snapshot(
        cgu(status(phases)),
        facts={"seen": F.UNANSWERED},
        clusters={name: Cluster(name) for name in names if name != "gone"},
        owners={"foreign": "ztp-group-du-sno/older"},
    )
    assert farewell(seen) == (
        Move("late", P.TIMED_OUT, (E.REMOVE,)),
        Move("failed", P.FAILED, (E.REMOVE,)),
        Move("active", None, (E.REMOVE,)),
        Move("seen", None, (E.REMOVE,)),
    )


# --- ends from outside the table ---


def test_a_cluster_ends_at_its_deadline_and_what_was_not_carried_out_is_withdrawn() -> None:
    wait = Clock(since=NOW)
    seen = one(P.STARTING, Sight(F.SETTING_UP, "the agent is silent"), wait=wait)
    assert move_of(replace(seen, now=later(minutes=29))) is None
    assert move_of(replace(seen, now=later(minutes=30))) == Move(
        "cnfdb1",
        P.FAILED,
        (E.WITHDRAW,),
        "the setup took longer than 30 min; last seen: the agent is silent",
    )


def test_a_fact_without_a_rule_keeps_the_cluster_until_its_deadline() -> None:
    seen = one(P.PREPARING, F.JOB_ACTIVE, wait=Clock(since=NOW))
    found = decided(seen)
    assert found.moves == ()
    assert found.complaints == {
        "cnfdb1": "no pre-caching rule for fact JOB_ACTIVE in state PreparingToStart"
    }
    late = move_of(replace(seen, now=later(minutes=30)))
    assert late is not None
    assert late.goto is P.FAILED


def test_the_jobs_end_counts_although_the_deadline_has_passed_or_the_cluster_is_unavailable() -> (
    None
):
    seen = one(P.ACTIVE, F.JOB_SUCCEEDED, wait=Clock(spent=10**6), clusters=DOWN)
    assert move_of(replace(seen, now=later(minutes=60)), enabled=True) == Move(
        "cnfdb1", P.SUCCEEDED, (E.REMOVE,)
    )


def test_once_enabled_an_unavailable_cluster_fails_though_its_view_still_says_active() -> None:
    seen = one(P.ACTIVE, F.JOB_ACTIVE, clusters=DOWN, now=later(minutes=11))
    assert move_of(seen) is None
    assert move_of(seen, enabled=True) == Move(
        "cnfdb1",
        P.FAILED,
        (E.WITHDRAW,),
        "the cluster has been unavailable since 2022-01-27T19:00:00Z",
    )


def test_the_reason_of_a_failed_job_is_what_was_seen_of_it() -> None:
    seen = one(P.ACTIVE, Sight(F.JOB_FAILED, "BackoffLimitExceeded: not enough space"))
    assert move_of(seen) == Move(
        "cnfdb1", P.FAILED, (E.DROP_SETUP,), "BackoffLimitExceeded: not enough space"
    )


def test_a_cluster_that_is_not_on_the_hub_any_more_waits_without_a_clock() -> None:
    seen = one(P.STARTING, F.SETTING_UP, clusters={})
    assert decided(seen, enabled=True) == FleetDecision()


# --- when to look again ---


def look(seen: Snapshot, *, held: bool = False, enabled: bool = False) -> float | None:
    after = decided(seen, held=held, enabled=enabled).look_again_after
    return after.total_seconds() if after is not None else None


def test_the_next_look_is_just_after_the_deadline() -> None:
    seen = one(P.STARTING, F.SETTING_UP, wait=Clock(spent=60, since=NOW), now=later(minutes=9))
    assert look(seen) == 20 * 60 + 1


def test_the_deadline_of_an_active_cluster_follows_the_current_timeout() -> None:
    of = cgu(status({"cnfdb1": P.ACTIVE}), clusters=ONE, strategy={"timeout": 10})
    assert look(snapshot(of, facts={"cnfdb1": F.JOB_ACTIVE})) == 40 * 60 + 1


def test_the_next_look_is_sooner_when_the_transport_says_so() -> None:
    sight = Sight(F.UNANSWERED, recheck=dt.timedelta(seconds=30))
    assert look(one(P.STARTING, sight)) == 30


def test_the_next_look_at_an_unavailable_cluster_is_after_the_grace_and_only_once_enabled() -> None:
    seen = one(P.STARTING, F.SETTING_UP, clusters=DOWN, now=later(minutes=4))
    assert look(seen) is None
    assert look(seen, enabled=True) == 6 * 60 + 1


def test_a_deadline_that_has_passed_is_not_in_the_past() -> None:
    seen = one(P.STARTING, F.SETTING_UP, wait=Clock(since=NOW), now=later(minutes=31))
    assert look(seen) == 1


def test_whoever_is_held_back_has_no_deadline_to_look_for() -> None:
    assert look(one(P.PREPARING, F.CLEAN), held=True) is None


# --- what is stored ---


def test_new_clusters_of_the_plan_are_stored_as_not_started() -> None:
    assert settle_phases({"cnfdb1": P.ACTIVE}, CNFDB, (), {}) == {
        "cnfdb1": P.ACTIVE,
        "cnfdb2": P.NOT_STARTED,
    }


def test_a_move_counts_only_if_its_effects_were_carried_out() -> None:
    stored = {"a": P.STARTING, "b": P.STARTING, "c": P.ACTIVE, "d": P.ACTIVE}
    moves = (
        Move("a", P.ACTIVE, (E.DROP_SETUP,)),
        Move("b", P.ACTIVE, (E.DROP_SETUP,)),
        Move("c", None, (E.REMOVE,)),
        Move("d", None, (E.REMOVE,)),
    )
    assert settle_phases(stored, ("a", "b"), moves, {"b": "500", "d": "500"}) == {
        "a": P.ACTIVE,
        "b": P.STARTING,
        "d": P.ACTIVE,
    }


def clock_of(seen: Snapshot, phase: Phase, *, held: bool = False) -> Clock | None:
    """The stored clock when the cluster is in `phase` after the pass."""
    return settle_clocks(seen, stored_phases(seen.cgu.status), {"cnfdb1": phase}, held=held).get(
        "cnfdb1"
    )


def test_a_clock_goes_on_through_the_states_of_the_setup_and_begins_anew_with_the_job() -> None:
    seen = one(P.STARTING, wait=Clock(spent=7, since=NOW), now=later(minutes=5))
    assert clock_of(seen, P.STARTING) == Clock(spent=7, since=NOW)
    assert clock_of(seen, P.NOT_STARTED) == Clock(spent=7, since=NOW)
    assert clock_of(seen, P.ACTIVE) == Clock(since=later(minutes=5))


def test_a_job_that_is_started_again_has_the_setups_whole_deadline() -> None:
    seen = one(P.ACTIVE, wait=Clock(since=NOW), now=later(minutes=90))
    assert clock_of(seen, P.STARTING) == Clock(since=later(minutes=90))


def test_the_clock_of_a_cluster_at_its_end_is_gone() -> None:
    seen = one(P.ACTIVE, wait=Clock(since=NOW))
    assert [clock_of(seen, phase) for phase in sorted(FINAL_PHASES)] == [None, None, None]


def test_the_clock_stands_still_while_the_cluster_is_unavailable() -> None:
    out = {"cnfdb1": Cluster("cnfdb1", available=False, since=later(minutes=20))}
    wait = Clock(spent=60, since=NOW)
    seen = one(P.STARTING, F.SETTING_UP, wait=wait, clusters=out, now=later(minutes=21))
    assert clock_of(seen, P.STARTING) == Clock(spent=1260)


def test_an_outage_that_is_noticed_late_does_not_count_either() -> None:
    seen = one(P.STARTING, F.SETTING_UP, wait=Clock(since=NOW), clusters=DOWN)
    seen = replace(seen, now=later(minutes=60))
    assert move_of(seen) is None
    assert clock_of(seen, P.STARTING) is None
    unsaid = replace(seen, clusters={"cnfdb1": Cluster("cnfdb1", available=False)})
    assert clock_of(unsaid, P.STARTING) == Clock(spent=3600)


def test_the_clock_begins_anew_after_another_cgu_had_the_cluster() -> None:
    seen = one(P.STARTING, wait=Clock(spent=1200, since=NOW), owners=OTHER)
    assert clock_of(seen, P.NOT_STARTED) is None


def test_the_clock_of_whoever_is_held_back_stands_still() -> None:
    seen = one(P.PREPARING, wait=Clock(since=NOW), now=later(minutes=20))
    assert clock_of(seen, P.PREPARING, held=True) == Clock(spent=1200)
    begun = one(P.STARTING, wait=Clock(since=NOW), now=later(minutes=20))
    assert clock_of(begun, P.STARTING, held=True) == Clock(since=NOW)


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ((P.NOT_STARTED, P.SUCCEEDED), PrecachingVerdict(Precaching.IN_PROGRESS, 1)),
        ((P.ACTIVE, P.FAILED), PrecachingVerdict(Precaching.IN_PROGRESS, 1)),
        ((P.SUCCEEDED, P.SUCCEEDED), PrecachingVerdict(Precaching.COMPLETED)),
        ((P.TIMED_OUT, P.SUCCEEDED), PrecachingVerdict(Precaching.PARTIALLY_DONE, 1)),
        ((P.TIMED_OUT, P.FAILED), PrecachingVerdict(Precaching.FAILED, 2)),
    ],
)
def test_the_verdict_counts_the_plans_clusters(
    phases: tuple[Phase, Phase], expected: PrecachingVerdict
) -> None:
    stored = dict(zip(CNFDB, phases, strict=True)) | {"left-the-plan": P.FAILED}
    assert verdict(stored, CNFDB) == expected
    assert verdict({}, CNFDB) == PrecachingVerdict(Precaching.IN_PROGRESS, 2)
