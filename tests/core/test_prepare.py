"""What is true of a CGU before any cluster is looked at, in the order in which users hear it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from talm.api.cgu import NamespacedName, PrecachingSpec
from talm.api.meta import ObjectMeta
from talm.api.precaching import Overrides, PreCachingConfig, PreCachingConfigSpec
from talm.api.words import Phase
from talm.core.model import (
    Cluster,
    GraphAnswer,
    GraphQuery,
    Json,
    RootPolicy,
    Rules,
    Snapshot,
    SpecSources,
)
from talm.core.prepare import FIVE_MINUTES, prepare
from talm.core.story import Problem

from .given import CNFDB, IMAGE, POLICY, SPEC, both, cgu, policy, snapshot, status

P: Final = Phase
QUERY: Final = GraphQuery("https://graph.example", "stable-4.11", "4.11.4")
OWN_IMAGE: Final = "quay.io/ours/workload@sha256:" + "2" * 64


def asking_the_graph(answer: GraphAnswer | None, seen: Snapshot | None = None) -> Snapshot:
    """The policy names a version, not an image."""
    version: Mapping[str, Json] = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "spec": {
            "upstream": QUERY.upstream,
            "channel": QUERY.channel,
            "desiredUpdate": {"version": QUERY.version},
        },
    }
    words = dict.fromkeys(CNFDB, "NonCompliant")
    asks = RootPolicy("ztp-group", POLICY, compliance=words, objects=(version,))
    graph = {} if answer is None else {QUERY: answer}
    return replace(seen or snapshot(), policies={POLICY: (asks,)}, sources=SpecSources(graph=graph))


def configured(
    seen: Snapshot, spec: PreCachingConfigSpec, allowed: tuple[str, ...] = (OWN_IMAGE,)
) -> Snapshot:
    """The CGU's PreCachingConfig is there and says `spec`."""
    config = PreCachingConfig(metadata=ObjectMeta(name="pcc"), spec=spec)
    sources = SpecSources(config=config, config_name="pcc")
    return replace(seen, sources=sources, rules=Rules(allowed_workload_images=allowed))


def test_a_well_formed_cgu_has_a_plan_and_a_specification() -> None:
    found = prepare(snapshot())
    assert (found.plan, found.batches, found.max_concurrency) == (CNFDB, (CNFDB,), 2)
    assert (found.precaching_required, found.spec, found.held) == (True, SPEC, False)
    assert found.look_again_after is None


def test_the_batch_size_counts_the_selected_clusters_and_the_plan_those_to_update() -> None:
    of = cgu(strategy={"max_concurrency": 5, "canaries": ("cnfdb2",)})
    found = prepare(snapshot(of))
    assert found.max_concurrency == 2
    assert found.batches == (("cnfdb2",), ("cnfdb1",))
    fewer = prepare(snapshot(cgu(), policies=[policy(compliant=["cnfdb1"])]))
    assert (fewer.max_concurrency, fewer.plan) == (2, ("cnfdb2",))


def test_an_unknown_cluster_is_heard_before_anything_else() -> None:
    found = prepare(snapshot(clusters={"cnfdb1": Cluster("cnfdb1")}, policies=()))
    text = "Unable to select clusters: cluster cnfdb2 is not a ManagedCluster"
    assert found.selection_problem == Problem(
        "ClusterNotFound", text, "UpgradeCannotStart", f"The ClusterGroupUpgrade CR: {text}"
    )
    assert (found.held, found.plan, found.look_again_after) == (True, (), FIVE_MINUTES)


def test_a_missing_policy_is_heard_in_the_words_of_both_vocabularies() -> None:
    found = prepare(snapshot(policies=()))
    assert found.validation_problem == Problem(
        "NotAllManagedPoliciesExist",
        f"Missing managed policies: [{POLICY}] ",
        "UpgradeCannotStart",
        f"The ClusterGroupUpgrade CR has: missing managed policies: [{POLICY}] ",
    )
    assert found.held is True


def test_a_problem_that_the_manual_does_not_know_has_the_current_words() -> None:
    two = [
        replace(policy("a"), depends_on=("b",)),
        policy("b"),
    ]
    found = prepare(snapshot(cgu(managed_policies=("a", "b")), policies=two))
    text = "Managed Policy a depends on b, which is to be remediated later"
    assert found.validation_problem == Problem(
        "UnresolvableDenpendency", text, "UpgradeCannotStart", f"The ClusterGroupUpgrade CR: {text}"
    )


def test_why_a_policy_cannot_be_read_is_told_beside_the_condition() -> None:
    broken = replace(policy(), broken="object-templates-raw is not a list")
    found = prepare(snapshot(policies=[broken]))
    assert found.validation_problem is not None
    assert found.validation_problem.message == f"Invalid managed policies: [{POLICY}] "
    assert found.warnings == (
        f"policy ztp-group/{POLICY} cannot be read: object-templates-raw is not a list",
    )


