"""A silent cluster is shown, keeps its time, and ends only once the CGU is enabled."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any, Final

import pytest

from talm.api.cgu import CguStatus
from talm.api.words import Phase
from talm.core.clock import Clock
from talm.core.deadlines import stored_clocks
from talm.core.decide import decide
from talm.core.due import Due, Voice
from talm.core.model import Cluster, Effect, Fact, Move, Outcomes, Sight, Snapshot
from talm.core.settle import settle
from talm.core.silence import Silence, read_since, silence, silence_turns

from .given import DONE, NOW, cgu, later, snapshot, status

SECOND: Final = dt.timedelta(seconds=1)
SPEAKS: Final = Cluster("cnfdb1", since=later(minutes=-60))
DOWN: Final = Cluster("cnfdb1", available=False, since=later(seconds=-30))


def due(seconds_ago: float = 90, within_s: float = 90, voice: Voice = Voice.WORKLOAD) -> Due:
    return Due(voice, later(seconds=-seconds_ago), dt.timedelta(seconds=within_s))


def seen(
    what: Due | None,
    *,
    phase: Phase = Phase.ACTIVE,
    fact: Fact = Fact.JOB_ACTIVE,
    cluster: Cluster = SPEAKS,
    wait: Clock | None = None,
    enable: bool = False,
    **more: Any,
) -> Snapshot:
    """A CGU with one cluster of which this is due."""
    waits = {"cnfdb1": wait} if wait is not None else None
    of = cgu(status({"cnfdb1": phase}, waits=waits), clusters=("cnfdb1",), enable=enable)
    sight = Sight(fact, due=what)
    return snapshot(of, facts={"cnfdb1": sight}, clusters={"cnfdb1": cluster}, **more)


def after(now: Snapshot) -> CguStatus:
    return settle(now, decide(now), DONE).status


def entry(now: Snapshot) -> tuple[str, str] | None:
    """Reason and message of the cluster's entry in `failures`."""
    found = after(now).precaching
    assert found is not None
    entries = found.failures or ()
    return (entries[0].reason, entries[0].message) if entries else None


def wait_of(now: Snapshot) -> Clock:
    return stored_clocks(after(now))["cnfdb1"]


# --- what is silent ---


def test_it_is_silent_when_what_was_due_has_not_come_in_time() -> None:
    assert silence(seen(due(89)), "cnfdb1") is None
    assert silence(seen(due(90)), "cnfdb1") == Silence(Voice.WORKLOAD, later(seconds=-90), NOW)


def test_where_nothing_is_due_nobody_is_silent() -> None:
    assert silence(seen(None), "cnfdb1") is None


def test_a_cluster_that_the_hub_calls_unavailable_is_named_as_that_and_one_that_is_gone_not_at_all() -> (
    None
):
    assert silence(seen(due(), cluster=DOWN), "cnfdb1") is None
    assert entry(seen(due(), cluster=DOWN)) == (
        "ClusterUnavailable",
        "unavailable since 2022-01-27T18:59:30Z",
    )
    assert silence(seen(due()), "cnfdb9") is None


def test_time_in_which_nobody_watched_is_no_silence() -> None:
    restarted = later(seconds=-89)
    now = seen(due(1000), watched_since=restarted)
    assert silence(now, "cnfdb1") is None
    assert silence_turns(now, "cnfdb1", enabled=False) == later(seconds=1)
    a_second_later = replace(now, now=later(seconds=1))
    assert silence(a_second_later, "cnfdb1") == Silence(Voice.WORKLOAD, restarted, later(seconds=1))


def test_a_cluster_that_is_back_has_its_time_to_speak_whatever_its_clock_says() -> None:
    back = Cluster("cnfdb1", since=later(minutes=-60), heard=later(seconds=-89))
    assert silence(seen(due(1000), cluster=back), "cnfdb1") is None
    assert silence(seen(due(1000), cluster=SPEAKS), "cnfdb1") is not None


# --- what is said of it ---


