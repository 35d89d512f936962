"""A removal that has failed is followed beside everything else, and changes no state."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any, Final

import pytest

from talm.api.cgu import UpgradeStatus
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.decide import decide
from talm.core.model import Cluster, Effect, Move, Outcomes, Snapshot
from talm.core.parting import HELD_FOR, TRIED_AFTER
from talm.core.removal import Removal, Standing
from talm.core.report import REMOVAL_FAILED
from talm.core.settle import settle
from talm.core.verification import ends
from tests.core.given import CNFDB, META, NOW, both, cgu, snapshot, status

A, B = CNFDB
DUE: Final = Removal(Standing.FAILED, "connection refused", due=dt.timedelta())
LATER: Final = replace(DUE, due=dt.timedelta(seconds=40))
UNDER_WAY: Final = Removal(Standing.REPEATED)


def succeeded(removal: Removal, **more: Any) -> Snapshot:
    return snapshot(cgu(status(both(Phase.SUCCEEDED))), removals={A: removal}, **more)


def deleted(seen: Snapshot, ago: dt.timedelta = dt.timedelta()) -> Snapshot:
    meta = changed(META, deletion_timestamp=NOW - ago)
    return replace(seen, cgu=changed(seen.cgu, metadata=meta))


def over(seen: Snapshot) -> Snapshot:
    ended = changed(seen.cgu.status, status=UpgradeStatus(started_at=NOW, completed_at=NOW))
    return replace(seen, cgu=changed(seen.cgu, status=ended))


def test_it_is_tried_again_and_that_is_no_new_end() -> None:
    seen = succeeded(DUE)
    (move,) = decide(seen).moves
    assert (move.cluster, move.goto, move.effects) == (A, Phase.SUCCEEDED, (Effect.FINISH_REMOVAL,))
    assert not ends(seen, move)


def test_until_it_is_due_nothing_is_asked_and_time_alone_brings_it_back() -> None:
    seen = succeeded(LATER)
    decision = decide(seen)
    assert not decision.moves
    assert settle(seen, decision, Outcomes()).look_again_after == LATER.due


@pytest.mark.parametrize("standing", [Standing.REQUESTED, Standing.REPEATED, Standing.GIVEN_UP])
def test_while_it_is_the_agent_s_turn_or_nobody_s_nothing_is_asked(standing: Standing) -> None:
    assert not decide(succeeded(Removal(standing))).moves


def test_a_cgu_that_is_over_goes_on_with_it() -> None:
    seen = over(succeeded(DUE))
    assert [move.effects for move in decide(seen).moves] == [(Effect.FINISH_REMOVAL,)]


def test_whoever_is_unavailable_or_another_s_or_not_on_the_hub_is_left_alone() -> None:
    away = {A: Cluster(A, available=False, since=NOW), B: Cluster(B)}
    assert not decide(succeeded(DUE, clusters=away)).moves
    assert not decide(succeeded(DUE, owners={A: "ns/older"})).moves
    assert not [m for m in decide(succeeded(DUE, clusters={B: Cluster(B)})).moves if m.cluster == A]


def test_users_read_it_as_long_as_it_stands() -> None:
    seen = over(succeeded(DUE))
    told = settle(seen, decide(seen), Outcomes()).status
    assert told.precaching is not None
    (entry,) = told.precaching.failures or ()
    assert (entry.cluster, entry.reason) == (A, REMOVAL_FAILED)
    assert "connection refused" in entry.message
    assert told.precaching.failures_by_class == {REMOVAL_FAILED: 1}
    again = replace(seen, cgu=changed(seen.cgu, status=told), removals={A: UNDER_WAY})
    same = settle(again, decide(again), Outcomes()).status.precaching
    assert same is not None
    assert same.failures == (entry,)
    done = replace(
        again, removals={}, now=NOW + dt.timedelta(minutes=1)
    )  # what is told alone is paced
    block = settle(done, decide(done), Outcomes()).status.precaching
    assert block is not None
    assert not block.failures


@pytest.mark.parametrize("removal", [DUE, LATER, UNDER_WAY])
def test_a_deleted_cgu_stays_for_it_and_says_farewell_once(removal: Removal) -> None:
    seen = deleted(succeeded(removal))
    decision = decide(seen)
    assert decision.held_for == {A}
    assert not decision.drop_finalizer
    settled = settle(seen, decision, Outcomes())
    assert settled.status.status is not None
    assert settled.status.status.completed_at == NOW  # the farewell has been said
    assert settled.look_again_after is not None
    assert settled.look_again_after <= HELD_FOR


def test_a_deleted_cgu_does_not_wait_for_a_long_pause() -> None:
    waited = replace(LATER, age=TRIED_AFTER)
    assert decide(deleted(succeeded(waited))).moves


@pytest.mark.parametrize("ago", [HELD_FOR, dt.timedelta(days=1), -dt.timedelta(days=1)])
def test_it_does_not_stay_for_long_and_takes_the_question_along(ago: dt.timedelta) -> None:
    decision = decide(deleted(succeeded(DUE), ago))
    assert decision.drop_finalizer
    assert [(m.cluster, m.effects) for m in decision.moves] == [(A, (Effect.WITHDRAW,))]


def test_it_does_not_stay_for_a_cluster_that_is_away_or_for_one_that_has_refused_nothing() -> None:
    away = {A: Cluster(A, available=False, since=NOW), B: Cluster(B)}
    assert decide(deleted(succeeded(DUE, clusters=away))).drop_finalizer
    assert decide(deleted(succeeded(Removal(Standing.REQUESTED)))).drop_finalizer


def test_what_is_done_frees_the_cgu_in_the_same_pass() -> None:
    decision = decide(deleted(succeeded(Removal(Standing.DONE))))
    assert decision.drop_finalizer
    assert decision.moves == (Move(A, Phase.SUCCEEDED, (Effect.FINISH_REMOVAL,)),)
