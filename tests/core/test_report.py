"""Why clusters failed or wait, and the events of the step from one status to the next."""

from __future__ import annotations

from typing import Any, Final

import pytest

from talm.api.cgu import CguStatus, PrecachingFailure, UpgradeStatus
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.model import Cluster, Effect, EventNote, Move, Snapshot
from talm.core.report import events, failures

from .given import NOW, both, cgu, condition, later, snapshot, status

P: Final = Phase
DOWN: Final = Cluster("cnfdb1", available=False, since=NOW)


def told(
    seen: Snapshot, phases: dict[str, Phase], *moves: Move, failed: dict[str, str] | None = None,
    complaints: dict[str, str] | None = None,
) -> list[tuple[str, str, str]]:  # fmt: skip
    found = failures(seen, phases, moves, failed or {}, complaints or {})
    return [(f.cluster, f.reason, f.message) for f in found]


def remembering(*entries: PrecachingFailure) -> Snapshot:
    """A later pass over a CGU whose status has these entries."""
    before = status(both(P.ACTIVE))
    assert before.precaching is not None
    before = changed(before, precaching=changed(before.precaching, failures=entries))
    return snapshot(cgu(before), now=later(minutes=5))


# --- failures ---


def test_a_cluster_that_gets_on_has_no_entry() -> None:
    assert told(snapshot(), {"cnfdb1": P.ACTIVE, "cnfdb2": P.SUCCEEDED}) == []


def test_a_bad_end_is_told_with_its_reason() -> None:
    move = Move("cnfdb1", P.FAILED, (Effect.WITHDRAW,), "no space left")
    assert told(snapshot(), {"cnfdb1": P.FAILED, "cnfdb2": P.ACTIVE}, move) == [
        ("cnfdb1", "UnrecoverableError", "no space left")
    ]


def test_the_reason_of_a_bad_end_stays() -> None:
    known = PrecachingFailure(
        cluster="cnfdb1", reason="PrecacheTimeout", message="too late", since=NOW
    )
    (entry,) = failures(remembering(known), {"cnfdb1": P.TIMED_OUT}, (), {}, {})
    assert entry == known


def test_the_reason_for_which_it_waited_before_is_not_taken_for_that_of_its_end() -> None:
    waited = PrecachingFailure(cluster="cnfdb1", reason="RequestFailed", message="500", since=NOW)
    (entry,) = failures(remembering(waited), {"cnfdb1": P.FAILED}, (), {}, {})
    assert (entry.reason, entry.message, entry.since) == (
        "UnrecoverableError",
        "",
        later(minutes=5),
    )


def test_an_end_that_could_not_be_carried_out_is_told_as_what_failed() -> None:
    move = Move("cnfdb1", P.FAILED, (Effect.WITHDRAW,), "no space left")
    assert told(snapshot(), {"cnfdb1": P.ACTIVE}, move, failed={"cnfdb1": "PATCH: 500"}) == [
        ("cnfdb1", "RequestFailed", "PATCH: 500")
    ]


def test_a_cluster_of_another_cgu_says_whom_it_waits_for() -> None:
    seen = snapshot(owners={"cnfdb1": "ztp/older"}, clusters={"cnfdb1": DOWN})
    assert told(seen, {"cnfdb1": P.NOT_STARTED}, failed={"cnfdb1": "500"}) == [
        ("cnfdb1", "WaitingForOtherCGU", "waiting for ztp/older")
    ]


def test_an_unavailable_cluster_is_named_and_since_when() -> None:
    seen = snapshot(clusters={"cnfdb1": DOWN})
    assert told(seen, {"cnfdb1": P.STARTING}, failed={"cnfdb1": "500"}) == [
        ("cnfdb1", "ClusterUnavailable", "unavailable since 2022-01-27T19:00:00Z")
    ]


def test_an_outage_whose_beginning_is_unknown_and_a_cluster_that_is_gone_are_not_named() -> None:
    unsaid = snapshot(clusters={"cnfdb1": Cluster("cnfdb1", available=False)})
    assert told(unsaid, {"cnfdb1": P.STARTING}) == []
    assert told(snapshot(clusters={}), {"cnfdb1": P.STARTING}) == []


def test_a_fact_without_a_rule_is_told() -> None:
    assert told(snapshot(), {"cnfdb1": P.PREPARING}, complaints={"cnfdb1": "no rule"}) == [
        ("cnfdb1", "UnexpectedFact", "no rule")
    ]


def test_what_is_over_is_taken_back() -> None:
    waited = PrecachingFailure(cluster="cnfdb1", reason="RequestFailed", message="500", since=NOW)
    assert failures(remembering(waited), both(P.ACTIVE), (), {}, {}) == ()


def test_an_entry_keeps_its_time_while_its_reason_stays_though_its_text_changes() -> None:
    waited = PrecachingFailure(cluster="cnfdb1", reason="RequestFailed", message="500", since=NOW)
    seen = remembering(waited)
    (same,) = failures(seen, both(P.ACTIVE), (), {"cnfdb1": "503"}, {})
    assert (same.message, same.since) == ("503", NOW)
    (other,) = failures(seen, both(P.ACTIVE), (), {}, {"cnfdb1": "no rule"})
    assert other.since == later(minutes=5)


# --- events ---


def upgrade(**times: Any) -> CguStatus:
    return CguStatus(status=UpgradeStatus(**times))


STARTED: Final = upgrade(started_at=NOW)


def ended(kind: str, word: str, reason: str) -> CguStatus:
    over = upgrade(started_at=NOW, completed_at=later(minutes=5))
    return changed(over, conditions=(condition(kind, word, reason),))


def notes(before: CguStatus, after: CguStatus) -> list[tuple[str, str, str]]:
    found = events("du-upgrade-4918", before, after)
    assert all(e.warning is (e.reason == "CguTimedout") for e in found)
    return [(e.reason, e.action, e.note.removeprefix("ClusterGroupUpgrade ")) for e in found]


def test_nothing_happened_nothing_is_told() -> None:
    for same in (CguStatus(), STARTED, ended("Succeeded", "True", "Completed")):
        assert notes(same, same) == []


def test_the_start_of_the_remediation_is_an_event() -> None:
    assert events("du-upgrade-4918", CguStatus(), STARTED) == (
        EventNote(
            "CguStarted",
            "RemediationStarted",
            "ClusterGroupUpgrade du-upgrade-4918 started remediating policies",
        ),
    )


@pytest.mark.parametrize("kind", ["Succeeded", "Ready"])
def test_success_is_an_event_in_either_vocabulary(kind: str) -> None:
    assert notes(STARTED, ended(kind, "True", "Completed")) == [
        ("CguSuccess", "RemediationCompleted", "du-upgrade-4918 succeeded remediating policies")
    ]


@pytest.mark.parametrize(
    ("kind", "reason"), [("Succeeded", "TimedOut"), ("Ready", "UpgradeTimedOut")]
)
def test_a_timeout_is_a_warning_in_either_vocabulary(kind: str, reason: str) -> None:
    assert notes(STARTED, ended(kind, "False", reason)) == [
        ("CguTimedout", "RemediationTimeout", "du-upgrade-4918 timed-out remediating policies")
    ]


def test_an_end_of_another_kind_has_no_event_of_the_remediation() -> None:
    assert notes(STARTED, ended("Succeeded", "False", "Failed")) == []
    assert notes(STARTED, upgrade(started_at=NOW, completed_at=NOW)) == []
