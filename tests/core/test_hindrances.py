"""What is in the way of a cluster: told while it waits, in the message of its end, and with advice."""

from __future__ import annotations

from typing import Final

import pytest

from talm.api.cgu import PrecachingFailure
from talm.api.meta import changed
from talm.api.words import Hindrance, Phase
from talm.core import advice
from talm.core.explain_cluster import explain_cluster
from talm.core.fleet import decide_fleet
from talm.core.hindrances import POD, REASONS
from talm.core.model import Cluster, Effect, Fact, Move, Sight, Snapshot
from talm.core.report import failures

from .given import NOW, both, cgu, later, snapshot, status

FIRST: Final = "cnfdb1"
PULL: Final = f"{POD} does not get ready: ImagePullBackOff: Back-off pulling image"
STUCK: Final = Sight(Fact.JOB_ACTIVE, PULL, hindrance=Hindrance.POD_NOT_READY)
KNOWN: Final = PrecachingFailure(cluster=FIRST, reason="PodNotReady", message=PULL, since=NOW)


def seeing(phase: Phase, sight: Sight | None, *entries: PrecachingFailure) -> Snapshot:
    """A pass over a CGU whose clusters are in that state, a while after the entries were made."""
    before = status(both(phase))
    assert before.precaching is not None
    before = changed(before, precaching=changed(before.precaching, failures=entries or None))
    sights = {FIRST: sight} if sight is not None else {}
    return snapshot(cgu(before), sights=sights, now=later(minutes=5))


def told(seen: Snapshot, phase: Phase, *moves: Move) -> list[tuple[str, str]]:
    found = failures(seen, {FIRST: phase}, moves, {}, {})
    return [(entry.reason, entry.message) for entry in found]


@pytest.mark.parametrize("kind", Hindrance)
def test_what_is_in_the_way_is_told_while_the_cluster_waits(kind: Hindrance) -> None:
    sight = Sight(Fact.SETTING_UP, "what is in the way", hindrance=kind)
    assert told(seeing(Phase.STARTING, sight), Phase.STARTING) == [(kind, "what is in the way")]
    mended = Sight(Fact.JOB_ACTIVE, "it runs")
    assert told(seeing(Phase.STARTING, mended, KNOWN), Phase.STARTING) == []


def test_it_is_told_since_when_it_is_so() -> None:
    (entry,) = failures(seeing(Phase.ACTIVE, STUCK, KNOWN), {FIRST: Phase.ACTIVE}, (), {}, {})
    assert entry.since == NOW


def test_nothing_is_in_the_way_of_a_cluster_that_has_not_begun() -> None:
    left = Sight(Fact.LEFTOVERS, "a finalizer", hindrance=Hindrance.NAMESPACE_STUCK)
    assert told(seeing(Phase.NOT_STARTED, left), Phase.NOT_STARTED) == []


ENDED: Final = Move(FIRST, Phase.TIMED_OUT, (Effect.DROP_SETUP,), "DeadlineExceeded: too long")


def test_the_end_is_told_with_the_cause_that_was_known_before_it() -> None:
    """Whoever was killed after having taken the pod away sees no cause any more."""
    seen = seeing(Phase.ACTIVE, Sight(Fact.JOB_DEADLINE, ENDED.why), KNOWN)
    assert told(seen, Phase.TIMED_OUT, ENDED) == [
        ("PrecacheTimeout", f"DeadlineExceeded: too long; {PULL}")
    ]


def test_a_cause_that_the_end_tells_itself_is_told_once() -> None:
    why = f"DeadlineExceeded: too long; {POD} does not get ready: ErrImagePull: not found"
    end = Move(FIRST, Phase.TIMED_OUT, (Effect.DROP_SETUP,), why)
    seen = seeing(Phase.ACTIVE, Sight(Fact.JOB_DEADLINE, why), KNOWN)
    assert told(seen, Phase.TIMED_OUT, end) == [("PrecacheTimeout", why)]


