"""Clusters of which different things are asked: a change outdates those whom it concerns, nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from talm.api.cgu import CguStatus, PrecachingSpec
from talm.api.meta import changed
from talm.api.words import FINAL_PHASES, Phase
from talm.core.decide import decide
from talm.core.fleet import stored_phases
from talm.core.model import (
    Cluster,
    Fact,
    ResolvedPolicy,
    Snapshot,
    SpecSources,
)
from talm.core.precache import BEFORE_SETUP
from talm.core.prepare import prepare
from talm.core.renewal import Change
from talm.core.specifications import stored_specifications

from .given import IMAGE, cgu, one_pass, policy, snapshot

P: Final = Phase
NAMES: Final = tuple("abcdef")
# What the fleet is asked for at first: three clusters for one thing, two for another, one for a third.
AT_FIRST: Final = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2, "f": 3}
SEEN: Final = {
    P.PREPARING: Fact.CLEAN,
    P.STARTING: Fact.JOB_ACTIVE,
    P.ACTIVE: Fact.JOB_ACTIVE,
}


def image(number: int) -> str:
    return f"quay.io/release@sha256:{number:064}"


RELEASES: Final = {
    number: ResolvedPolicy(
        (
            {
                "apiVersion": "config.openshift.io/v1",
                "kind": "ClusterVersion",
                "spec": {"desiredUpdate": {"image": image(number)}},
            },
        )
    )
    for number in range(10)
}
ROOT: Final = replace(
    policy(image="{{hub .ManagedClusterName hub}}", clusters=NAMES), hub_templates=True
)


def hub(asked: Mapping[str, int], of: Snapshot | None = None) -> Snapshot:
    """The fleet with each cluster asked for the release of this number; `of`: in the middle of it."""
    found = of or snapshot(
        cgu(clusters=NAMES), clusters={c: Cluster(c) for c in NAMES}, policies=[ROOT]
    )
    return replace(found, resolved={ROOT.ref: {c: RELEASES[n] for c, n in asked.items()}})


def passed(seen: Snapshot, **facts: Fact) -> Snapshot:
    """One pass later: what each cluster shows is what its state lets expect, but for `facts`."""
    phases = stored_phases(seen.cgu.status)
    shown = {c: facts.get(c, SEEN.get(phase, Fact.UNASKED)) for c, phase in phases.items()}
    seen = replace(seen, sights=snapshot(facts=shown).sights)
    return replace(seen, cgu=changed(seen.cgu, status=one_pass(seen).status))


def begun(**facts: Fact) -> Snapshot:
    """All clusters are Active, or where `facts` bring them."""
    return gone_on(hub(AT_FIRST), **facts)


def gone_on(seen: Snapshot, **facts: Fact) -> Snapshot:
    """Some passes later."""
    for _ in range(6):
        seen = passed(seen, **facts)
    return seen


def phases_of(seen: Snapshot) -> Mapping[str, Phase]:
    return stored_phases(seen.cgu.status)


def own(seen: Snapshot) -> dict[str, str]:
    """The image that each cluster has begun with."""
    found = stored_specifications(seen.cgu.status)
    assert found is not None
    return {
        c: found.of_cluster(c).platform_image
        for c, phase in phases_of(seen).items()
        if phase not in BEFORE_SETUP
    }


def wire(status: CguStatus) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Image -> number of clusters, who has begun; the commonest first, whose number is not told."""
    block = status.precaching
    assert block is not None and block.spec is not None
    entries = {
        (entry.spec or PrecachingSpec()).platform_image: (entry.clusters, entry.begun or ())
        for entry in block.specs or ()
    }
    return {block.spec.platform_image: (0, ())} | entries


def test_the_status_has_the_commonest_and_the_others_with_their_counts() -> None:
    seen = passed(hub(AT_FIRST))
    assert wire(seen.cgu.status) == {image(1): (0, ()), image(2): (2, ()), image(3): (1, ())}


def test_every_cluster_begins_with_its_own_and_is_named_with_it() -> None:
    seen = begun()
    assert set(phases_of(seen).values()) == {P.ACTIVE}
    assert own(seen) == {cluster: image(number) for cluster, number in AT_FIRST.items()}
    assert wire(seen.cgu.status) == {
        image(1): (0, ()),
        image(2): (2, ("d", "e")),
        image(3): (1, ("f",)),
    }


