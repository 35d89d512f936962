"""The CRDs against the structs that they are made from, and against the existing operator's."""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from talm.api.cgu import ClusterGroupUpgrade
from talm.api.crd import DEFINITIONS, custom_resource_definition, generated, main
from talm.api.precaching import PreCachingConfig

ROOT = Path(__file__).parents[2]
STRUCTS: list[type[msgspec.Struct]] = [ClusterGroupUpgrade, PreCachingConfig]
CRDS = {of.kind.kind: custom_resource_definition(of) for of in DEFINITIONS}

# Every field of the existing operator, from the current one back to 4.10, and our three additions.
CGU_FIELDS = """
spec.actions.afterCompletion.addClusterAnnotations
spec.actions.afterCompletion.addClusterLabels
spec.actions.afterCompletion.deleteClusterLabels
spec.actions.afterCompletion.deleteObjects
spec.actions.afterCompletion.removeClusterAnnotations
spec.actions.afterCompletion.removeClusterLabels
spec.actions.beforeEnable.addClusterAnnotations
spec.actions.beforeEnable.addClusterLabels
spec.actions.beforeEnable.deleteClusterLabels
spec.actions.beforeEnable.removeClusterAnnotations
spec.actions.beforeEnable.removeClusterLabels
spec.backup
spec.batchTimeoutAction
spec.blockingCRs.name
spec.blockingCRs.namespace
spec.clusterLabelSelectors.matchExpressions.key
spec.clusterLabelSelectors.matchExpressions.operator
spec.clusterLabelSelectors.matchExpressions.values
spec.clusterLabelSelectors.matchLabels
spec.clusterSelector
spec.clusters
spec.enable
spec.managedPolicies
spec.manifestWorkTemplates
spec.preCaching
spec.preCachingConfigRef.name
spec.preCachingConfigRef.namespace
spec.remediationStrategy.canaries
spec.remediationStrategy.maxConcurrency
spec.remediationStrategy.timeout
status.backup.clusters
status.backup.startedAt
status.backup.status
status.clusters.currentManifestWork
status.clusters.currentPolicy.name
status.clusters.currentPolicy.status
status.clusters.name
status.clusters.state
status.computedMaxConcurrency
status.conditions.lastTransitionTime
status.conditions.message
status.conditions.observedGeneration
status.conditions.reason
status.conditions.status
status.conditions.type
status.copiedPolicies
status.managedPoliciesCompliantBeforeUpgrade
status.managedPoliciesContent
status.managedPoliciesForUpgrade.name
status.managedPoliciesForUpgrade.namespace
status.managedPoliciesNs
status.placementBindings
status.placementRules
status.placements
status.precaching.clusters
status.precaching.attempt
status.precaching.failures.attempts
status.precaching.failures.class
status.precaching.failures.cluster
status.precaching.failures.image
status.precaching.failures.message
status.precaching.failures.reason
status.precaching.failures.since
status.precaching.failuresByClass
status.precaching.progress.bytesDone
status.precaching.progress.bytesPerS
status.precaching.progress.bytesTotal
status.precaching.progress.clusters
status.precaching.progress.etaS
status.precaching.progress.finished.bytesDone
status.precaching.progress.finished.bytesTotal
status.precaching.progress.finished.clusters
status.precaching.progress.finished.imagesDone
status.precaching.progress.finished.imagesTotal
status.precaching.progress.imagesDone
status.precaching.progress.imagesTotal
status.precaching.progress.told
status.precaching.progress.updatedAt
status.precaching.progress.withoutEstimate
status.precaching.spec.additionalImages
status.precaching.spec.excludePrecachePatterns
status.precaching.spec.nodes
status.precaching.spec.operatorsIndexes
status.precaching.spec.operatorsPackagesAndChannels
status.precaching.spec.operatorsStartingCSVs
status.precaching.spec.platformImage
status.precaching.spec.spaceRequired
status.precaching.specHash
status.precaching.specs.begun
status.precaching.specs.clusters
status.precaching.specs.hash
status.precaching.specs.spec.additionalImages
status.precaching.specs.spec.excludePrecachePatterns
status.precaching.specs.spec.nodes
status.precaching.specs.spec.operatorsIndexes
status.precaching.specs.spec.operatorsPackagesAndChannels
status.precaching.specs.spec.operatorsStartingCSVs
status.precaching.specs.spec.platformImage
status.precaching.specs.spec.spaceRequired
status.precaching.status
status.precaching.verifyingSince
status.precaching.waits.clusters
status.precaching.waits.since
status.precaching.waits.spent
status.remediationPlan
status.safeResourceNames
status.status.completedAt
status.status.currentBatch
status.status.currentBatchRemediationProgress.firstCompliantAt
status.status.currentBatchRemediationProgress.manifestWorkIndex
status.status.currentBatchRemediationProgress.policyIndex
status.status.currentBatchRemediationProgress.state
status.status.currentBatchStartedAt
status.status.startedAt
"""
# The same, and `nodes`.
PCC_FIELDS = """
spec.additionalImages
spec.excludePrecachePatterns
spec.nodes
spec.overrides.operatorsIndexes
spec.overrides.operatorsPackagesAndChannels
spec.overrides.platformImage
spec.overrides.preCacheImage
spec.spaceRequired
"""
HEAD = {"apiVersion", "kind", "metadata"}


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with its path; `[]` is a list's item, `{}` a map's value."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from walk(field, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