def test_templates_are_refused_rather_than_passed_over() -> None:
    found = prepare(snapshot(cgu(manifest_work_templates=("t",))))
    assert found.validation_problem is not None
    assert found.validation_problem.reason == "Unsupported"


def test_conflicting_platform_images_are_invalid_also_without_pre_caching() -> None:
    other = policy("b", image="quay.io/other@sha256:" + "1" * 64)
    of = cgu(managed_policies=(POLICY, "b"), pre_caching=False)
    found = prepare(snapshot(of, policies=[policy(), other]))
    assert found.validation_problem is not None
    assert found.validation_problem.reason == "InvalidPlatformImage"


# --- the update graph ---


def test_until_the_update_graph_has_answered_nothing_is_said_and_nothing_begins() -> None:
    found = prepare(asking_the_graph(None))
    assert (found.pending, found.held) == (True, True)
    assert (found.validation_problem, found.spec_problem) == (None, None)


def test_the_graphs_answer_is_the_platform_image() -> None:
    found = prepare(asking_the_graph(GraphAnswer(image=IMAGE)))
    assert found.spec == SPEC


def test_an_error_of_the_graph_is_invalid() -> None:
    text = "unable to find version 4.11.4 on update graph on url https://graph.example"
    found = prepare(asking_the_graph(GraphAnswer(error=text)))
    assert found.validation_problem is not None
    assert found.validation_problem.message == text


def test_whoever_has_begun_is_not_held_by_a_graph_that_fails() -> None:
    under_way = snapshot(cgu(status({"cnfdb1": P.STARTING, "cnfdb2": P.NOT_STARTED})))
    for answer in (None, GraphAnswer(error="error response from update graph url U: 503")):
        found = prepare(asking_the_graph(answer, under_way))
        assert (found.held, found.spec) == (False, SPEC)


def test_a_specification_that_was_lost_is_derived_again_once_the_graph_has_answered() -> None:
    lost = snapshot(cgu(status(both(P.STARTING), spec=PrecachingSpec())))
    assert prepare(asking_the_graph(None, lost)).pending is True
    assert prepare(asking_the_graph(GraphAnswer(image=IMAGE), lost)).spec == SPEC


# --- the specification ---


def test_without_anything_to_update_no_specification_is_needed() -> None:
    for seen in (
        snapshot(policies=[policy(compliant=CNFDB)]),
        snapshot(cgu(pre_caching=False)),
    ):
        found = prepare(seen)
        assert (found.precaching_required, found.spec, found.held) == (False, None, False)


def test_a_missing_pre_caching_config_is_named() -> None:
    of = cgu(pre_caching_config_ref=NamespacedName(name="pcc"))
    found = prepare(snapshot(of, sources=SpecSources(config_name="pcc")))
    text = (
        "failed to get PreCachingConfig resource due to "
        'PreCachingConfig.ran.openshift.io "pcc" not found'
    )
    assert found.spec_problem == Problem(
        "PrecacheSpecIncomplete",
        f"Precaching spec is incomplete: {text}",
        "PrecacheSpecIsIncomplete",
        text,
    )
    assert (found.held, found.precaching_required, found.look_again_after) == (
        True,
        True,
        FIVE_MINUTES,
    )


def test_a_release_that_only_the_clusters_know_may_be_named_by_the_pre_caching_config() -> None:
    of = snapshot(policies=[policy(image="{{ .Data.image }}")])
    refused = prepare(of).validation_problem
    assert refused is not None
    assert refused.message == "templatized ClusterVersion fields not supported with precaching"
    named = PreCachingConfigSpec(overrides=Overrides(platform_image=IMAGE))
    found = prepare(configured(of, named))
    assert (found.held, found.spec) == (False, SPEC)


def test_a_specification_that_became_invalid_does_not_hold_those_who_have_begun() -> None:
    seen = snapshot(cgu(status(both(P.STARTING))), sources=SpecSources(config_name="pcc"))
    found = prepare(seen)
    assert (found.held, found.spec) == (False, SPEC)


def test_a_workload_image_that_is_not_allowed_makes_the_specification_invalid() -> None:
    wanted = PreCachingConfigSpec(overrides=Overrides(pre_cache_image=OWN_IMAGE))
    assert prepare(configured(snapshot(), wanted)).spec == SPEC
    refused = prepare(configured(snapshot(), wanted, allowed=()))
    assert refused.spec_problem is not None
    assert "allowedWorkloadImages" in refused.spec_problem.message


def test_what_was_given_without_effect_is_told_whatever_becomes_of_the_specification() -> None:
    ignored = {"platform.image": "quay.io/other:latest"}
    for seen in (
        snapshot(sources=SpecSources(overrides=ignored)),
        snapshot(sources=SpecSources(overrides=ignored, config_name="missing")),
        snapshot(cgu(status(both(P.STARTING))), sources=SpecSources(overrides=ignored)),
    ):
        (warning,) = prepare(seen).warnings
        assert "platform.image is ignored" in warning
