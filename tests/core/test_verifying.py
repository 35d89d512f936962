"""Before an update starts: who is asked whether everything is still cached, once, and what waits for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import CguStatus, PrecachingStatus
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.deadlines import stored_clocks
from talm.core.decide import decide
from talm.core.model import Blocker, Cluster, Move, Outcomes, Rules, Snapshot, SpecSources
from talm.core.precache_spec import spec_hash
from talm.core.renewal import has_begun
from talm.core.settle import settle
from talm.core.story import Rollout
from tests.core.given import (
    CNFDB,
    NOW,
    SPEC,
    both,
    cgu,
    condition,
    conditions,
    later,
    one_pass,
    snapshot,
    status,
    stored,
)

ONE, TWO = CNFDB
RULES: Final = Rules(verify_after=dt.timedelta(hours=24))
BACK: Final = tuple(Move(cluster, Phase.NOT_STARTED) for cluster in CNFDB)


def cached(at: dt.datetime = NOW, **more: str) -> CacheRecord:
    fields = {
        "spec_hash": spec_hash(SPEC),
        "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "result": "Succeeded",
    }
    return CacheRecord(**(fields | more))


def both_cached(at: dt.datetime = NOW) -> dict[str, CacheRecord]:
    return dict.fromkeys(CNFDB, cached(at))


def at_the_window(
    phases: Mapping[str, Phase] | None = None,
    records: Mapping[str, CacheRecord] | None = None,
    *,
    asked: dt.datetime | None = None,
    enable: bool = True,
    **more: Any,
) -> Snapshot:
    """Enabled, and everybody is pre-cached."""
    before = status(phases or both(Phase.SUCCEEDED))
    assert before.precaching is not None
    before = changed(before, precaching=changed(before.precaching, verifying_since=asked))
    known = both_cached() if records is None else records
    of = cgu(before, enable=enable)
    given: dict[str, Any] = {"rules": RULES, "records": known, **more}
    return snapshot(of, **given)


def block(after: CguStatus) -> PrecachingStatus:
    assert after.precaching is not None
    return after.precaching


def begins(seen: Snapshot) -> bool:
    return decide(seen).rollout is not None


def test_fresh_caches_are_believed_and_the_update_starts() -> None:
    seen = at_the_window(now=later(minutes=60 * 24))
    assert begins(seen)
    after = one_pass(seen).status
    assert after.status is not None
    assert after.status.started_at == seen.now
    assert block(after).verifying_since is None


def test_caches_that_are_too_old_go_back_to_the_start_and_the_update_waits() -> None:
    seen = at_the_window(now=later(minutes=60 * 25))
    decision = decide(seen)
    assert decision.moves == BACK
    assert decision.rollout is None
    settled = one_pass(seen)
    assert block(settled.status).status == dict.fromkeys(CNFDB, "NotStarted")
    assert block(settled.status).verifying_since == seen.now
    told = conditions(settled.status)
    assert told["PrecachingSuceeded"] == (
        "False", "InProgress", "Precaching in progress for 2 clusters",
    )  # fmt: skip
    assert told["PrecachingDone"][0] == "False"
    assert [event.reason for event in settled.events] == ["CguVerifyingCache"]
    assert "2 clusters are asked whether everything is still cached" in settled.events[0].note


def test_users_are_told_of_each_cluster_why_it_is_asked() -> None:
    seen = at_the_window(records={ONE: cached()}, now=later(minutes=60 * 25))
    entries = {
        e.cluster: (e.reason, e.message) for e in block(one_pass(seen).status).failures or ()
    }
    asked = "asked whether everything is still cached before the update starts"
    assert entries == {
        ONE: ("VerifyingCache", f"{asked}: it was at 2022-01-27T19:00:00Z"),
        TWO: ("VerifyingCache", f"{asked}: no record on the hub says that it was"),
    }


@pytest.mark.parametrize(
    "record",
    [
        None,
        cached(spec_hash="another"),
        cached(result="UnrecoverableError"),
        CacheRecord(spec_hash=spec_hash(SPEC), at="???", result="Succeeded"),
    ],
    ids=["missing", "of another hash", "bad", "unreadable"],
)
def test_only_who_is_unverified_is_asked(record: CacheRecord | None) -> None:
    records = both_cached() | ({TWO: record} if record is not None else {})
    if record is None:
        del records[TWO]
    assert decide(at_the_window(records=records)).moves == BACK[1:]


def test_the_record_of_another_cgu_counts() -> None:
    theirs = cached(run="another-run", cgu="ztp/another")
    assert begins(at_the_window(records=dict.fromkeys(CNFDB, theirs)))


@pytest.mark.parametrize(
    "more",
    [
        {"enable": False},
        {"blockers": (Blocker("first", exists=False),)},
        {"blockers": (Blocker("first", exists=True),)},
        {"rules": Rules()},
    ],
    ids=["not enabled", "missing blocker", "open blocker", "switched off"],
)
def test_nobody_is_asked_while_a_gate_is_closed_or_where_it_is_switched_off(
    more: dict[str, Any],
) -> None:
    seen = at_the_window(records={}, **more)
    assert decide(seen).moves == ()
    assert block(one_pass(seen).status).verifying_since is None


def test_without_pre_caching_nobody_is_ever_asked() -> None:
    seen = snapshot(cgu(enable=True, pre_caching=False), rules=RULES)
    decision = decide(seen)
    assert decision.moves == ()
    assert decision.rollout is not None


def test_nobody_is_asked_twice_for_one_start_however_old_the_records_are() -> None:
    seen = at_the_window(records={}, asked=NOW, now=later(minutes=60 * 100))
    assert begins(seen)
    assert block(one_pass(seen).status).verifying_since is None


def test_a_start_that_could_not_be_carried_out_asks_nobody_again() -> None:
    seen = at_the_window(records={}, asked=NOW, now=later(minutes=60 * 100))
    after = settle(seen, decide(seen), Outcomes(hub_failed="placements: 500")).status
    assert block(after).verifying_since == NOW
    assert after.status is None or after.status.started_at is None


def test_when_the_window_closes_again_the_next_start_asks_anew() -> None:
    seen = at_the_window(records={}, asked=NOW, enable=False)
    seen = stored(seen)
    assert block(seen.cgu.status).verifying_since is None
    reopened = replace(seen, cgu=changed(seen.cgu, spec=changed(seen.cgu.spec, enable=True)))
    assert decide(reopened).moves == BACK


def test_a_clusters_way_is_that_of_pre_caching_with_its_clock_and_the_update_waits() -> None:
    seen = stored(at_the_window(records={}))
    assert stored_clocks(seen.cgu.status).keys() == set(CNFDB)
    decision = decide(replace(seen, sights={}))
    assert [move.goto for move in decision.moves] == [Phase.PREPARING] * 2
    late = decide(replace(seen, now=later(minutes=31)))
    assert [move.goto for move in late.moves] == [Phase.FAILED] * 2


def test_one_that_cannot_be_verified_is_left_out_and_named_and_the_others_go_on() -> None:
    phases = {ONE: Phase.SUCCEEDED, TWO: Phase.NOT_STARTED}
    away = Cluster(TWO, available=False, since=NOW)
    seen = at_the_window(
        phases, asked=NOW, clusters={ONE: Cluster(ONE), TWO: away}, now=later(minutes=11)
    )
    assert not begins(seen)
    seen = stored(seen)
    entries = {e.cluster: e.reason for e in block(seen.cgu.status).failures or ()}
    assert entries == {TWO: "UnrecoverableError"}
    course = decide(seen).rollout
    assert course is not None
    assert course.course.plan == ((ONE,),)


def test_where_nobody_could_be_verified_the_cgu_ends() -> None:
    decision = decide(at_the_window(both(Phase.FAILED), asked=NOW))
    assert decision.gate is not None
    assert decision.gate.kind is Rollout.ALL_FAILED_PRECACHING


def test_a_specification_that_was_used_stays_while_all_are_asked() -> None:
    """What cannot be derived for a while must not hold an update whose window has opened."""
    seen = at_the_window(both(Phase.NOT_STARTED), asked=NOW)
    assert has_begun(seen)
    broken = replace(seen, sources=SpecSources(config_name="gone"))
    after = block(one_pass(broken).status)
    assert after.spec == SPEC
    assert after.status == dict.fromkeys(CNFDB, "PreparingToStart")


def test_a_hold_does_not_forget_that_clusters_are_asked() -> None:
    seen = at_the_window({ONE: Phase.STARTING, TWO: Phase.SUCCEEDED}, asked=NOW)
    held = replace(seen, clusters={ONE: Cluster(ONE)})
    assert block(one_pass(held).status).verifying_since == NOW


def test_the_end_that_somebody_else_wrote_ends_the_asking() -> None:
    seen = at_the_window({ONE: Phase.STARTING, TWO: Phase.SUCCEEDED}, asked=NOW)
    succeeded = ended_by_somebody(seen)
    assert block(one_pass(succeeded).status).verifying_since is None


def ended_by_somebody(seen: Snapshot) -> Snapshot:
    ended = changed(seen.cgu.status, conditions=(condition("Succeeded", "True"),))
    return replace(seen, cgu=changed(seen.cgu, status=ended))