ALL_NODES = [(k, path, node) for k in CRDS for path, node in walk(schema_of(k))]
FIELDS = [
    (kind, path, node)
    for kind, path, node in ALL_NODES
    if path and path != "metadata" and not path.endswith(("[]", "{}"))
]


def leaves_of_schema(kind: str) -> set[str]:
    """Fields with no fields inside, without the marks of lists and maps."""
    paths = [path for k, path, _ in FIELDS if k == kind]
    plain = {path.replace("[]", "").replace("{}", "") for path in paths}
    return plain - {path.rpartition(".")[0] for path in plain} - HEAD


def leaves_of_struct(struct: type[msgspec.Struct]) -> Iterator[str]:
    """The same from the struct's annotations, not looked at through the generator."""
    hints = typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        if field.encode_name == "metadata":
            continue
        below = [leaf for kind in structs_in(hints[field.name]) for leaf in leaves_of_struct(kind)]
        yield from (f"{field.encode_name}.{leaf}" for leaf in below)
        if not below:
            yield field.encode_name


def structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [kind for argument in typing.get_args(hint) for kind in structs_in(argument)]


@pytest.mark.parametrize(
    ("struct", "fields"), [(ClusterGroupUpgrade, CGU_FIELDS), (PreCachingConfig, PCC_FIELDS)]
)
def test_struct_schema_and_the_existing_operator_have_the_same_fields(
    struct: type[msgspec.Struct], fields: str
) -> None:
    assert leaves_of_schema(struct.__name__) == set(fields.split())
    assert set(leaves_of_struct(struct)) == set(fields.split())


