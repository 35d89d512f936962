"""What is told to whoever asks why nothing goes on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

import pytest

from talm.api.cgu import (
    ClusterRemediationProgress,
    ClusterState,
    PolicyRef,
    PolicyStatus,
    PrecachingFailure,
    UpgradeStatus,
)
from talm.api.meta import ObjectMeta, changed
from talm.api.progress import FailureClass
from talm.api.words import FINAL_PHASES, Phase
from talm.core import advice, precache, report
from talm.core.clock import Clock
from talm.core.conditions import render
from talm.core.due import Voice
from talm.core.explain import Situation, explain_cgu
from talm.core.explain_cluster import explain_cluster, explain_row, failure_of
from talm.core.model import Cluster, Fact, Sight, Snapshot, Vocabulary
from talm.core.silence import Silence
from talm.core.story import (
    Precaching,
    PrecachingVerdict,
    Problem,
    Rollout,
    RolloutVerdict,
    Story,
)
from tests.core.given import META, NOW, both, cgu, later, snapshot, status

ROWS = [(phase, fact) for phase, rules in precache.STEPS.items() for fact in rules]
FIRST, SECOND = "cnfdb1", "cnfdb2"
HALF_AN_HOUR = dt.timedelta(minutes=30)


def shown(text: str) -> str:
    """An advice as a person reads it."""
    return text.replace("{cgu}", "CGU").replace("{namespace}", "NS").replace("{cluster}", "C")


@pytest.mark.parametrize(("phase", "fact"), ROWS, ids=str)
def test_every_row_of_the_table_says_whom_it_waits_for_and_what_to_do(
    phase: Phase, fact: Fact
) -> None:
    told = explain_row(phase, fact)
    step = precache.advance(phase, fact)
    assert told.waits_for
    if step.waits_for:
        assert told.waits_for == step.waits_for
    else:
        assert told.waits_for.startswith("the operator to ")
    for effect in () if step.waits_for else step.effects:
        assert effect.value in told.waits_for
    assert len(shown(told.do)) > 20


@pytest.mark.parametrize(("phase", "fact"), ROWS, ids=str)
def test_every_row_is_explained_with_its_clock(phase: Phase, fact: Fact) -> None:
    wait = Clock(spent=60, since=NOW)
    seen = at(phase, Sight(fact, "what is seen"), wait=wait, now=later(minutes=4))
    told = explain_cluster(seen, FIRST)
    limit = HALF_AN_HOUR if phase is not Phase.ACTIVE else HALF_AN_HOUR + dt.timedelta(minutes=240)
    assert told.since == later(minutes=-1)
    assert told.until == later(minutes=-1) + limit
    assert told.then.startswith("it fails as ")
    assert told.seen == "what is seen"
    assert "{" not in told.do


def at(
    phase: Phase,
    sight: Sight | None = None,
    *,
    wait: Clock | None = None,
    failure: PrecachingFailure | None = None,
    now: dt.datetime = NOW,
    enable: bool = False,
) -> Snapshot:
    """The first cluster in a state, the second under way; pre-caching runs."""
    words = {FIRST: phase, SECOND: Phase.ACTIVE}
    stored = status(words, waits={FIRST: wait} if wait else None)
    if failure is not None and stored.precaching is not None:
        stored = changed(stored, precaching=changed(stored.precaching, failures=(failure,)))
    stored = changed(stored, conditions=conditions(in_progress()))
    sights = {FIRST: sight} if sight else {}
    return snapshot(cgu(stored, enable=enable), facts=sights, now=now)


def in_progress() -> Story:
    return Story(
        validated=True,
        precaching_required=True,
        spec_judged=True,
        precaching=PrecachingVerdict(Precaching.IN_PROGRESS, 2),
    )


def conditions(story: Story, vocabulary: Vocabulary = Vocabulary.ALL) -> tuple:  # type: ignore[type-arg]
    return render(story, vocabulary, (), NOW)


def test_a_fact_that_no_rule_covers_is_said_to_be_one() -> None:
    phase, fact = next(iter(precache.IMPOSSIBLE))
    told = explain_cluster(at(phase, Sight(fact, "odd")), FIRST)
    assert told.seen == "odd"
    assert told.do == advice.BY_CAUSE[report.UNEXPECTED]


@pytest.mark.parametrize("phase", [p for p in Phase if p not in FINAL_PHASES])
def test_without_a_look_at_the_cluster_its_state_alone_is_explained(phase: Phase) -> None:
    told = explain_cluster(at(phase), FIRST)
    assert told.waits_for and told.do and told.seen == ""


def test_a_clock_that_stands_has_no_deadline() -> None:
    stands = Clock(spent=90)
    told = explain_cluster(at(Phase.STARTING, Sight(Fact.SETTING_UP), wait=stands), FIRST)
    assert (told.since, told.until, told.then) == (later(seconds=-90), None, "")
    assert explain_cluster(at(Phase.STARTING, Sight(Fact.SETTING_UP)), FIRST).since is None


def test_a_cluster_that_is_gone_waits_to_be_back_and_fails_only_when_enabled() -> None:
    entry = PrecachingFailure(
        cluster=FIRST, reason=report.UNAVAILABLE, message="unavailable since T", since=NOW
    )
    gone = {FIRST: Cluster(FIRST, available=False, since=later(minutes=-3))}
    waits = replace(at(Phase.ACTIVE, failure=entry), clusters=gone)
    told = explain_cluster(waits, FIRST)
    assert told.waits_for == "the cluster to be available"
    assert (told.since, told.until) == (NOW, None)
    enabled = replace(at(Phase.ACTIVE, failure=entry, enable=True), clusters=gone)
    told = explain_cluster(enabled, FIRST)
    assert told.until == later(minutes=7)
    assert "UnrecoverableError" in told.then


@pytest.mark.parametrize("voice", Voice)
def test_a_silent_cluster_says_who_is_silent_and_fails_only_when_enabled(voice: Voice) -> None:
    quiet = Silence(voice, later(minutes=-3), NOW)
    entry = PrecachingFailure(cluster=FIRST, reason=report.SILENT, message=quiet.message, since=NOW)
    told = explain_cluster(at(Phase.ACTIVE, failure=entry), FIRST)
    assert told.waits_for == "the cluster to be heard again"
    assert told.do == advice.BY_VOICE[voice].replace("{cluster}", FIRST)
    assert (told.seen, told.since, told.until) == (quiet.message, later(minutes=-3), None)
    told = explain_cluster(at(Phase.ACTIVE, failure=entry, enable=True), FIRST)
    assert (told.since, told.until) == (later(minutes=-3), later(minutes=7))
    assert "UnrecoverableError" in told.then


def test_a_cluster_of_another_cgu_names_it() -> None:
    entry = PrecachingFailure(
        cluster=FIRST, reason=report.OTHER_CGU, message="waiting for ztp/night-5", since=NOW
    )
    told = explain_cluster(at(Phase.NOT_STARTED, failure=entry), FIRST)
    assert told.waits_for == "the older CGU ztp/night-5"
    assert told.until is None
    other = changed(entry, reason=report.EFFECT_FAILED, message="CREATE x: 403: no")
    assert "403" in explain_cluster(at(Phase.STARTING, failure=other), FIRST).do


REASONS = [
    value
    for name, value in vars(report).items()
    if name.isupper() and isinstance(value, str) and value.isalpha()
]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_to_wait_has_a_party_and_an_advice(reason: str) -> None:
    entry = PrecachingFailure(cluster=FIRST, reason=reason, message="why", since=NOW)
    told = explain_cluster(at(Phase.PREPARING, failure=entry), FIRST)
    assert told.waits_for
    assert told.do == advice.BY_CAUSE[reason].replace("{cluster}", FIRST)
    assert len(REASONS) == len(advice.BY_CAUSE)


@pytest.mark.parametrize("kind", FailureClass)
def test_every_class_of_failure_has_an_advice(kind: FailureClass) -> None:
    text = f"PodFailurePolicy: {kind}: what happened"
    assert advice.for_failure(Phase.FAILED, text) == advice.BY_CLASS[kind]


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("BackoffLimitExceeded: Job has reached the specified backoff limit", "attempts"),
        ("DeadlineExceeded: Job was active longer than specified deadline", "more time"),
        ("no end of the Job was seen 270 min after it became active", "stopped telling"),
        ("the setup took longer than 30 min; last seen: no answer about the Job yet", "agent"),
        ("the setup took longer than 30 min; last seen: the namespace of an earlier run", "holds"),
        ("the cluster has been unavailable since 2026-11-23T09:23:30Z", "back"),
        (f"the cluster has been silent since T: {Voice.WORKLOAD.value}", "Bring back"),
        ("something new", "mend the cause"),
        ("", "mend the cause"),
    ],
)
def test_every_bad_end_has_an_advice_that_leads_to_a_new_cgu(message: str, word: str) -> None:
    text = advice.for_failure(Phase.FAILED, message)
    holds = "keeps the pre-caching namespace" if word == "holds" else word
    assert holds in text
    assert "new CGU" in text


def test_a_cluster_that_failed_shows_its_cause() -> None:
    entry = PrecachingFailure(
        cluster=FIRST, reason=Phase.FAILED, message="ImageNotFound: gone", since=NOW
    )
    stored = at(Phase.FAILED, failure=entry).cgu.status
    assert (failure_of(stored, FIRST), failure_of(stored, SECOND)) == (entry, None)
    told = explain_cluster(at(Phase.FAILED, failure=entry), FIRST)
    assert told.waits_for.startswith("nobody")
    assert (told.seen, told.since) == ("ImageNotFound: gone", NOW)
    assert told.do == advice.BY_CLASS[FailureClass.IMAGE_NOT_FOUND]
    assert explain_cluster(at(Phase.TIMED_OUT), FIRST).seen == ""


# ---- the CGU as a whole ------------------------------------------------------------------------------

READY_TO_GO = Story(
    validated=True,
    precaching_required=True,
    spec_judged=True,
    precaching=PrecachingVerdict(Precaching.COMPLETED),
)
PROBLEM = "The ClusterGroupUpgrade CR: WHY"


def invalid(reason: str, message: str, manual: str = PROBLEM) -> Story:
    return Story(validation=Problem(reason, message, "UpgradeCannotStart", manual))


UNKNOWN_CLUSTER = "Unable to select clusters: cluster C is not a ManagedCluster"
MISSING = "The ClusterGroupUpgrade CR has: missing managed policies: [A B] "
BACKUP = "backup is not supported by this version"
HELD = {
    "you to correct the selection of clusters": Story(
        selection=Problem(
            "ClusterNotFound", UNKNOWN_CLUSTER, "UpgradeCannotStart", f"CR: {UNKNOWN_CLUSTER}"
        )
    ),
    "managed policies that can be used": invalid(
        "NotAllManagedPoliciesExist", "Missing managed policies: [A B] ", MISSING
    ),
    "names of managed policies that are unique": invalid(
        "AmbiguousManagedPoliciesNames", "M", "Managed policy name should be unique, but"
    ),
    "a release that the managed policies agree on": invalid("InvalidPlatformImage", "WHY"),
    "managed policies in an order that works": invalid(
        "UnresolvableDenpendency",
        "M",
        "CR: Managed Policy A depends on B, which is to be remediated later",
    ),
    "you to change the spec": invalid("Unsupported", "M", f"CR: {BACKUP}"),
    "a valid specification of what to pre-cache": Story(
        validated=True,
        precaching_required=True,
        spec_judged=True,
        spec=Problem("PrecacheSpecIncomplete", "WHY", "PrecacheSpecIsIncomplete", "WHY"),
    ),
}
GATES = {
    "you to enable it (enable: true)": RolloutVerdict(Rollout.NOT_ENABLED),
    "CGUs in blockingCRs that do not exist": RolloutVerdict(Rollout.BLOCKED_BY_MISSING, ("x",)),
    "CGUs in blockingCRs that have not completed": RolloutVerdict(
        Rollout.BLOCKED_BY_INCOMPLETE, ("x",)
    ),
    "you to change the spec": RolloutVerdict(Rollout.UNSUPPORTED, text=BACKUP),
}
VOCABULARIES = pytest.mark.parametrize("vocabulary", Vocabulary, ids=str)


@VOCABULARIES
@pytest.mark.parametrize("waits_for", HELD)
def test_what_holds_a_cgu_is_told_in_every_vocabulary(
    waits_for: str, vocabulary: Vocabulary
) -> None:
    stored = changed(status({}), conditions=conditions(HELD[waits_for], vocabulary))
    told = explain_cgu(snapshot(cgu(stored)))
    assert (told.situation, told.why.waits_for) == (Situation.HELD, waits_for)
    assert told.why.since == NOW
    assert told.why.seen
    assert told.why.do


@VOCABULARIES
@pytest.mark.parametrize("waits_for", GATES)
def test_a_closed_gate_is_told_in_every_vocabulary(waits_for: str, vocabulary: Vocabulary) -> None:
    story = replace(READY_TO_GO, rollout=GATES[waits_for])
    stored = changed(status(both(Phase.SUCCEEDED)), conditions=conditions(story, vocabulary))
    told = explain_cgu(snapshot(cgu(stored)))
    assert told.why.waits_for == waits_for
    # The manual has one reason for what must be mended and for what is not supported.
    manual_unsupported = vocabulary is not Vocabulary.CURRENT and "change" in waits_for
    wanted = {Situation.WAITING} | ({Situation.HELD} if manual_unsupported else set())
    assert told.situation in wanted
    assert told.why.do and "{cgu}" not in told.why.do
    assert explain_cluster(snapshot(cgu(stored)), FIRST).waits_for == waits_for


@VOCABULARIES
def test_a_cgu_at_work_waits_for_its_clusters(vocabulary: Vocabulary) -> None:
    stored = status({FIRST: Phase.SUCCEEDED, SECOND: Phase.ACTIVE})
    stored = changed(stored, conditions=conditions(in_progress(), vocabulary))
    told = explain_cgu(snapshot(cgu(stored)))
    assert told.situation is Situation.PRECACHING
    assert told.why.waits_for == "1 of 2 clusters to be pre-cached"
    assert told.why.since == NOW
    assert told.why.do


def test_between_two_passes_it_waits_for_the_operator() -> None:
    open_gates = replace(READY_TO_GO, rollout=RolloutVerdict(Rollout.READY))
    stored = changed(status(both(Phase.SUCCEEDED)), conditions=conditions(open_gates))
    assert explain_cgu(snapshot(cgu(stored))).why.waits_for == "the operator"
    begins = changed(status({}), conditions=conditions(in_progress()))
    told = explain_cgu(snapshot(cgu(begins)))
    assert (told.situation, told.why.waits_for) == (Situation.PRECACHING, "the operator")


@VOCABULARIES
@pytest.mark.parametrize(
    ("rollout", "situation"),
    [
        (Rollout.COMPLETED, Situation.COMPLETED),
        (Rollout.ALREADY_COMPLIANT, Situation.COMPLETED),
        (Rollout.TIMED_OUT, Situation.TIMED_OUT),
        (Rollout.ALL_FAILED_PRECACHING, Situation.FAILED),
    ],
)
def test_an_end_is_told_in_every_vocabulary(
    rollout: Rollout, situation: Situation, vocabulary: Vocabulary
) -> None:
    story = Story(precaching_required=True, rollout=RolloutVerdict(rollout))
    over = UpgradeStatus(completed_at=later(minutes=9))
    stored = changed(
        status(both(Phase.SUCCEEDED)), status=over, conditions=conditions(story, vocabulary)
    )
    told = explain_cgu(snapshot(cgu(stored)))
    assert told.situation is situation
    assert told.why.since == later(minutes=9)
    assert told.why.waits_for.startswith("nobody")


def test_a_cgu_that_no_operator_has_seen_says_so_and_one_that_goes_too() -> None:
    fresh = cgu(meta=changed(META, finalizers=None))
    assert explain_cgu(snapshot(fresh)).situation is Situation.UNSEEN
    going: ObjectMeta = changed(META, deletion_timestamp=NOW)
    assert explain_cgu(snapshot(cgu(meta=going))).situation is Situation.DELETING


@pytest.mark.parametrize(("left", "named"), [(1, "c0"), (7, "c0, c1, c2, c3, c4 and 2 more")])
def test_a_deleted_cgu_names_the_clusters_for_which_it_stays(left: int, named: str) -> None:
    going = changed(META, deletion_timestamp=NOW)
    entries = [PrecachingFailure(cluster=f"c{n}", reason="RemovalFailed") for n in range(left)]
    others = [PrecachingFailure(cluster="d", reason="UnrecoverableError")]
    stored = status({f"c{n}": Phase.SUCCEEDED for n in range(left)})
    assert stored.precaching is not None
    block = changed(stored.precaching, failures=(*others, *entries))
    stored = changed(stored, precaching=block)
    seen = snapshot(cgu(stored, meta=going))
    assert explain_cgu(seen).why.seen.startswith(f"what is left on {named} could not be removed")


# ---- the update --------------------------------------------------------------------------------------

REF = PolicyRef(name="first", namespace="ztp")


def updating(
    *, batch: int = 1, state: str = "InProgress", clusters: Iterable[ClusterState] = ()
) -> Snapshot:
    progress = {(FIRST, SECOND)[batch - 1]: ClusterRemediationProgress(state=state, policy_index=0)}
    course = UpgradeStatus(
        started_at=NOW,
        current_batch=batch,
        current_batch_started_at=later(minutes=10),
        current_batch_remediation_progress=progress,
    )
    stored = changed(
        status(both(Phase.SUCCEEDED)),
        status=course,
        remediation_plan=((FIRST,), (SECOND,)),
        managed_policies_for_upgrade=(REF,),
        clusters=tuple(clusters),
        conditions=conditions(Story(rollout=RolloutVerdict(Rollout.RUNNING))),
    )
    return snapshot(cgu(stored, enable=True))


def test_an_update_waits_for_the_clusters_of_its_batch_until_their_share_of_the_time() -> None:
    told = explain_cgu(updating())
    assert told.situation is Situation.UPDATING
    assert told.why.waits_for == "1 cluster of batch 1 of 2 to comply"
    assert told.why.since == later(minutes=10)
    assert told.why.until == later(minutes=10 + (240 - 10) / 2)
    assert told.why.then == "the next batch begins"
    assert explain_cgu(updating(batch=2)).why.then == "the update times out"


def test_a_cluster_of_the_batch_waits_for_its_policy_and_later_ones_for_the_batch() -> None:
    assert explain_cluster(updating(), FIRST).waits_for == "the cluster to comply with policy first"
    later_one = explain_cluster(updating(), SECOND)
    assert later_one.waits_for == "1 cluster of batch 1 of 2 to comply"


def test_a_cluster_whose_update_is_over_says_how_it_ended() -> None:
    late = ClusterState(
        name=FIRST,
        state="timedout",
        current_policy=PolicyStatus(name="first", status="NonCompliant"),
    )
    told = explain_cluster(updating(batch=2, clusters=[late]), FIRST)
    assert told.seen == "timedout at policy first"
    assert told.do == advice.ENDED_BADLY
    done = ClusterState(name=FIRST, state="complete")
    assert explain_cluster(updating(batch=2, clusters=[done]), FIRST).do == advice.NOTHING


def test_an_update_that_cannot_place_its_policies_says_so() -> None:
    seen = updating()
    waiting = Story(rollout=RolloutVerdict(Rollout.WAITING_FOR_PLACEMENT, ("p",), "no binding"))
    stuck = changed(seen.cgu.status, conditions=conditions(waiting))
    told = explain_cgu(replace(seen, cgu=changed(seen.cgu, status=stuck)))
    assert (told.why.waits_for, told.why.seen) == ("its Placements", "no binding")


def test_a_cluster_that_has_not_begun_waits_for_what_holds_the_cgu() -> None:
    stored = status({FIRST: Phase.NOT_STARTED})
    held = conditions(HELD["managed policies that can be used"])
    seen = snapshot(cgu(changed(stored, conditions=held)))
    assert explain_cluster(seen, FIRST).waits_for == "managed policies that can be used"


def test_without_pre_caching_a_cgu_waits_at_the_gates_alone() -> None:
    story = Story(validated=True, rollout=RolloutVerdict(Rollout.NOT_ENABLED))
    stored = changed(status({}), conditions=conditions(story))
    told = explain_cgu(snapshot(cgu(stored, pre_caching=False)))
    assert told.situation is Situation.WAITING
    assert "enable" in told.why.waits_for
