"""Before a batch of a running update begins: who is asked whether all is still cached, and what waits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from talm.api.cacherecord import CacheRecord
from talm.api.cgu import (
    CguStatus,
    OtherSpecification,
    PolicyRef,
    PrecachingSpec,
    PrecachingStatus,
    UpgradeStatus,
)
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core import advice
from talm.core.decide import Decision, Stage, decide
from talm.core.explain import Situation, explain_cgu
from talm.core.explain_cluster import explain_cluster
from talm.core.model import Cluster, Effect, Fact, Move, Outcomes, Rules, Sight, Snapshot
from talm.core.precache_spec import spec_hash
from talm.core.settle import settle
from talm.core.specifications import stored_specifications
from talm.core.story import Rollout
from tests.core.given import (
    NOW,
    POLICY,
    SPEC,
    cgu,
    condition,
    conditions,
    later,
    one_pass,
    policy,
    precaching,
    snapshot,
    stored,
)

CLUSTERS: Final = ("a", "b", "c", "d")
PLAN: Final = (("a",), ("b", "c"), ("d",))
REF: Final = PolicyRef(name=POLICY, namespace="ztp-group")
RULES: Final = Rules(verify_after=dt.timedelta(hours=1))
WAITS: Final = "Remediating non-compliant policies: waiting for"
VERIFY: Final = "to verify that everything is still cached"


def cached(at: dt.datetime, spec: PrecachingSpec = SPEC) -> CacheRecord:
    return CacheRecord(spec_hash=spec_hash(spec), at=f"{at:%Y-%m-%dT%H:%M:%SZ}", result="Succeeded")


def updating(
    phases: Mapping[str, Phase] | None = None,
    *,
    compliant: str = "a",
    plan: tuple[tuple[str, ...], ...] = PLAN,
    batch: int = 1,
    began: dt.datetime | None = NOW,
    asked: dt.datetime | None = None,
    strategy: Mapping[str, Any] | None = None,
    minutes: float = 120,
    pre_caching: bool = True,
    **more: Any,
) -> Snapshot:
    """An update of three batches, two hours after it began; all was cached when it did."""
    block = precaching(dict.fromkeys(CLUSTERS, Phase.SUCCEEDED) | dict(phases or {}))
    before = CguStatus(
        remediation_plan=plan,
        managed_policies_for_upgrade=(REF,),
        precaching=changed(block, verifying_since=asked, attempt=1),
        status=UpgradeStatus(started_at=NOW, current_batch=batch, current_batch_started_at=began),
        conditions=(
            condition("PrecachingDone", "True", "PrecachingCompleted", "Precaching is completed"),
            condition("PrecachingSuceeded", "True", "PrecachingCompleted", "all"),
        ),
    )
    of = cgu(
        before,
        enable=True,
        pre_caching=pre_caching,
        clusters=CLUSTERS,
        strategy={"max_concurrency": 2, "timeout": 600} | dict(strategy or {}),
    )
    given: dict[str, Any] = {
        "now": later(minutes=minutes),
        "rules": RULES,
        "records": {c: cached(NOW) for c in CLUSTERS},
        "clusters": {c: Cluster(c) for c in CLUSTERS},
        "policies": (policy(compliant=compliant.split(), clusters=CLUSTERS),),
        **more,
    }
    return snapshot(of, **given)


def waiting(phases: Mapping[str, Phase], **more: Any) -> Snapshot:
    """The second batch was asked when its turn came, two hours after the update began."""
    given = {"batch": 2, "began": None, "asked": later(minutes=120), "minutes": 125} | more
    return updating(phases, **given)


def enforced(decision: Decision) -> set[str]:
    assert decision.placements is not None
    return {cluster for wanted in decision.placements for cluster in wanted.clusters}


def block(after: CguStatus) -> PrecachingStatus:
    assert after.precaching is not None
    return after.precaching


def upgrade(after: CguStatus) -> UpgradeStatus:
    assert after.status is not None
    return after.status


# --- its turn has come ---


def test_a_batch_whose_records_are_new_enough_begins_at_once() -> None:
    seen = updating(minutes=59)
    settled = one_pass(seen)
    assert decide(seen).moves == ()
    assert upgrade(settled.status).current_batch == 2
    assert upgrade(settled.status).current_batch_started_at == seen.now
    assert block(settled.status) == block(seen.cgu.status)


def test_a_batch_whose_records_are_too_old_is_asked_and_nobody_of_it_is_enforced() -> None:
    seen = updating(records={c: cached(NOW) for c in CLUSTERS} | {"c": cached(later(minutes=70))})
    decision = decide(seen)
    assert decision.stage is Stage.REMEDIATING
    assert decision.moves == (Move("b", Phase.NOT_STARTED),)
    assert enforced(decision) == set()
    after = one_pass(seen).status
    assert upgrade(after).current_batch == 2
    assert upgrade(after).current_batch_started_at is None
    assert block(after).verifying_since == seen.now
    assert (block(after).status or {})["b"] == "NotStarted"
    assert block(after).attempt == 2


def test_conditions_say_whom_the_batch_waits_for_and_that_pre_caching_is_done_still() -> None:
    seen = updating()
    settled = one_pass(seen)
    told, before = conditions(settled.status), conditions(seen.cgu.status)
    assert told["Progressing"] == (
        "True",
        "InProgress",
        f"{WAITS} 2 clusters of batch 2 of 3 {VERIFY}: b, c",
    )
    assert told["Ready"][:2] == ("False", "UpgradeNotCompleted")
    for kind in ("PrecachingDone", "PrecachingSuceeded"):
        assert told[kind] == before[kind]
    entries = {e.cluster: (e.reason, e.message) for e in block(settled.status).failures or ()}
    asked = "asked whether everything is still cached before its batch starts"
    assert entries == dict.fromkeys(
        ("b", "c"), ("VerifyingCache", f"{asked}: it was at 2022-01-27T19:00:00Z")
    )
    assert [event.reason for event in settled.events] == ["CguVerifyingCache"]
    assert "before batch 2 of 3 starts, 2 clusters are asked" in settled.events[0].note


def test_of_many_clusters_five_are_named() -> None:
    names = tuple("bcefghi")
    seen = updating(
        dict.fromkeys(names, Phase.SUCCEEDED),
        plan=(("a",), names),
        records={},
        clusters={c: Cluster(c) for c in ("a", *names)},
    )
    text = conditions(one_pass(seen).status)["Progressing"][2]
    assert text.endswith(f"{WAITS} 7 clusters of batch 2 of 2 {VERIFY}: b, c, e, f, g and 2 more")


@pytest.mark.parametrize(
    "more",
    [{"rules": Rules()}, {"pre_caching": False}],
    ids=["switched off", "without pre-caching"],
)
def test_nobody_is_asked_where_it_is_switched_off_or_nothing_is_pre_cached(
    more: dict[str, Any],
) -> None:
    seen = updating(records={}, **more)
    assert decide(seen).moves == ()
    assert upgrade(one_pass(seen).status).current_batch_started_at == seen.now


def test_a_turn_that_could_not_be_stored_on_the_hub_comes_again() -> None:
    seen = updating()
    after = settle(seen, decide(seen), Outcomes(hub_failed="placements: 500")).status
    assert after == seen.cgu.status


def test_the_first_batch_is_not_asked_again_once_the_update_has_started() -> None:
    seen = updating(compliant="", records={})
    assert decide(seen).moves == ()
    assert enforced(decide(seen)) == {"a"}


# --- while they are asked ---


def test_they_go_the_way_of_pre_caching_with_its_clock() -> None:
    seen = stored(updating())
    assert [w.clusters for w in block(seen.cgu.status).waits or ()] == [("b", "c")]
    moves = decide(seen).moves
    assert [(m.cluster, m.goto, m.effects) for m in moves] == [
        (c, Phase.PREPARING, (Effect.CLEAN_UP,)) for c in ("b", "c")
    ]
    assert enforced(decide(seen)) == set()


def test_one_whose_request_fails_stays_and_the_others_go_on() -> None:
    seen = waiting({"b": Phase.NOT_STARTED, "c": Phase.NOT_STARTED})
    after = one_pass(seen, Outcomes({"b": "500"})).status
    assert {c: (block(after).status or {})[c] for c in ("b", "c")} == {
        "b": "NotStarted",
        "c": "PreparingToStart",
    }


def test_when_all_are_verified_the_batch_begins_and_only_now_its_clock() -> None:
    seen = waiting({"b": Phase.SUCCEEDED, "c": Phase.SUCCEEDED}, records={})
    decision = decide(seen)
    assert enforced(decision) == {"b", "c"}
    after = one_pass(seen).status
    assert upgrade(after).current_batch_started_at == seen.now
    assert block(after).verifying_since is None
    assert block(after).waits is None
    assert decide(stored(seen)).moves == ()
    assert conditions(after)["Progressing"][2] == "Remediating non-compliant policies"
    assert [e.reason for e in one_pass(seen).events] == []


def test_the_last_answer_says_nothing_new_of_pre_caching_as_a_whole() -> None:
    done = {"b": Sight(Fact.JOB_SUCCEEDED)}
    settled = one_pass(waiting({"b": Phase.ACTIVE}, sights=done))
    assert (block(settled.status).status or {})["b"] == "Succeeded"
    assert settled.events == ()


def test_who_cannot_be_verified_is_left_out_and_named_and_the_others_are_updated() -> None:
    failed = {"b": Sight(Fact.JOB_FAILED, "BackoffLimitExceeded")}
    seen = waiting({"b": Phase.ACTIVE, "c": Phase.SUCCEEDED}, sights=failed)
    first = one_pass(seen)
    assert [e.reason for e in first.events] == ["CguPrecachingClusterFailed"]
    told = conditions(first.status)
    text = "Precaching failed for 1 clusters"
    assert told["PrecachingSuceeded"] == ("True", "PartiallyDone", text)
    assert told["PrecachingDone"][0] == "True"
    seen = stored(seen)
    assert enforced(decide(seen)) == {"c"}
    after = one_pass(seen).status
    assert after.remediation_plan == (("a",), ("c",), ("d",))
    assert after.clusters is None
    entries = {e.cluster: e.reason for e in block(after).failures or ()}
    assert entries == {"b": "UnrecoverableError"}


def test_where_nobody_of_a_batch_could_be_verified_the_next_ones_turn_comes() -> None:
    seen = waiting({"b": Phase.FAILED, "c": Phase.TIMED_OUT}, minutes=300)
    decision = decide(seen)
    assert decision.moves == (Move("d", Phase.NOT_STARTED),)
    after = one_pass(seen).status
    assert after.remediation_plan == (("a",), (), ("d",))
    assert upgrade(after).current_batch == 3
    assert block(after).verifying_since == seen.now


def test_where_nobody_of_the_last_batch_could_be_verified_the_update_is_complete() -> None:
    seen = waiting({"d": Phase.FAILED}, batch=3, compliant="a b c")
    decision = decide(seen)
    assert decision.gate is not None
    assert decision.gate.kind is Rollout.COMPLETED


def test_a_canary_that_was_left_out_leaves_the_next_one_a_canary() -> None:
    strategy = {"canaries": ("a", "b", "c")}
    plan = (("a",), ("b",), ("c",), ("d",))
    seen = waiting(
        {"b": Phase.FAILED},
        plan=plan,
        strategy=strategy,
        records={c: cached(later(minutes=100)) for c in CLUSTERS},
    )
    seen = stored(seen)
    assert upgrade(seen.cgu.status).current_batch == 3
    late = replace(seen, now=later(minutes=599))
    decision = decide(late)
    assert decision.gate is not None
    assert (decision.gate.kind, decision.gate.text) == (Rollout.TIMED_OUT, " on canary clusters")


def test_an_unavailable_cluster_is_left_out_after_the_grace_even_if_enable_was_taken_back() -> None:
    away = Cluster("b", available=False, since=later(minutes=114))
    seen = waiting({"b": Phase.NOT_STARTED}, clusters={"b": away, "c": Cluster("c")})
    seen = replace(seen, cgu=changed(seen.cgu, spec=changed(seen.cgu.spec, enable=False)))
    assert [(m.cluster, m.goto) for m in decide(seen).moves] == [("b", Phase.FAILED)]


def test_nobody_is_asked_twice_for_one_batch_however_old_the_records_are() -> None:
    seen = waiting({}, records={}, minutes=500)
    assert decide(seen).moves == ()
    assert enforced(decide(seen)) == {"b", "c"}


def test_an_operator_that_finds_no_marker_follows_those_that_are_open() -> None:
    """An older CRD has dropped it, and the operator was restarted."""
    seen = waiting({"b": Phase.ACTIVE}, asked=None, sights={"b": Sight(Fact.JOB_ACTIVE)})
    assert decide(seen).moves == ()
    after = one_pass(seen).status
    assert block(after).verifying_since == seen.now
    assert upgrade(after).current_batch_started_at is None
    fresh = {c: cached(later(minutes=124)) for c in ("b", "c")}
    answered = waiting({}, asked=None, records=fresh)
    assert enforced(decide(answered)) == {"b", "c"}


def test_each_cluster_is_asked_for_what_it_had_begun_with() -> None:
    other = PrecachingSpec(platform_image="registry.example.io/release@sha256:2")
    own = OtherSpecification(hash=spec_hash(other), spec=other, clusters=1, begun=("b",))
    seen = updating(records={c: cached(later(minutes=110)) for c in CLUSTERS})
    whole = changed(block(seen.cgu.status), specs=(own,))
    seen = replace(seen, cgu=changed(seen.cgu, status=changed(seen.cgu.status, precaching=whole)))
    assert decide(seen).moves == (Move("b", Phase.NOT_STARTED),)
    after = stored(seen)
    assert block(after.cgu.status).specs == (own,)
    specs = stored_specifications(after.cgu.status)
    assert specs is not None
    assert specs.of_cluster("b") == other
    assert specs.of_cluster("c") == SPEC


def test_when_pre_caching_is_called_off_what_was_begun_is_taken_away_and_the_batch_begins() -> None:
    seen = waiting({"b": Phase.ACTIVE}, pre_caching=False, sights={"b": Sight(Fact.JOB_ACTIVE)})
    assert [(m.cluster, m.goto, m.effects) for m in decide(seen).moves] == [
        ("b", None, (Effect.REMOVE,))
    ]
    seen = stored(seen)
    assert "b" not in (block(seen.cgu.status).status or {})
    assert enforced(decide(seen)) == {"b", "c"}


# --- time ---


def test_a_batch_waits_no_longer_than_half_of_its_share_of_the_time() -> None:
    """480 of 600 minutes are left for two batches."""
    at_work = {"b": Sight(Fact.JOB_ACTIVE)}
    seen = waiting({"b": Phase.ACTIVE}, sights=at_work, minutes=239)
    assert decide(seen).moves == ()
    look = one_pass(seen).look_again_after
    assert look is not None
    assert look <= dt.timedelta(minutes=1, seconds=1)
    late = replace(seen, now=later(minutes=240))
    (move,) = decide(late).moves
    assert (move.cluster, move.goto, move.effects) == ("b", Phase.TIMED_OUT, (Effect.WITHDRAW,))
    assert move.why == "not verified within 120 min, for which its batch has waited"
    theirs = replace(late, owners={"b": "ztp/older"})
    assert [m.effects for m in decide(theirs).moves] == [()]


def test_whoever_answers_in_the_last_moment_is_verified() -> None:
    done = {"b": Sight(Fact.JOB_SUCCEEDED), "c": Sight(Fact.JOB_ACTIVE)}
    phases = {"b": Phase.ACTIVE, "c": Phase.ACTIVE}
    moves = decide(waiting(phases, sights=done, minutes=240)).moves
    assert {m.cluster: m.goto for m in moves} == {"b": Phase.SUCCEEDED, "c": Phase.TIMED_OUT}


def test_many_small_batches_do_not_shorten_what_a_setup_may_take() -> None:
    plan = (("a",), ("b",), *((f"x{i}",) for i in range(98)))
    seen = waiting({"b": Phase.STARTING}, plan=plan, minutes=149)
    assert [m.goto for m in decide(seen).moves] == [Phase.STARTING]
    (move,) = decide(replace(seen, now=later(minutes=150))).moves
    assert move.goto is Phase.TIMED_OUT


def test_the_time_of_the_whole_update_goes_on_and_those_asked_are_named_at_its_end() -> None:
    seen = waiting({"b": Phase.ACTIVE}, sights={"b": Sight(Fact.JOB_ACTIVE)}, minutes=600)
    decision = decide(seen)
    assert decision.gate is not None
    assert decision.gate.kind is Rollout.TIMED_OUT
    settled = one_pass(seen)
    after = block(settled.status)
    assert (after.status or {})["b"] == "PrecacheTimeout"
    (entry,) = after.failures or ()
    assert entry.message == "the time of the update was up before it was verified"
    assert (after.verifying_since, after.waits) == (None, None)
    assert settled.status.clusters is None
    assert upgrade(settled.status).completed_at == seen.now
    assert conditions(settled.status)["Succeeded"][:2] == ("False", "TimedOut")


def test_deletion_takes_away_what_was_begun() -> None:
    seen = waiting({"b": Phase.ACTIVE}, sights={"b": Sight(Fact.JOB_ACTIVE)})
    meta = changed(seen.cgu.metadata, deletion_timestamp=NOW)
    decision = decide(replace(seen, cgu=changed(seen.cgu, metadata=meta)))
    assert [(m.cluster, m.effects) for m in decision.moves] == [("b", (Effect.REMOVE,))]


# --- explained ---


def test_a_batch_that_waits_says_for_whom_since_when_and_until_when() -> None:
    seen = waiting({"b": Phase.ACTIVE, "c": Phase.NOT_STARTED})
    told = explain_cgu(seen)
    assert told.situation is Situation.UPDATING
    assert told.why.waits_for == f"2 clusters of batch 2 of 3 {VERIFY}: b, c"
    assert (told.why.since, told.why.until) == (later(minutes=120), later(minutes=240))
    assert told.why.then == "those that have not answered are left out of the update"
    assert told.why.do.startswith(advice.VERIFYING.partition("talm")[0])
    last = explain_cgu(waiting({"d": Phase.ACTIVE}, batch=3, asked=later(minutes=580)))
    assert (last.why.until, last.why.then) == (later(minutes=600), "the update times out")


def test_a_cluster_that_is_asked_before_its_batch_says_how_far_it_is_and_since_when_it_was_cached() -> (
    None
):
    seen = stored(updating())
    told = explain_cluster(seen, "b")
    assert told.waits_for == "the operator to begin with this cluster"
    assert told.seen == (
        "asked whether everything is still cached before its batch starts: it was at 2022-01-27T19:00:00Z"
    )
    assert told.then == "it fails as UnrecoverableError"
    verified = explain_cluster(waiting({"c": Phase.ACTIVE}), "b")
    assert verified.waits_for == f"1 cluster of batch 2 of 3 {VERIFY}: c"