def test_a_change_of_one_variant_waits_for_its_own_attempts_alone() -> None:
    held = dict.fromkeys("ab", Fact.UNANSWERED)
    seen = begun(d=Fact.JOB_ACTIVE, **held)
    ended = passed(seen, f=Fact.JOB_SUCCEEDED, **held)
    after = hub(AT_FIRST | {"d": 4, "e": 4, "f": 5}, ended)
    found = prepare(after)
    assert found.change is Change.AWAITED
    assert found.waiting == frozenset(), "who has not begun is asked for what it was asked for"
    later = passed(after)
    assert phases_of(later) == dict.fromkeys("ab", P.STARTING) | {
        "c": P.ACTIVE, "d": P.ACTIVE, "e": P.ACTIVE, "f": P.SUCCEEDED,
    }  # fmt: skip
    assert own(later)["d"] == image(2), "it keeps what it began with"
    gone = passed(passed(later, d=Fact.JOB_SUCCEEDED), e=Fact.JOB_FAILED)
    renewed = passed(gone)
    assert {c for c, phase in phases_of(renewed).items() if phase is P.NOT_STARTED} == set("def")
    assert {c: own(renewed)[c] for c in "abc"} == dict.fromkeys("abc", image(1))


def test_who_is_asked_for_something_new_waits_with_the_change() -> None:
    seen = begun(e=Fact.UNANSWERED)
    assert phases_of(seen)["e"] is P.PREPARING
    after = hub(AT_FIRST | {"d": 4, "e": 4}, seen)
    assert prepare(after).waiting == {"e"}
    later = passed(after, e=Fact.CLEAN)
    assert phases_of(later)["e"] is P.PREPARING
    block = later.cgu.status.precaching
    assert block is not None
    assert [(entry.cluster, entry.reason) for entry in block.failures or ()] == [
        ("e", "SpecificationChanged")
    ]
    assert "e" not in (block.waits or {}), "its clock stands still"


def test_a_change_that_concerns_nobody_who_has_begun_needs_no_turn() -> None:
    seen = begun(f=Fact.UNANSWERED)
    later = passed(passed(hub(AT_FIRST | {"f": 2}, seen)))
    assert own(later) == {c: image(n) for c, n in (AT_FIRST | {"f": 2}).items()}
    new = passed(passed(hub(AT_FIRST | {"f": 7}, seen)))
    assert own(new)["f"] == image(7)


def test_another_commonest_outdates_nobody() -> None:
    seen = gone_on(hub(dict.fromkeys("abc", 1) | dict.fromkeys("def", 2)))
    assert seen.cgu.status.precaching is not None
    first = seen.cgu.status.precaching.spec
    for compliant in ("a", "d"):
        fewer = replace(
            policy(image="{{hub x hub}}", clusters=NAMES, compliant=[compliant]), hub_templates=True
        )
        later = passed(replace(seen, policies={fewer.name: (fewer,)}))
        kept = {c: phase for c, phase in phases_of(later).items() if c != compliant}
        assert set(kept.values()) == {P.ACTIVE}
        assert {c: own(later)[c] for c in kept} == {c: own(seen)[c] for c in kept}
        assert later.cgu.status.precaching is not None
        spec = later.cgu.status.precaching.spec
        assert spec is not None
        assert spec.platform_image == image(2 if compliant == "a" else 1)
    assert first is not None


def test_a_tie_is_not_broken_anew_from_pass_to_pass() -> None:
    seen = passed(hub(dict.fromkeys("abcd", 2) | dict.fromkeys("ef", 1)))
    tied = passed(hub(dict.fromkeys("abc", 2) | dict.fromkeys("def", 1), seen))
    assert wire(tied.cgu.status) == {image(2): (0, ()), image(1): (3, ())}
    other = passed(hub(dict.fromkeys("abcd", 1) | dict.fromkeys("ef", 2)))
    tied = passed(hub(dict.fromkeys("abc", 1) | dict.fromkeys("def", 2), other))
    assert wire(tied.cgu.status) == {image(1): (0, ()), image(2): (3, ())}


def test_while_children_are_not_known_nobody_is_given_what_another_is_asked_for() -> None:
    seen = begun(f=Fact.UNANSWERED)
    unknown = replace(seen, resolved={})
    found = prepare(unknown)
    assert not found.held
    assert found.waiting == {"f"}
    later = passed(unknown, f=Fact.CLEAN, a=Fact.JOB_SUCCEEDED)
    assert (phases_of(later)["a"], phases_of(later)["f"]) == (P.SUCCEEDED, P.PREPARING)
    block = later.cgu.status.precaching
    assert block is not None and not block.failures, "the hub is about to tell"
    assert own(later) == own(seen) | {"a": image(1)}


def test_a_specification_that_cannot_be_derived_is_told_to_those_who_wait_for_it() -> None:
    seen = replace(begun(f=Fact.UNANSWERED), sources=SpecSources(config_name="gone"))
    later = passed(seen, f=Fact.CLEAN)
    assert phases_of(later)["f"] is P.PREPARING
    block = later.cgu.status.precaching
    assert block is not None
    ((cluster, reason, message),) = [
        (entry.cluster, entry.reason, entry.message) for entry in block.failures or ()
    ]
    assert (cluster, reason) == ("f", "SpecificationUnknown")
    assert 'PreCachingConfig.ran.openshift.io "gone" not found' in message
    assert own(later) == own(seen)


