"""Reading root policies: every template form, and whatever shape a policy has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talm.api.ocm import Policy
from talm.core.model import ResolvedPolicy, RootPolicy
from talm.hub.policyreader import read_child, read_policy, strip_templates

EITHER = "a ConfigurationPolicy must have either object-templates or object-templates-raw"
TOO_MUCH = "object-templates-raw is nested too deeply or too large"


def read(spec: Any, status: Any = None) -> RootPolicy:
    wire = {"metadata": {"namespace": "ztp", "name": "p"}, "spec": spec}
    if status is not None:
        wire["status"] = status
    return read_policy(msgspec.json.decode(msgspec.json.encode(wire), type=Policy))


def holding(config_spec: Any, **spec: Any) -> RootPolicy:
    """A policy with one ConfigurationPolicy of this spec."""
    definition = {"kind": "ConfigurationPolicy", "spec": config_spec}
    return read(spec | {"policy-templates": [{"objectDefinition": definition}]})


def wanting(*objects: Any, **spec: Any) -> RootPolicy:
    entries = [{"complianceType": "musthave", "objectDefinition": found} for found in objects]
    return holding({"object-templates": entries}, **spec)


def raw(text: str) -> RootPolicy:
    return holding({"object-templates-raw": text})


def test_objects_are_read_in_order_without_what_must_not_be_there() -> None:
    entries = [
        {"complianceType": "musthave", "objectDefinition": {"kind": "A"}},
        {"complianceType": "mustnothave", "objectDefinition": {"kind": "B"}},
        {"complianceType": "MustNotHave", "objectDefinition": "whatever"},
        {"complianceType": "mustonlyhave", "objectDefinition": {"kind": "C"}},
        {"objectDefinition": {"kind": "D"}},
    ]
    found = holding({"object-templates": entries})
    assert (found.namespace, found.name, found.broken) == ("ztp", "p", "")
    assert [one["kind"] for one in found.objects] == ["A", "C", "D"]


def test_templates_of_other_kinds_are_passed_over() -> None:
    templates = [
        {"objectDefinition": {"kind": kind, "spec": {"object-templates": "odd"}}}
        for kind in ("OperatorPolicy", "CertificatePolicy", "ConstraintTemplate", None)
    ]
    found = read({"policy-templates": templates})
    assert (found.objects, found.broken) == ((), "")


@pytest.mark.parametrize(
    ("text", "templated"),
    [("{{hub .ManagedClusterName hub}}", True), ("{{ .ManagedClusterName }}", False), ("x", False)],
)
def test_a_policy_says_whether_the_hub_resolves_it(text: str, templated: bool) -> None:
    assert wanting({"kind": "A", "spec": {"a": ["b", text]}}).hub_templates is templated
    assert raw(f"- objectDefinition: {{kind: A, data: '{text}'}}").hub_templates is templated


def child(*objects: Any, error: str = "") -> ResolvedPolicy:
    entries = [{"complianceType": "musthave", "objectDefinition": found} for found in objects]
    notes = {"policy.open-cluster-management.io/hub-templates-error": error} if error else {}
    definition = {
        "kind": "ConfigurationPolicy",
        "metadata": {"annotations": notes},
        "spec": {"object-templates": entries},
    }
    spec = {"policy-templates": [{"objectDefinition": definition}]}
    return read_child(msgspec.convert({"spec": spec}, Policy))


def test_of_a_resolved_policy_only_what_is_cached_for_counts() -> None:
    version = {"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion"}
    package = {"apiVersion": "operators.coreos.com/v1alpha1", "kind": "Subscription"}
    catalog = {"apiVersion": "operators.coreos.com/v1alpha1", "kind": "CatalogSource"}
    site = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"site": "c1"}}
    found = child(version, site, package, catalog)
    assert found.objects == (version, package, catalog)
    assert found.broken == ""


def test_what_the_hub_could_not_resolve_is_said_in_its_words() -> None:
    assert child(error="no such ConfigMap").broken == (
        "its hub templates cannot be resolved: no such ConfigMap"
    )


def test_a_policy_without_templates_asks_for_nothing() -> None:
    assert read({}) == RootPolicy("ztp", "p")
    assert read({"policy-templates": []}) == RootPolicy("ztp", "p")


@pytest.mark.parametrize(
    ("action", "enforces"),
    [("enforce", True), ("Enforce", True), ("inform", False), ("Inform", False), ("", False)],
)
def test_the_policys_own_action_says_whether_it_enforces(action: str, enforces: bool) -> None:
    assert wanting(remediationAction=action).enforce is enforces


def test_compliance_is_by_cluster_and_may_be_unknown() -> None:
    clusters = [{"clustername": "c1", "compliant": "Compliant"}, {"clustername": "c2"}]
    assert read({}, {"status": clusters}).compliance == {"c1": "Compliant", "c2": ""}
    assert read({}, {"compliant": "Pending"}).compliance == {}
    assert read({}, {"status": None}).compliance == {}


@pytest.mark.parametrize(
    ("found", "carries"),
    [({"status": {"phase": "Active"}}, True), ({"status": None}, False), ({"kind": "A"}, False)],
)
def test_a_template_may_ask_about_a_status(found: Any, carries: bool) -> None:
    assert wanting({"kind": "B"}, found).carries_status is carries


def test_dependencies_on_policies_are_named_with_their_namespace_where_given() -> None:
    entries = [
        {"kind": "Policy", "name": "a"},
        {"kind": "Policy", "name": "b", "namespace": "ns"},
        {"kind": "Policy", "name": "c", "namespace": 7},
        {"kind": "Policy"},
        {"kind": "ConfigurationPolicy", "name": "d"},
    ]
    assert read({"dependencies": entries}).depends_on == ("a", "ns/b", "c")


@pytest.mark.parametrize(
    ("spec", "broken"),
    [
        (None, "a ConfigurationPolicy has no spec"),
        ("x", "a ConfigurationPolicy has no spec"),
        ({}, EITHER),
        ({"object-templates": [], "object-templates-raw": ""}, EITHER),
        ({"object-templates": "x"}, "object-templates is not a list"),
        ({"object-templates": ["x"]}, "an object template is not an object"),
        ({"object-templates": [{}]}, "an object template has no objectDefinition"),
        ({"object-templates-raw": 7}, "object-templates-raw is not a text"),
        ({"object-templates-raw": "a: b"}, "object-templates-raw is not a list"),
        ({"object-templates-raw": "- 7"}, "an object template is not an object"),
    ],
)
def test_what_cannot_be_read_is_said(spec: Any, broken: str) -> None:
    found = holding(spec)
    assert (found.broken, found.objects) == (broken, ())


def test_a_template_without_definition_is_broken() -> None:
    assert read({"policy-templates": [{}]}).broken == "a policy template has no objectDefinition"


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("a: {{ $x }}", "a: placeholder"),
        ("a: '{{ .x }}'", "a: 'placeholder'"),
        ('a: stable-{{ index .m "v" }}', "a: stable-placeholder"),
        ("a: {{hub .ManagedClusterName hub}}", "a: placeholder"),
        ('a: {{ fromConfigMap "n" "m" "k" }}{{/* why */}}', "a: placeholder"),
        ("{{- range $i, $v := .l }}\n- {{ $v }}\n{{ end -}}", "\n- placeholder\n"),
        ("{{ $x := 1 }}{{ $x = 2 }}\n  {{ toYaml .all }} \n- a", "\n   \n- a"),
        ("{{ if .a }} {{ include . }}\nb", " \nb"),
        ("- {{ if .a }}a{{ else }}b{{ end }}", "- ab"),
        ("a\n{{ one }} {{ two }}\n{{ three", "a\nplaceholder placeholder\n{{ three"),
        ("{{ at_the_end }}", ""),
        ("no templates", "no templates"),
    ],
)
def test_templates_are_taken_out_of_a_text(text: str, stripped: str) -> None:
    assert strip_templates(text) == stripped


def test_raw_templates_are_read_with_all_branches() -> None:
    found = raw("""
{{- if eq .ManagedClusterName "c1" }}
- complianceType: musthave
  objectDefinition: {kind: A, spec: {channel: "{{ .c }}", since: 2024-13-45, eq: =}}
{{- else }}
- complianceType: mustnothave
  objectDefinition: {kind: B}
{{- end }}
""")
    spec = {"channel": "placeholder", "since": "2024-13-45", "eq": "="}
    assert found.objects == ({"kind": "A", "spec": spec},)


def test_raw_templates_may_leave_nothing() -> None:
    assert raw("{{ range .none }}{{ end }}") == RootPolicy("ztp", "p")


@pytest.mark.parametrize(
    "text",
    [
        "- [",
        "- ? [a]\n  : b",
        "- !!python/object:os.system {}",
        "- !!timestamp x",
        "- !!bool maybe",
        "- " + "9" * 6000,
    ],
)
def test_yaml_that_nobody_can_read_is_said_in_one_line(text: str) -> None:
    broken = raw(text).broken
    assert broken.startswith("object-templates-raw cannot be read: ")
    assert "\n" not in broken


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "- " * 100_000,
        "&all [*all]",
        "- &a [1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"- &{name} [{','.join([f'*{previous}'] * 8)}]\n"
            for previous, name in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ],
    ids=["brackets", "dashes", "itself", "a billion"],
)
def test_a_text_that_grows_beyond_reason_is_refused(text: str) -> None:
    assert raw(text).broken == TOO_MUCH


def test_what_only_a_tag_can_make_becomes_a_text() -> None:
    found = raw("- objectDefinition: {1: !!set {a}}")
    assert found.objects == ({"1": "{'a'}"},)


KEYS = st.sampled_from(
    [
        "kind",
        "spec",
        "objectDefinition",
        "complianceType",
        "object-templates",
        "object-templates-raw",
        "name",
        "namespace",
        "status",
    ]
)
WORDS = st.sampled_from(["ConfigurationPolicy", "mustnothave", "- a: {{ b }}", "Policy"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=6)
    ),
    max_leaves=20,
)
SHAPED = st.fixed_dictionaries(
    {
        "objectDefinition": st.fixed_dictionaries(
            {"kind": st.just("ConfigurationPolicy"), "spec": ANYTHING}
        )
    }
)


@given(
    templates=st.lists(st.dictionaries(KEYS, ANYTHING, max_size=4) | SHAPED, max_size=3),
    dependencies=st.lists(st.dictionaries(KEYS, ANYTHING, max_size=4), max_size=3),
)
def test_no_shape_of_a_policy_raises(
    templates: list[dict[str, Any]], dependencies: list[dict[str, Any]]
) -> None:
    policy = msgspec.convert(
        {"spec": {"policy-templates": templates, "dependencies": dependencies}}, Policy
    )
    found = read_policy(policy)
    assert not (found.broken and found.objects)
    assert all(isinstance(one, dict) for one in found.objects)


YAML_PARTS = st.sampled_from(
    [
        *"-:[]{},&*!|>?#%@`'\"= \n\ta10.~<",
        *("- ", "!!", "{{", "}}", "*a", "&a ", "<<: ", "\n  ", "objectDefinition: "),
        *(
            f"!!{tag} "
            for tag in [
                "set",
                "map",
                "pairs",
                "omap",
                "binary",
                "bool",
                "float",
                "int",
                "timestamp",
            ]
        ),
    ]
)


@given(st.lists(YAML_PARTS, max_size=30).map("".join) | st.text())
def test_no_text_of_raw_templates_raises(text: str) -> None:
    policy = msgspec.convert(
        {
            "spec": {
                "policy-templates": [
                    {
                        "objectDefinition": {
                            "kind": "ConfigurationPolicy",
                            "spec": {"object-templates-raw": text},
                        }
                    }
                ]
            }
        },
        Policy,
    )
    found = read_policy(policy)
    assert msgspec.json.encode(found.objects)


@given(
    st.recursive(
        st.none() | st.integers() | st.text("abc "),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    )
)
def test_raw_templates_without_templates_are_plain_yaml(found: Any) -> None:
    text = yaml.safe_dump([{"objectDefinition": {"found": found}}])
    assert raw(text).objects == ({"found": found},)
