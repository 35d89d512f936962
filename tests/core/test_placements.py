"""Names of the enforcing objects: found again after a restart, never too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.api.cgu import PolicyRef
from talm.api.meta import ObjectMeta, changed
from talm.core.placements import ALPHABET, name_suffix, run_id, safe_name, wanted_placements

from .given import META

REF = PolicyRef(name="Du-Upgrade", namespace="ztp-group")


def with_annotations(annotations: dict[str, str] | None) -> ObjectMeta:
    return changed(META, annotations=annotations)


def test_the_suffix_is_the_annotations() -> None:
    key = "cluster-group-upgrades-operator/name-suffix"
    assert name_suffix(with_annotations({key: "kuttl"})) == "kuttl"


@pytest.mark.parametrize(
    "annotations",
    [None, {}, {"other": "x"}, {"cluster-group-upgrades-operator/name-suffix": ""}],
)
def test_without_the_annotation_the_suffix_is_the_same_in_every_process(
    annotations: dict[str, str] | None,
) -> None:
    suffix = name_suffix(with_annotations(annotations))
    assert suffix == name_suffix(META)
    assert len(suffix) == 5
    assert set(suffix) <= set(ALPHABET)


def test_a_cgu_that_was_made_anew_has_another_suffix_and_another_run() -> None:
    anew = changed(META, uid="another")
    assert name_suffix(anew) != name_suffix(META)
    assert run_id(anew) != run_id(META)
    assert len(run_id(META)) <= 63


def test_a_policys_objects_are_named_as_the_existing_operator_names_them() -> None:
    (wanted,) = wanted_placements(META, [REF], {REF: ("cnfdb2", "cnfdb1")})
    assert wanted.policy == REF
    assert wanted.desired == "du-upgrade-4918-Du-Upgrade-placement"
    assert wanted.name == f"du-upgrade-4918-du-upgrade-placement-{name_suffix(META)}"
    assert wanted.clusters == ("cnfdb1", "cnfdb2")


def test_a_policy_that_is_enforced_nowhere_keeps_an_empty_placement() -> None:
    assert [w.clusters for w in wanted_placements(META, [REF], {})] == [()]
    assert wanted_placements(META, [], {}) == ()


def test_placements_are_in_the_policies_order() -> None:
    refs = [PolicyRef(name=name, namespace="n") for name in ("b", "a")]
    assert [w.policy for w in wanted_placements(META, refs, {})] == refs


def test_a_long_name_is_cut_so_that_suffix_and_namespace_fit() -> None:
    name = safe_name("x" * 300, "ztp-group", "abcde")
    assert name == "x" * (253 - 5 - 9 - 1) + "-abcde"


@given(st.text("abcXYZ-.", max_size=300), st.text("abc", max_size=63), st.text("abc", max_size=20))
def test_namespace_and_name_always_fit_together(desired: str, namespace: str, suffix: str) -> None:
    name = safe_name(desired, namespace, suffix)
    assert len(namespace) + len(name) <= 253
    assert name.endswith(f"-{suffix}")
    assert name == name.lower()