@pytest.mark.parametrize(
    ("kind", "path", "node"), FIELDS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_field_has_a_description_that_is_a_sentence(
    kind: str, path: str, node: dict[str, Any]
) -> None:
    text = node.get("description", "")
    assert len(text) > 10, f"{kind} {path}"
    assert text == " ".join(text.split()) and text.endswith(".")
    assert text[0].isupper() or text[0] == "`"


def test_the_schema_is_structural_and_asks_for_nothing_twice() -> None:
    for kind, path, node in ALL_NODES:
        where = f"{kind} {path}"
        assert node["type"] in {"object", "array", "string", "integer", "boolean"}, where
        assert not {"$ref", "anyOf", "oneOf", "allOf", "not", "nullable"} & node.keys(), where
        assert ("items" in node) == (node["type"] == "array"), where
        if node["type"] == "integer":
            assert node["format"] in {"int32", "int64"}, where
        if node["type"] == "object" and path != "metadata":
            inside = {"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"}
            assert len(inside & node.keys()) == 1, where


def test_lists_are_atomic_and_so_are_the_maps_of_a_status() -> None:
    for kind, path, node in ALL_NODES:
        if node["type"] == "array":
            assert node["x-kubernetes-list-type"] == "atomic", f"{kind} {path}"
        if "additionalProperties" in node:
            atomic = node.get("x-kubernetes-map-type") == "atomic"
            assert atomic == path.startswith("status"), f"{kind} {path}"


def test_only_the_rollout_and_what_a_reference_needs_is_required() -> None:
    required = {
        f"{path}.{name}".lstrip(".")
        for kind, path, node in ALL_NODES
        for name in node.get("required", ())
    }
    assert required == {
        "spec",
        "spec.remediationStrategy",
        "spec.remediationStrategy.maxConcurrency",
        "spec.blockingCRs[].name",
        "spec.blockingCRs[].namespace",
        "spec.clusterLabelSelectors[].matchExpressions[].key",
        "spec.clusterLabelSelectors[].matchExpressions[].operator",
        "status.conditions[].type",
        "status.conditions[].status",
    }


def test_the_api_server_fills_in_the_existing_operators_defaults() -> None:
    assert {path: node["default"] for _, path, node in ALL_NODES if "default" in node} == {
        "spec.backup": False,
        "spec.preCaching": False,
        "spec.enable": True,
        "spec.remediationStrategy.timeout": 240,
        "spec.actions.afterCompletion.deleteObjects": True,
    }


def test_nothing_in_a_status_is_refused_but_a_wrong_type() -> None:
    refusing = {"enum", "minimum", "maximum", "minLength", "maxLength", "maxItems", "pattern"}
    refusing.add("x-kubernetes-validations")
    for _, path, node in ALL_NODES:
        assert not (path.startswith("status") and refusing & node.keys()), path


def test_get_cgu_shows_age_state_and_details_in_this_order() -> None:
    spec = CRDS["ClusterGroupUpgrade"]["spec"]
    assert spec["names"]["shortNames"] == ["cgu"]
    version = spec["versions"][0]
    assert version["subresources"] == {"status": {}}
    assert [(c["name"], c["jsonPath"]) for c in version["additionalPrinterColumns"]] == [
        ("Age", ".metadata.creationTimestamp"),
        ("State", ".status.conditions[-1:].reason"),
        ("Details", ".status.conditions[-1:].message"),
    ]


def test_a_pre_caching_config_has_neither_status_nor_columns() -> None:
    version = CRDS["PreCachingConfig"]["spec"]["versions"][0]
    assert "subresources" not in version
    assert "additionalPrinterColumns" not in version


def test_what_an_older_crd_let_in_can_still_be_read() -> None:
    stored = {
        "metadata": {"name": "old", "namespace": "ns", "labels": None},
        "spec": {
            "clusters": ["", "a", "a"],
            "clusterLabelSelectors": [{"matchExpressions": [{"operator": "Near"}]}],
            "batchTimeoutAction": "Retry",
            "blockingCRs": [{}],
            "preCachingConfigRef": {},
            "remediationStrategy": {"maxConcurrency": -1, "timeout": -5, "canaries": [""]},
            "somethingNew": 1,
        },
        "status": {"conditions": [{}], "clusters": [{"currentManifestWork": {"status": {"a": 1}}}]},
    }
    cgu = msgspec.json.decode(msgspec.json.encode(stored), type=ClusterGroupUpgrade)
    assert cgu.spec.clusters == ("", "a", "a")
    assert cgu.spec.remediation_strategy.timeout == -5
    assert cgu.spec.enable
    assert cgu.status.clusters is not None
    assert cgu.status.clusters[0].current_manifest_work == {"status": {"a": 1}}


def test_the_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "talm.api.crd", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_shows_what_is_out_of_date_and_fails(tmp_path: Path) -> None:
    run = CliRunner()
    assert run.invoke(main, ["--root", str(tmp_path)]).exit_code == 0
    assert run.invoke(main, ["--root", str(tmp_path), "--check"]).exit_code == 0

    crd = tmp_path / "deploy/crds/ran.openshift.io_precachingconfigs.yaml"
    crd.write_text(crd.read_text().replace("additionalImages", "moreImages"))
    found = run.invoke(main, ["--root", str(tmp_path), "--check"])
    assert found.exit_code == 1
    assert "+                additionalImages:" in found.output.splitlines()
    assert "make crds" in found.output


def test_docs_writes_the_page_alone(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["--root", str(tmp_path), "--docs"]).exit_code == 0
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")] == [
        "docs/reference/crds.md"
    ]


def test_the_page_has_a_row_for_every_field() -> None:
    page = next(text for path, text in generated().items() if path.suffix == ".md")
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    wanted = [
        path.removeprefix("spec.").removeprefix("status.")
        for _, path, _ in FIELDS
        if path.startswith(("spec.", "status."))
    ]
    assert sorted(rows) == sorted(wanted)


def test_the_yaml_holds_the_crd_unchanged() -> None:
    texts = [text for path, text in generated().items() if path.suffix == ".yaml"]
    assert [yaml.safe_load(text) for text in texts] == list(CRDS.values())
    assert not [text for text in texts if "&id" in text]
