"""Policies with hub templates: clusters are grouped by what is asked of them, each gets its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from talm.api.words import Phase
from talm.core.model import (
    GraphAnswer,
    GraphQuery,
    Json,
    ResolvedPolicy,
    RootPolicy,
    Snapshot,
    SpecSources,
)
from talm.core.precache_spec import Invalid, Pending
from talm.core.prepare import prepare
from talm.core.specifications import MAX_BYTES, MAX_OTHERS
from talm.core.variants import Derived, Variant, derive_for_all, variants

from .given import CNFDB, IMAGE, POLICY, SPEC, both, cgu, policy, snapshot, status

OTHER: Final = "quay.io/other@sha256:" + "1" * 64


def release(**update: str) -> ResolvedPolicy:
    wanted: Mapping[str, Json] = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "spec": {"upstream": "https://graph", "channel": "stable", "desiredUpdate": update},
    }
    return ResolvedPolicy((wanted,))


def templated(name: str = POLICY, compliance: Mapping[str, str] | None = None) -> RootPolicy:
    root = replace(policy(name, image="{{hub .ManagedClusterName hub}}"), hub_templates=True)
    return root if compliance is None else replace(root, compliance=compliance)


def asked(of: RootPolicy, **children: ResolvedPolicy) -> Snapshot:
    return snapshot(policies=[of], resolved={of.ref: children})


def test_policies_without_hub_templates_are_one_variant_whatever_the_clusters() -> None:
    plain = policy()
    assert variants([plain], {}, CNFDB) == (Variant((plain,)),)


def test_clusters_of_which_the_same_is_asked_are_one_variant() -> None:
    same, other = release(image=IMAGE), release(image=OTHER)
    root = templated()
    children = {"c1": same, "c2": other, "c3": same}
    found = variants([root], {root.ref: children}, children)
    assert found is not None
    assert [(variant.clusters, variant.policies[0].objects) for variant in found] == [
        (("c1", "c3"), same.objects),
        (("c2",), other.objects),
    ]
    assert [variant.first for variant in found] == ["c1", "c2"]


def test_until_all_children_are_known_there_is_no_variant() -> None:
    one, two = templated("one"), templated("two")
    assert variants([one, two], {one.ref: {}}, CNFDB) is None


def test_of_a_cluster_that_it_does_not_match_a_policy_asks_nothing() -> None:
    root, plain = templated(compliance={"c2": "NonCompliant"}), policy("plain")
    found = variants([plain, root], {root.ref: {}}, ["c1"])
    assert found == (Variant((plain,)),)


def test_a_policy_without_a_child_on_a_cluster_that_it_matches_stands_as_it_is() -> None:
    root = templated()
    found = prepare(asked(root)).validation_problem
    assert found is not None
    assert found.message == "templatized ClusterVersion fields not supported with precaching"


def test_what_the_children_agree_on_is_the_specification() -> None:
    found = prepare(asked(templated(), cnfdb1=release(image=IMAGE), cnfdb2=release(image=IMAGE)))
    assert (found.held, found.spec) == (False, SPEC)


def test_only_the_clusters_that_are_to_be_updated_must_agree() -> None:
    root = templated(compliance={"cnfdb1": "NonCompliant", "cnfdb2": "Compliant"})
    found = prepare(asked(root, cnfdb1=release(image=IMAGE), cnfdb2=release(image=OTHER)))
    assert (found.plan, found.spec) == (("cnfdb1",), SPEC)


def test_each_cluster_gets_what_it_is_asked_for() -> None:
    found = prepare(asked(templated(), cnfdb1=release(image=OTHER), cnfdb2=release(image=IMAGE)))
    assert found.specs is not None
    images = {cluster: found.specs.of_cluster(cluster).platform_image for cluster in found.plan}
    assert (found.held, images) == (False, {"cnfdb1": OTHER, "cnfdb2": IMAGE})


def test_one_cluster_without_a_valid_specification_holds_all_and_is_named() -> None:
    unsaid = release(version="")
    found = prepare(asked(templated(), cnfdb1=release(image=IMAGE), cnfdb2=unsaid))
    problem = found.validation_problem or found.spec_problem
    assert found.held and problem is not None
    broken = ResolvedPolicy(broken="hub template: no such ConfigMap")
    found = prepare(asked(templated(), cnfdb1=release(image=IMAGE), cnfdb2=broken))
    assert found.spec_problem is not None
    assert "policy ztp-group/du-upgrade-platform-upgrade on cluster cnfdb2: hub template: no" in (
        found.spec_problem.message
    )


def test_variants_that_come_to_the_same_specification_share_it() -> None:
    image = {"image": IMAGE}
    one, other = release(version="4.14.1", **image), release(version="4.14.2", **image)
    found = prepare(asked(templated(), cnfdb1=one, cnfdb2=other))
    assert found.specs is not None
    assert (dict(found.specs.of), found.spec) == ({}, SPEC)


def in_variants(number: int, *, width: int = 0) -> Derived | Invalid | Pending:
    """What is derived for as many clusters, each asked for something else."""
    root = templated()
    names = [f"c{n:05}" for n in range(number)]
    images = {name: f"quay.io/{'x' * width}/release:{name}" for name in names}
    found = variants([root], {root.ref: {c: release(image=images[c]) for c in names}}, names)
    assert found is not None
    return derive_for_all(cgu(), found, SpecSources(), ())


def test_more_specifications_than_a_status_holds_are_refused_with_a_way_out() -> None:
    assert isinstance(in_variants(MAX_OTHERS + 1), Derived)
    for verdict in (in_variants(MAX_OTHERS + 2), in_variants(1000)):
        assert isinstance(verdict, Invalid)
        assert verdict.message == (
            "Precaching spec is incomplete: the policies ask the clusters for more than 51 different"
            " things; divide the clusters among several ClusterGroupUpgrades"
        )


def test_few_specifications_that_are_very_long_are_refused_as_well() -> None:
    assert isinstance(in_variants(1, width=MAX_BYTES), Derived)
    verdict = in_variants(2, width=MAX_BYTES // 2)
    assert isinstance(verdict, Invalid)
    assert "take more than 32 KiB" in verdict.why


def test_nothing_is_said_before_the_hub_has_told_of_all_children() -> None:
    root = templated()
    found = prepare(snapshot(policies=[root]))
    assert (found.pending, found.validation_problem, found.spec_problem) == (True, None, None)


def test_whoever_has_begun_goes_on_while_children_are_not_known() -> None:
    seen = snapshot(cgu(status(both(Phase.ACTIVE))), policies=[templated()])
    assert (prepare(seen).held, prepare(seen).spec) == (False, SPEC)


def test_without_pre_caching_nobody_waits_for_children() -> None:
    assert not prepare(snapshot(cgu(pre_caching=False), policies=[templated()])).held


def test_the_questions_of_all_variants_are_asked_at_once() -> None:
    queries = [GraphQuery("https://graph", "stable", version) for version in ("1", "2")]
    found = [
        Variant((replace(policy(), objects=release(version=query.version).objects),), query.version)
        for query in queries
    ]

    def derive(**answers: str) -> object:
        graph = {q: GraphAnswer(image=answers.get(f"v{q.version}", "")) for q in queries}
        return derive_for_all(cgu(), found, SpecSources(graph=graph), ())

    assert derive() == Pending(frozenset(queries))
    assert derive(v1=IMAGE) == Pending(frozenset(queries[1:]))
    assert isinstance(derive(v1=IMAGE, v2=OTHER), Derived)
