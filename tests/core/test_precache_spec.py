"""The specification: a golden corpus of policies -> specification or message, and its properties.

Each file of the corpus is one case: Policies (in the order of the plan), at most one PreCachingConfig
and one ConfigMap as users write them; `Given` has what the hub's surroundings say, `Expected` what
comes out: `spec`, or `message` (and `manual`), or `pending`; a `Child` is what the hub has made of a
policy with hub templates for one `cluster`; `validated` is the Validated condition's
message about the platform image ("" is fine).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talm.api.cgu import (
    CguSpec,
    ClusterGroupUpgrade,
    PolicyRef,
    PrecachingSpec,
    RemediationStrategy,
)
from talm.api.meta import ObjectMeta
from talm.api.ocm import Policy
from talm.api.precaching import PreCachingConfig
from talm.api.words import Reason
from talm.core.model import (
    GraphAnswer,
    GraphQuery,
    Hold,
    ResolvedPolicy,
    RootPolicy,
    SpecSources,
)
from talm.core.precache_spec import (
    Invalid,
    Pending,
    platform_queries,
    spec_hash,
    validate_platform_image,
    workload_image,
)
from talm.core.variants import Derived, Resolved, Variant, derive_for_all, variants
from talm.hub.policyreader import read_child, read_policy

CORPUS: Final = sorted((Path(__file__).parent / "data" / "precache_spec").glob("*.yaml"))


@dataclasses.dataclass(frozen=True)
class Case:
    policies: tuple[RootPolicy, ...]
    resolved: Resolved
    clusters: tuple[str, ...]
    sources: SpecSources
    allowed: tuple[str, ...]
    expected: Mapping[str, Any]

    def derive(self) -> Derived | Invalid | Pending:
        cgu = ClusterGroupUpgrade(
            metadata=ObjectMeta(namespace="ztp", name="upgrade"),
            spec=CguSpec(remediation_strategy=RemediationStrategy(max_concurrency=1)),
        )
        return derive_for_all(cgu, self.variants, self.sources, self.allowed)

    @property
    def variants(self) -> tuple[Variant, ...]:
        known = {policy.ref: self.resolved.get(policy.ref, {}) for policy in self.policies}
        found = variants(self.policies, known, self.clusters)
        assert found is not None
        return found


def read(file: Path) -> Case:
    kinds: dict[str, list[Any]] = {}
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        kinds.setdefault(document.pop("kind"), []).append(document)
    given_ = kinds.get("Given", [{}])[0]
    config = kinds.get("PreCachingConfig", [None])[0]
    children = kinds.get("Child", [])
    resolved: dict[PolicyRef, dict[str, ResolvedPolicy]] = {}
    for child in children:
        namespace, _, name = child["metadata"]["name"].partition(".")
        by_cluster = resolved.setdefault(PolicyRef(namespace=namespace, name=name), {})
        by_cluster[child["metadata"]["namespace"]] = read_child(msgspec.convert(child, Policy))
    return Case(
        policies=tuple(
            read_policy(msgspec.convert(found, Policy)) for found in kinds.get("Policy", [])
        ),
        resolved=resolved,
        clusters=tuple(child["metadata"]["namespace"] for child in children) or ("cnfdb1",),
        sources=SpecSources(
            config=msgspec.convert(config, PreCachingConfig) if config else None,
            config_name="fine-tuning" if config else given_.get("configName", ""),
            overrides=kinds.get("ConfigMap", [{"data": {}}])[0]["data"],
            graph=dict(map(answer, given_.get("graph", []))),
        ),
        allowed=tuple(given_.get("allowedWorkloadImages", ())),
        expected=kinds["Expected"][0],
    )


def answer(entry: Mapping[str, str]) -> tuple[GraphQuery, GraphAnswer]:
    return query(entry), GraphAnswer(entry.get("image", ""), entry.get("error", ""))


def query(entry: Mapping[str, str]) -> GraphQuery:
    return GraphQuery(entry["upstream"], entry["channel"], entry["version"], entry.get("arch", ""))


def by_name(file: Path) -> str:
    return file.stem


@pytest.mark.parametrize("file", CORPUS, ids=by_name)
def test_the_corpus_has_the_specification_or_message_written_beside_it(file: Path) -> None:
    case = read(file)
    expected = case.expected
    assert not [policy.broken for policy in case.policies if policy.broken]
    match case.derive():
        case Derived(specs, warnings):
            assert specs.spec == msgspec.convert(expected["spec"], PrecachingSpec)
            others = msgspec.convert(expected.get("others", {}), dict[str, PrecachingSpec])
            assert specs.others == others
            image = workload_image(case.sources, case.allowed)
            assert image == expected.get("workloadImage", "")
            assert list(warnings) == expected.get("warnings", [])
        case Invalid() as found:
            assert found.message == expected["message"]
            said = expected["message"].removeprefix("Precaching spec is incomplete: ")
            assert found.manual_message == expected.get("manual", said)
            assert found.reason == Reason.SPEC_INCOMPLETE
            assert found.manual_reason == Reason.SPEC_IS_INCOMPLETE
            assert list(found.warnings) == expected.get("warnings", [])
        case Pending(queries):
            assert queries == frozenset(map(query, expected["pending"]))


@pytest.mark.parametrize("file", CORPUS, ids=by_name)
def test_the_corpus_is_validated_as_written(file: Path) -> None:
    case = read(file)
    for pre_caching, key in ((True, "validated"), (False, "validatedWithoutPreCaching")):
        policies = case.variants[0].policies if pre_caching else case.policies
        found = validate_platform_image(policies, case.sources.graph, pre_caching=pre_caching)
        text = case.expected.get(key, case.expected.get("validated", ""))
        match found:
            case None:
                assert text == ""
            case Pending(queries):
                assert text == "pending"
                assert queries == platform_queries(policies)
            case Hold():
                assert (found.reason, found.message) == (Reason.INVALID_PLATFORM_IMAGE, text)


@pytest.mark.parametrize("file", CORPUS, ids=by_name)
def test_once_all_questions_are_answered_nothing_is_pending(file: Path) -> None:
    case = read(file)
    asked = [platform_queries(variant.policies) for variant in case.variants]
    graph = {query: GraphAnswer(image="found") for queries in asked for query in queries}
    answered = dataclasses.replace(case.sources, graph=graph)
    assert not isinstance(dataclasses.replace(case, sources=answered).derive(), Pending)
    assert all(len(queries) <= 1 for queries in asked)


def test_what_is_wrong_anyway_is_said_before_the_graph_has_answered() -> None:
    slow = read(file_of("the-graph-has-not-answered-yet"))
    bad = read(file_of("a-subscription-without-channel"))
    both = dataclasses.replace(slow, policies=slow.policies + bad.policies)
    assert isinstance(both.derive(), Invalid)


def file_of(name: str) -> Path:
    return next(file for file in CORPUS if file.stem == name)


LISTS = st.lists(st.sampled_from(["a", "b", "c", "d"])).map(tuple)
SPECS = st.builds(
    PrecachingSpec,
    platform_image=st.sampled_from(["", "i1", "i2"]),
    operators_indexes=LISTS,
    operators_packages_and_channels=LISTS,
    operators_starting_csvs=LISTS,
    exclude_precache_patterns=LISTS,
    space_required=st.sampled_from(["35", "36"]),
    additional_images=LISTS,
    nodes=st.sampled_from(["", "all"]),
)


@given(SPECS, SPECS)
def test_two_specifications_have_one_hash_exactly_when_they_ask_for_the_same(
    one: PrecachingSpec, other: PrecachingSpec
) -> None:
    def meaning(spec: PrecachingSpec) -> list[object]:
        values = (getattr(spec, name) for name in PrecachingSpec.__struct_fields__)
        return [frozenset(v) if isinstance(v, tuple) else v for v in values]

    assert (spec_hash(one) == spec_hash(other)) == (meaning(one) == meaning(other))


def test_a_hash_is_fit_for_a_label_and_stays_the_same_between_releases() -> None:
    assert spec_hash(PrecachingSpec(platform_image="i")) == "410932f20582c281"