@pytest.mark.parametrize("voice", Voice)
def test_the_status_says_since_when_and_who(voice: Voice) -> None:
    assert entry(seen(due(voice=voice))) == (
        "ClusterSilent",
        f"silent since 2022-01-27T18:58:30Z: {voice.value}",
    )
    assert entry(seen(due(10, voice=voice))) is None


def test_a_request_that_the_hub_itself_refuses_is_told_first() -> None:
    now = seen(due(), phase=Phase.STARTING, fact=Fact.STALE)
    found = settle(now, decide(now), Outcomes({"cnfdb1": "PATCH: 403"})).status.precaching
    assert found is not None
    assert [e.reason for e in found.failures or ()] == ["RequestFailed"]


def test_what_is_said_can_be_read_back() -> None:
    assert read_since(Silence(Voice.ADD_ON, NOW, NOW).message) == NOW
    assert read_since("silent since yesterday: x") is None
    assert read_since("unavailable since 2022-01-27T18:58:30Z") is None


# --- what follows from it ---


def test_the_clock_of_a_silent_cluster_stands_still_from_its_last_word_on() -> None:
    wait = Clock(spent=10, since=later(seconds=-120))
    assert wait_of(seen(due(90), wait=wait)) == Clock(spent=40)
    assert wait_of(seen(due(10), wait=wait)) == wait


def test_the_clock_goes_on_when_it_is_heard_again() -> None:
    assert wait_of(seen(due(0), wait=Clock(spent=40))) == Clock(spent=40, since=NOW)


@pytest.mark.parametrize(
    ("phase", "fact"),
    [(Phase.PREPARING, Fact.UNANSWERED), (Phase.STARTING, Fact.SETTING_UP), (Phase.ACTIVE, Fact.JOB_ACTIVE)],
)  # fmt: skip
def test_a_cluster_is_never_failed_by_its_deadline_while_it_is_silent(
    phase: Phase, fact: Fact
) -> None:
    long = Clock(since=later(minutes=-1000))
    quiet = seen(due(61_000), phase=phase, fact=fact, wait=long)
    assert decide(quiet).moves == ()
    heard = seen(due(0), phase=phase, fact=fact, wait=long)
    assert [move.goto for move in decide(heard).moves] in ([Phase.FAILED], [Phase.TIMED_OUT])


def test_once_enabled_a_silence_longer_than_the_grace_ends_it() -> None:
    (move,) = decide(seen(due(601), enable=True)).moves
    why = "the cluster has been silent since 2022-01-27T18:49:59Z: its workload tells nothing new"
    assert move == Move("cnfdb1", Phase.FAILED, (Effect.WITHDRAW,), why)
    assert decide(seen(due(600), enable=True)).moves == ()
    assert decide(seen(due(6000))).moves == ()


def test_the_grace_of_a_long_interval_does_not_end_before_the_silence_begins() -> None:
    assert decide(seen(due(650, within_s=690), enable=True)).moves == ()
    assert len(decide(seen(due(690, within_s=690), enable=True)).moves) == 1


def test_an_end_that_was_told_counts_though_nothing_was_heard_since() -> None:
    told = seen(due(6000, voice=Voice.ADD_ON), fact=Fact.JOB_SUCCEEDED, enable=True)
    assert [move.goto for move in decide(told).moves] == [Phase.SUCCEEDED]


def test_it_is_looked_at_again_when_the_silence_begins_and_when_the_grace_is_over() -> None:
    begins = decide(seen(due(60), wait=Clock(since=NOW)))
    assert begins.fleet.look_again_after == 30 * SECOND + SECOND
    ends = decide(seen(due(90), enable=True, wait=Clock(spent=1)))
    assert ends.fleet.look_again_after == 510 * SECOND + SECOND
    waits = decide(seen(due(90), wait=Clock(spent=1)))
    assert waits.fleet.look_again_after is None


def test_another_cgus_cluster_is_not_ended_by_its_silence() -> None:
    others = seen(due(6000), enable=True, owners={"cnfdb1": "ztp/older"})
    assert [move.goto for move in decide(others).moves] == [Phase.NOT_STARTED]