@pytest.mark.parametrize(
    "fact, phase", [(Fact.JOB_UNREADY, Phase.ACTIVE), (Fact.JOB_PODLESS, Phase.STARTING)]
)
def test_nobody_is_asked_on_a_cluster_that_is_away(fact: Fact, phase: Phase) -> None:
    def asked(cluster: Cluster) -> list[tuple[Effect, ...]]:
        before = cgu(status({FIRST: phase}))
        seen = snapshot(before, sights={FIRST: Sight(fact)}, clusters={FIRST: cluster})
        return [m.effects for m in decide_fleet(seen, [FIRST], held=False, enabled=False).moves]

    assert asked(Cluster(FIRST)) == [(Effect.DIAGNOSE,)]
    assert asked(Cluster(FIRST, available=False, since=NOW)) == []


# --- explained ---


def test_a_pod_that_does_not_start_is_explained_with_its_cause_and_the_clock() -> None:
    why = explain_cluster(seeing(Phase.ACTIVE, STUCK, KNOWN), FIRST)
    assert (why.waits_for, why.seen) == ("the Job's pod to start", PULL)
    assert "cannot pull the workload's own image" in why.do


@pytest.mark.parametrize("sight", [None, Sight(Fact.JOB_PENDING)], ids=["blind", "forgotten"])
def test_what_cannot_be_seen_any_more_is_explained_by_what_is_stored(sight: Sight | None) -> None:
    """The hub keeps a refused action for a minute, the operator its words."""
    why = explain_cluster(seeing(Phase.STARTING, sight, KNOWN), FIRST)
    assert (why.waits_for, why.seen) == ("the Job's pod to start", PULL)


def test_what_is_mended_is_no_longer_explained() -> None:
    why = explain_cluster(seeing(Phase.ACTIVE, Sight(Fact.JOB_ACTIVE, "")), FIRST)
    assert why.waits_for == "the Job to end"


def test_a_refused_request_is_explained_with_the_party_that_is_waited_for() -> None:
    sight = Sight(Fact.SETTING_UP, "403", hindrance=Hindrance.REQUEST_REFUSED)
    why = explain_cluster(seeing(Phase.STARTING, sight), FIRST)
    assert why.seen == "403"
    assert "Mend what the spoke says" in why.do
    assert f"-n {FIRST}" in why.do


def test_a_stuck_namespace_is_explained_as_the_row_says() -> None:
    sight = Sight(Fact.LEFTOVERS, "hangs", hindrance=Hindrance.NAMESPACE_STUCK)
    why = explain_cluster(seeing(Phase.PREPARING, sight), FIRST)
    assert (why.seen, "finalizer" in why.do) == ("hangs", True)


CAUSES: Final = {
    "ImagePullBackOff: x": "cannot pull",
    "ErrImagePull: x": "cannot pull",
    "InvalidImageName: x": "a name that no runtime understands",
    "Unschedulable: 0/1 nodes": "No node of the cluster takes the pod",
    "CreateContainerConfigError: x": "a Secret or ConfigMap",
    "CreateContainerError: x": "cannot start the workload's image",
    "StartError: exit code 128": "cannot start the workload's image",
}


@pytest.mark.parametrize(("cause", "words"), CAUSES.items())
def test_every_cause_has_its_advice_while_it_waits_and_after_its_end(
    cause: str, words: str
) -> None:
    text = f"{POD} does not get ready: {cause}"
    sight = Sight(Fact.JOB_ACTIVE, text, hindrance=Hindrance.POD_NOT_READY)
    assert words in explain_cluster(seeing(Phase.ACTIVE, sight), FIRST).do
    ended = advice.for_failure(Phase.TIMED_OUT, f"DeadlineExceeded: too long; {text}")
    assert words in ended
    assert ended.endswith(advice.NEW_CGU)


def test_a_refused_pod_has_the_advice_of_admission() -> None:
    text = f'{POD} is refused: pods "pre-cache-diagnose" is forbidden: violates PodSecurity'
    assert "Pod Security" in advice.for_failure(Phase.FAILED, f"the setup took longer; {text}")


def test_a_cause_without_advice_of_its_own_says_where_to_look() -> None:
    sight = Sight(Fact.JOB_ACTIVE, f"{POD} does not get ready", hindrance=Hindrance.POD_NOT_READY)
    assert "kubectl describe pods" in explain_cluster(seeing(Phase.ACTIVE, sight), FIRST).do


def test_the_reasons_are_words_for_scripts() -> None:
    assert {"PodNotReady", "RequestRefused", "NamespaceStuck"} == REASONS
