"""What is to be cached: kept when it has changed, unexplained when it is wrong, silently less than asked."""

from __future__ import annotations

import msgspec

from talm.api import ocm
from talm.api.meta import ObjectMeta
from talm.api.precaching import Overrides, PreCachingConfig, PreCachingConfigSpec
from talm.core.decide import decide
from talm.core.model import SpecSources
from talm.core.precache_spec import Invalid, SpecVerdict, Valid, derive
from talm.hub.policyreader import read_policy
from tests.core.given import POLICY, cgu, conditions, one_pass, policy, snapshot
from tests.scenarios.spoke import Habits

from .mutant import Mutation
from .registry import known_fault
from .worlds import HOUR, Fleet


def config(spec: PreCachingConfigSpec) -> SpecSources:
    """What a CGU's PreCachingConfig says."""
    found = PreCachingConfig(metadata=ObjectMeta(name="config", namespace="ztp"), spec=spec)
    return SpecSources(config=found, config_name="config")


def derived(spec: PreCachingConfigSpec, *, releases: bool = False) -> SpecVerdict:
    """What a PreCachingConfig comes to, beside a policy that asks for a release or beside none."""
    return derive(cgu(), (policy(),) if releases else (), config(spec), ())


@known_fault(
    "What is to be cached is worked out once; when policies or overrides change afterwards, the cache "
    "stays old.",
    here="Until the update begins outdated clusters return to NotStarted and are brought up to date.",
    mutation=Mutation(
        "talm.core.renewal",
        "c for c in begun & planned if stored.hash_of(c) != derived.hash_of(c)",
        "c for c in begun & planned if False",
    ),
)
def test_clusters_that_were_cached_for_an_older_specification_are_brought_up_to_date() -> None:
    fleet = Fleet({"one": Habits(), "two": Habits()})
    fleet.create(enable=False)
    newer = "quay.io/release@sha256:" + "4e" * 32
    fleet.at(HOUR, lambda: fleet.ask_for(newer))
    fleet.run(until=3 * HOUR)
    precaching = fleet.status().precaching
    assert precaching is not None
    assert precaching.spec is not None
    assert precaching.spec.platform_image == newer
    assert fleet.states() == {"one": "Succeeded", "two": "Succeeded"}
    assert (fleet.jobs("one"), fleet.jobs("two")) == (2, 2)


@known_fault(
    "A policy that cannot be read ends every pass, and nothing tells of it but the operator's log.",
    here="`Validated=False` names the policy, and an event says what is wrong with it.",
    mutation=Mutation("talm.hub.policyreader", "        broken = str(exc)", '        broken = ""'),
)
def test_a_policy_that_cannot_be_read_is_told_of_to_its_user() -> None:
    both = {"object-templates": [], "object-templates-raw": ""}
    template = {"objectDefinition": {"kind": "ConfigurationPolicy", "spec": both}}
    body = {
        "metadata": {"name": POLICY, "namespace": "ztp-group"},
        "spec": {"policy-templates": [template]},
    }
    seen = snapshot(policies=[read_policy(msgspec.convert(body, ocm.Policy))])
    assert conditions(one_pass(seen).status)["Validated"] == (
        "False",
        "NotAllManagedPoliciesExist",
        f"Invalid managed policies: [{POLICY}] ",
    )
    found = decide(seen).prepared
    assert found is not None
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(f"policy ztp-group/{POLICY} cannot be read: ")


@known_fault(
    "A specification of `additionalImages` alone is refused.",
    here="It is valid.",
    mutation=Mutation(
        "talm.core.precache_spec",
        "elif not (spec.operators_indexes or spec.platform_image or spec.additional_images):",
        "elif not (spec.operators_indexes or spec.platform_image):",
    ),
)
def test_additional_images_alone_are_not_refused() -> None:
    found = derived(PreCachingConfigSpec(additional_images=("registry.example/one:1",)))
    assert isinstance(found, Valid)
    assert found.spec.additional_images == ("registry.example/one:1",)


@known_fault(
    "Packages without a catalog are silently left out.",
    here="They are an error.",
    mutation=Mutation(
        "talm.core.precache_spec", "elif asked and not spec.operators_indexes:", "elif False:"
    ),
)
def test_packages_without_a_catalog_are_an_error_and_not_left_out() -> None:
    overrides = Overrides(operators_packages_and_channels=("ptp-operator:stable",))
    found = derived(PreCachingConfigSpec(overrides=overrides), releases=True)
    assert isinstance(found, Invalid)
    assert found.why.endswith("packages provided, but no olm index")
