"""What has become of it: a move counts only if it was made, and nothing is written in vain."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from talm.api.cgu import (
    Actions,
    AfterCompletion,
    CguStatus,
    ClusterState,
    NamespacedName,
    PolicyRef,
    PrecachingProgress,
    PrecachingSpec,
    PrecachingStatus,
    UpgradeStatus,
    Wait,
)
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.clock import Clock
from talm.core.decide import decide
from talm.core.model import (
    Blocker,
    Cluster,
    Fact,
    Json,
    Outcomes,
    Rules,
    Sight,
    Snapshot,
    SpecSources,
    Vocabulary,
)
from talm.core.placements import name_suffix
from talm.core.precache_spec import spec_hash
from talm.core.settle import settle

from .given import (
    CNFDB,
    META,
    NOW,
    POLICY,
    SPEC,
    both,
    cgu,
    condition,
    conditions,
    later,
    one_pass,
    policy,
    snapshot,
    status,
    stored,
)

P, F = Phase, Fact
REF: Final = PolicyRef(name=POLICY, namespace="ztp-group")
FAILED_HUB: Final = Outcomes(hub_failed="PATCH placements: 500")


def phases(after: CguStatus) -> dict[str, str]:
    return dict((after.precaching.status or {}) if after.precaching else {})


def in_progress(*, enable: bool = True, minutes: float = 0) -> Snapshot:
    """A remediation that was begun without pre-caching, looked at again after `minutes`."""
    return stored(snapshot(cgu(pre_caching=False, enable=enable)), now=later(minutes=minutes))


# --- the walk-through's status ---


def test_the_first_pass_stores_the_plan_the_specification_and_every_cluster_as_not_started() -> (
    None
):
    after = one_pass(snapshot()).status
    assert after.precaching == PrecachingStatus(
        spec=SPEC,
        status={"cnfdb1": "NotStarted", "cnfdb2": "NotStarted"},
        clusters=CNFDB,
        waits=(Wait(since=NOW, clusters=CNFDB),),
        spec_hash=spec_hash(SPEC),
        attempt=1,
        progress=PrecachingProgress(clusters={"NotStarted": 2}, without_estimate=2, updated_at=NOW),
    )
    assert after.remediation_plan == (CNFDB,)
    assert after.managed_policies_for_upgrade == (REF,)
    assert after.managed_policies_ns == {POLICY: "ztp-group"}
    assert after.computed_max_concurrency == 2
    name = f"du-upgrade-4918-{POLICY}-placement"
    safe = f"{name}-{name_suffix(META)}"
    assert after.placements == after.placement_bindings == (safe,)
    assert after.safe_resource_names == {f"ztp-group/{name}": safe}


def test_status_status_is_always_there_empty_before_the_start() -> None:
    assert one_pass(snapshot()).status.status == UpgradeStatus()
    assert one_pass(snapshot(policies=())).status.status == UpgradeStatus()


def test_each_state_is_stored_before_the_next_one_is_entered() -> None:
    seen = snapshot()
    course = []
    for fact in (F.UNASKED, F.UNASKED, F.CLEAN, F.UNASKED, F.JOB_ACTIVE, F.JOB_SUCCEEDED):
        seen = stored(seen, sights=dict.fromkeys(CNFDB, Sight(fact)))
        seen = replace(seen, sights=dict.fromkeys(CNFDB, Sight(fact)))
        course.append(phases(seen.cgu.status)["cnfdb1"])
    course.append(phases(one_pass(seen).status)["cnfdb1"])
    assert course == [
        "NotStarted",
        "PreparingToStart",
        "PreparingToStart",
        "Starting",
        "Starting",
        "Active",
        "Succeeded",
    ]


# --- outcomes ---


def test_a_cluster_whose_effect_failed_stays_and_says_so_and_the_others_go_on() -> None:
    seen = snapshot(cgu(status(both(P.NOT_STARTED))))
    after = one_pass(seen, Outcomes({"cnfdb1": "POST action: 503"})).status
    assert phases(after) == {"cnfdb1": "NotStarted", "cnfdb2": "PreparingToStart"}
    assert after.precaching is not None
    assert after.precaching.failures is not None
    assert [(f.cluster, f.message) for f in after.precaching.failures] == [
        ("cnfdb1", "POST action: 503")
    ]


def test_placements_that_could_not_be_written_are_not_named() -> None:
    after = one_pass(snapshot(), FAILED_HUB).status
    assert (after.placements, after.safe_resource_names) == (None, None)
    assert phases(after) == {"cnfdb1": "NotStarted", "cnfdb2": "NotStarted"}


def test_a_start_that_failed_on_the_hub_has_not_happened() -> None:
    seen = snapshot(cgu(status(both(P.SUCCEEDED)), enable=True))
    after = one_pass(seen, FAILED_HUB).status
    assert after.status == UpgradeStatus()
    assert conditions(after)["Ready"] == ("False", "UpgradeNotStarted", "Precaching is completed")
    assert "Progressing" not in conditions(after)
    plain = one_pass(snapshot(cgu(pre_caching=False, enable=True)), FAILED_HUB).status
    assert set(conditions(plain)) == {"ClustersSelected", "Validated"}


def test_a_gate_is_told_although_the_hub_failed() -> None:
    seen = snapshot(cgu(status(both(P.SUCCEEDED))))
    after = one_pass(seen, FAILED_HUB).status
    assert conditions(after)["Progressing"] == ("False", "NotEnabled", "Not enabled")


def test_a_remediation_whose_placements_failed_stays_as_it_was() -> None:
    seen = replace(in_progress(), policies={POLICY: (policy(compliant=["cnfdb1"]),)})
    assert one_pass(seen, FAILED_HUB).status is seen.cgu.status
    done = replace(seen, policies={POLICY: (policy(compliant=CNFDB),)})
    assert one_pass(done, Outcomes({"cnfdb1": "500"})).status is seen.cgu.status


# --- the end ---


def test_the_end_is_stored_in_one_patch_with_completed_at() -> None:
    seen = replace(in_progress(minutes=5), policies={POLICY: (policy(compliant=CNFDB),)})
    after = one_pass(seen).status
    assert after.status == UpgradeStatus(started_at=NOW, completed_at=later(minutes=5))
    assert conditions(after)["Succeeded"][0] == "True"
    assert conditions(after)["Ready"][0] == "True"
    assert after.clusters == tuple(ClusterState(name=c, state="complete") for c in CNFDB)
    assert (after.placements, after.placement_bindings, after.safe_resource_names) == (
        None,
        None,
        None,
    )


def test_objects_that_the_user_wants_to_keep_are_still_named_at_the_end() -> None:
    actions = Actions(after_completion=AfterCompletion(delete_objects=False))
    seen = stored(snapshot(cgu(pre_caching=False, enable=True, actions=actions)))
    after = one_pass(replace(seen, policies={POLICY: (policy(compliant=CNFDB),)})).status
    assert after.status == UpgradeStatus(started_at=NOW, completed_at=NOW)
    assert after.placements == seen.cgu.status.placements is not None


def test_when_all_failed_the_end_comes_with_its_reason_and_without_clocks() -> None:
    seen = stored(snapshot(cgu(status({"cnfdb1": P.FAILED, "cnfdb2": P.TIMED_OUT}))))
    after = seen.cgu.status
    assert after.status == UpgradeStatus(completed_at=NOW)
    assert conditions(after)["Succeeded"] == (
        "False",
        "Failed",
        "No clusters available for remediation (Precaching failed)",
    )
    assert conditions(after)["PrecachingDone"][0] == "False"
    assert after.precaching is not None
    assert after.precaching.waits is None


def test_an_end_whose_farewell_failed_somewhere_is_not_stored_and_tried_again() -> None:
    seen = snapshot(cgu(status({"cnfdb1": P.FAILED, "cnfdb2": P.FAILED})))
    for outcomes in (Outcomes({"cnfdb1": "500"}), FAILED_HUB):
        after = one_pass(seen, outcomes).status
        assert after.status == UpgradeStatus()
        assert "Succeeded" not in conditions(after)


def test_succeeded_that_others_wrote_ends_the_cgu_and_nothing_else_is_recomputed() -> None:
    ended = changed(
        status({"cnfdb1": P.ACTIVE}, waits={"cnfdb1": Clock(since=NOW)}),
        conditions=(condition("Succeeded", "True", "BecauseISaySo"),),
        clusters=(ClusterState(name="cnfdb1", state="timedout"),),
        status=UpgradeStatus(started_at=NOW, current_batch=1),
        placements=("p",),
    )
    seen = snapshot(cgu(ended), now=later(minutes=5))
    after = one_pass(seen)
    assert after.status.conditions == ended.conditions
    assert after.status.clusters == ended.clusters
    assert after.status.status == UpgradeStatus(started_at=NOW, completed_at=later(minutes=5))
    assert after.status.placements is None
    assert after.status.precaching is not None
    assert after.status.precaching.waits is None
    assert [e.reason for e in after.events] == ["CguSuccess"]
    again = replace(seen, cgu=changed(seen.cgu, status=after.status), now=later(minutes=9))
    assert one_pass(again).status is after.status


def test_the_farewell_of_a_cgu_that_others_ended_is_tried_until_it_is_said() -> None:
    ended = changed(status({"cnfdb1": P.ACTIVE}), conditions=(condition("Succeeded", "False"),))
    for outcomes in (Outcomes({"cnfdb1": "500"}), FAILED_HUB):
        assert one_pass(snapshot(cgu(ended)), outcomes).status is ended
    without = CguStatus(conditions=ended.conditions)
    assert one_pass(snapshot(cgu(without))).status.status == UpgradeStatus(completed_at=NOW)


def test_a_deleted_cgu_stores_nothing() -> None:
    of = cgu(status(both(P.ACTIVE)), meta=changed(META, deletion_timestamp=NOW))
    assert one_pass(snapshot(of)).status is of.status


def test_a_new_cgu_is_an_event_once_it_has_the_finalizer() -> None:
    seen = snapshot(cgu(meta=changed(META, finalizers=())))
    assert [e.note for e in one_pass(seen).events] == [
        "New ClusterGroupUpgrade found: du-upgrade-4918"
    ]
    assert one_pass(seen, FAILED_HUB).events == ()


# --- the specification on the wire ---


def test_the_specification_is_empty_while_it_is_invalid_and_complete_once_it_is_mended() -> None:
    of = cgu(pre_caching_config_ref=NamespacedName(name="pcc"))
    seen = stored(snapshot(of, sources=SpecSources(config_name="pcc")), sources=SpecSources())
    assert seen.cgu.status.precaching == PrecachingStatus(spec=PrecachingSpec())
    told = conditions(seen.cgu.status)
    assert told["PrecacheSpecValid"][0] == "False"
    assert not {"PrecachingSuceeded", "Progressing"} & set(told)
    after = one_pass(seen).status
    assert after.precaching is not None
    assert after.precaching.spec == SPEC
    assert "PrecachingSuceeded" in conditions(after)


def test_a_specification_that_becomes_invalid_before_anybody_has_begun_goes_away() -> None:
    of = cgu(
        status({"cnfdb1": P.PREPARING, "cnfdb2": P.NOT_STARTED}),
        pre_caching_config_ref=NamespacedName(name="pcc"),
    )
    facts = {"cnfdb1": F.CLEAN}
    after = one_pass(snapshot(of, facts=facts, sources=SpecSources(config_name="pcc"))).status
    assert after.precaching is not None
    assert after.precaching.spec == PrecachingSpec()
    assert phases(after) == {"cnfdb1": "PreparingToStart", "cnfdb2": "NotStarted"}
    assert after.precaching.clusters == CNFDB
    assert after.precaching.waits is None


def test_while_the_graph_is_awaited_nothing_is_said_of_pre_caching() -> None:
    version: Mapping[str, Json] = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "spec": {
            "upstream": "https://graph.example",
            "channel": "stable-4.11",
            "desiredUpdate": {"version": "4.11.4"},
        },
    }
    asking = replace(policy(), objects=(version,))
    after = one_pass(snapshot(policies=[asking])).status
    assert after == CguStatus(computed_max_concurrency=2, status=UpgradeStatus())
    begun = cgu(status(both(P.PREPARING)))
    kept = one_pass(snapshot(begun, policies=[asking])).status
    assert kept.precaching is not None
    assert kept.precaching.spec == SPEC


def test_what_cannot_be_judged_while_a_cluster_is_unknown_stays_as_it_was() -> None:
    seen = stored(snapshot(), clusters={"cnfdb1": Cluster("cnfdb1")})
    after = one_pass(seen).status
    assert after.computed_max_concurrency == 2
    assert after.remediation_plan == (CNFDB,)
    assert after.precaching is not None
    assert after.precaching.clusters == CNFDB
    assert conditions(after)["ClustersSelected"][0] == "False"


# --- edits ---


def test_a_cluster_that_is_added_is_stored_first_and_pre_cached_then() -> None:
    grown = cgu(status({"cnfdb1": P.ACTIVE}))
    seen = stored(snapshot(grown, facts={"cnfdb1": F.JOB_ACTIVE}))
    assert phases(seen.cgu.status) == {"cnfdb1": "Active", "cnfdb2": "NotStarted"}
    assert phases(one_pass(seen).status)["cnfdb2"] == "PreparingToStart"


def test_a_cluster_that_is_taken_out_is_forgotten_once_its_objects_were_removed() -> None:
    shrunk = cgu(status(both(P.ACTIVE)), clusters=("cnfdb1",))
    seen = snapshot(shrunk, facts={"cnfdb1": F.JOB_ACTIVE})
    assert phases(one_pass(seen, Outcomes({"cnfdb2": "500"})).status) == phases(shrunk.status)
    after = one_pass(seen).status
    assert phases(after) == {"cnfdb1": "Active"}
    assert after.precaching is not None
    assert after.precaching.clusters == ("cnfdb1",)


def test_pre_caching_that_is_switched_off_leaves_neither_states_nor_unfinished_conditions() -> None:
    seen = stored(stored(snapshot()))
    off = replace(seen, cgu=changed(seen.cgu, spec=cgu(pre_caching=False).spec))
    after = one_pass(off).status
    assert phases(after) == {}
    assert set(conditions(after)) == {"Ready", "ClustersSelected", "Validated", "Progressing"}


def test_the_batch_size_is_not_reduced_when_clusters_drop_out() -> None:
    of = cgu(status({"cnfdb1": P.FAILED, "cnfdb2": P.SUCCEEDED}), enable=True)
    after = one_pass(snapshot(of)).status
    assert after.computed_max_concurrency == 2
    assert after.remediation_plan == (("cnfdb2",),)


def test_when_somebody_removed_status_status_the_next_pass_writes_it_again() -> None:
    robbed = changed(one_pass(snapshot()).status, status=None)
    assert one_pass(snapshot(cgu(robbed))).status.status == UpgradeStatus()


def test_conditions_that_others_wrote_stay() -> None:
    own = condition("SomebodysOwn", "True")
    after = one_pass(snapshot(cgu(CguStatus(conditions=(own,))))).status
    assert (after.conditions or ())[0] == own


def test_a_cgu_whose_new_fields_an_older_crd_prunes_is_pre_cached_all_the_same() -> None:
    seen = snapshot()
    for fact in (F.UNASKED, F.UNASKED, F.CLEAN, F.JOB_ACTIVE, F.JOB_SUCCEEDED):
        seen = stored(replace(seen, sights=dict.fromkeys(CNFDB, Sight(fact))))
        block = seen.cgu.status.precaching
        assert block is not None
        pruned = changed(seen.cgu.status, precaching=changed(block, waits=None, failures=None))
        seen = replace(seen, cgu=changed(seen.cgu, status=pruned), now=later(minutes=40))
    assert phases(seen.cgu.status) == {"cnfdb1": "Succeeded", "cnfdb2": "Succeeded"}


# --- nothing in vain ---


def steady() -> dict[str, Snapshot]:
    """CGUs at rest, as they are stored, looked at again later."""
    active = dict.fromkeys(CNFDB, Sight(F.JOB_ACTIVE))
    down = {c: Cluster(c, available=False, since=NOW) for c in CNFDB}
    seen = {
        "while Jobs run": snapshot(cgu(status(both(P.ACTIVE))), sights=active),
        "while clusters are down": snapshot(cgu(status(both(P.STARTING))), clusters=down,
                                            sights=dict.fromkeys(CNFDB, Sight(F.SETTING_UP))),
        "not enabled": snapshot(cgu(status(both(P.SUCCEEDED)))),
        "held": snapshot(policies=()),
        "unknown cluster": snapshot(clusters={}),
        "waiting for an older CGU": snapshot(cgu(status(both(P.NOT_STARTED))),
                                             owners=dict.fromkeys(CNFDB, "ztp/older")),
        "remediating": snapshot(cgu(pre_caching=False, enable=True)),
        "over": snapshot(cgu(enable=True), policies=[policy(compliant=CNFDB)]),
    }  # fmt: skip
    return {name: stored(one) for name, one in seen.items()}


@pytest.mark.parametrize("name", steady())
@pytest.mark.parametrize("vocabulary", list(Vocabulary))
def test_a_pass_in_which_nothing_happened_stores_nothing_new(
    name: str, vocabulary: Vocabulary
) -> None:
    seen = stored(replace(steady()[name], rules=Rules(vocabulary=vocabulary)))
    later_on = replace(seen, now=later(seconds=50))
    again = one_pass(later_on)
    assert again.status == seen.cgu.status
    assert again.events == ()


# --- when to look again ---


def look(seen: Snapshot) -> dt.timedelta | None:
    return one_pass(seen).look_again_after


def test_a_problem_that_nobody_announces_is_looked_at_again_after_a_while() -> None:
    assert look(snapshot(clusters={})) == dt.timedelta(minutes=5)
    assert look(snapshot(policies=())) == dt.timedelta(minutes=1)
    blocked = snapshot(
        cgu(status(both(P.SUCCEEDED)), enable=True), blockers=(Blocker("x", exists=False),)
    )
    assert look(blocked) == dt.timedelta(minutes=5)
    assert look(replace(blocked, blockers=(Blocker("x", True),))) == dt.timedelta(minutes=5)


def test_a_cgu_that_waits_for_its_user_is_not_looked_at_again() -> None:
    assert look(snapshot(cgu(status(both(P.SUCCEEDED))))) is None
    assert look(snapshot(cgu(CguStatus(status=UpgradeStatus(completed_at=NOW))))) is None


def test_a_remediation_is_looked_at_again_when_its_batch_is_due() -> None:
    assert look(in_progress(minutes=60)) == dt.timedelta(minutes=180)


def test_the_soonest_reason_counts() -> None:
    facts: dict[str, Any] = {
        "cnfdb1": Sight(F.SETTING_UP, recheck=dt.timedelta(seconds=20)),
        "cnfdb2": Sight(F.SETTING_UP),
    }
    assert look(snapshot(cgu(status(both(P.STARTING))), facts=facts)) == dt.timedelta(seconds=20)


def test_a_decision_is_settled_as_it_was_made() -> None:
    seen = snapshot(cgu(status(both(P.SUCCEEDED)), enable=True))
    decision = decide(seen)
    after = settle(seen, decision, Outcomes())
    assert after.status.status is not None
    assert after.status.status.started_at == NOW
    assert [e.reason for e in after.events] == ["CguStarted"]