def test_without_the_others_on_the_wire_whoever_differs_is_cached_once_more() -> None:
    seen = begun()
    ended = passed(seen, **dict.fromkeys(NAMES, Fact.JOB_SUCCEEDED))
    assert ended.cgu.status.precaching is not None
    cut = changed(ended.cgu.status.precaching, specs=None)  # a CRD that is older, and a restart
    after = replace(ended, cgu=changed(ended.cgu, status=changed(ended.cgu.status, precaching=cut)))
    again = passed(after)
    assert {c for c, phase in phases_of(again).items() if phase is P.NOT_STARTED} == set("def")
    assert own(again) == dict.fromkeys("abc", image(1))


def test_a_cluster_that_left_the_plan_is_remembered_with_what_it_is_cached_for() -> None:
    ended = passed(begun(), **dict.fromkeys(NAMES, Fact.JOB_SUCCEEDED))
    fewer = replace(ROOT, compliance={**ROOT.compliance, "f": "Compliant"})
    left = passed(replace(ended, policies={fewer.name: (fewer,)}))
    assert own(left)["f"] == image(3)
    changed_meanwhile = passed(hub(AT_FIRST | {"f": 1}, replace(left, policies=ended.policies)))
    assert phases_of(changed_meanwhile)["f"] is P.NOT_STARTED
    assert {c for c, phase in phases_of(changed_meanwhile).items() if phase is P.SUCCEEDED} == set(
        "abcde"
    )


class Fleet:
    """Passes over a fleet whose policies change and whose Jobs end at any time, and what must hold."""

    def __init__(self) -> None:
        self.asked = dict(AT_FIRST)
        self.seen = hub(self.asked)
        self.keeps: dict[str, str] = {}

    def ask(self, cluster: str, number: int) -> None:
        self.asked[cluster] = number
        self.seen = hub(self.asked, self.seen)

    def go(self, ending: Mapping[str, Fact]) -> None:
        before = phases_of(self.seen)
        asked = {cluster: image(number) for cluster, number in self.asked.items()}
        outdated = {c for c, kept in self.keeps.items() if kept != asked[c]}
        active = {c: fact for c, fact in ending.items() if before.get(c) is P.ACTIVE}
        self.seen = passed(self.seen, **active)
        after = phases_of(self.seen)
        now = own(self.seen)
        for cluster, phase in after.items():
            if cluster in self.keeps and phase is P.NOT_STARTED:
                assert cluster in outdated, f"{cluster} is sent back without a reason"
            elif cluster in self.keeps:
                assert now[cluster] == self.keeps[cluster], f"{cluster} got another one under way"
        self.keeps = now

    def settle(self) -> None:
        for _ in range(40):
            before = self.seen.cgu.status
            self.go(dict.fromkeys(NAMES, Fact.JOB_SUCCEEDED))
            if self.seen.cgu.status == before:
                return


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5), max_size=2),
            st.dictionaries(
                st.sampled_from(NAMES),
                st.sampled_from([Fact.JOB_SUCCEEDED, Fact.JOB_FAILED, Fact.JOB_MISSING]),
                max_size=3,
            ),
        ),
        max_size=12,
    )
)
def test_whatever_changes_when_everybody_ends_with_what_it_is_asked_for(
    course: list[tuple[dict[str, int], dict[str, Fact]]],
) -> None:
    fleet = Fleet()
    for asks, ending in course:
        for cluster, number in asks.items():
            fleet.ask(cluster, number)
        fleet.go(ending)
    fleet.settle()
    assert set(phases_of(fleet.seen).values()) <= FINAL_PHASES
    assert fleet.keeps == {cluster: image(number) for cluster, number in fleet.asked.items()}
    status = fleet.seen.cgu.status
    assert passed(fleet.seen).cgu.status == status, "at rest nothing is written"
    counted = sum(count for count, _ in wire(status).values())
    common = status.precaching.spec if status.precaching else None
    assert common is not None
    assert counted == sum(found != common.platform_image for found in fleet.keeps.values())
    assert not any(move.effects for move in decide(fleet.seen).moves)


class Counting(dict[str, ResolvedPolicy]):
    """Children that count how often they are asked for."""

    asked = 0

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        type(self).asked += 1
        return super().get(key, default)


def test_a_pass_asks_for_each_child_a_few_times_however_many_clusters_differ() -> None:
    names = [f"c{n:04}" for n in range(1000)]
    root = replace(ROOT, compliance=dict.fromkeys(names, "NonCompliant"))
    children = Counting({c: RELEASES[n % 10] for n, c in enumerate(names)})
    seen = snapshot(
        cgu(clusters=tuple(names)),
        clusters={c: Cluster(c) for c in names},
        policies=[root],
        resolved={root.ref: children},
    )
    Counting.asked = 0
    after = one_pass(seen).status
    assert Counting.asked <= 2 * len(names)
    assert len(wire(after)) == 10
    assert IMAGE not in wire(after)
