"""Managed policies: which can be acted on, which need enforcing, and on which clusters."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.api.cgu import CguSpec, ClusterGroupUpgrade, PolicyRef, RemediationStrategy
from talm.api.meta import ObjectMeta
from talm.api.words import Reason
from talm.core.model import Hold, Json, RootPolicy
from talm.core.policies import (
    Assessment,
    Standing,
    assess,
    compliance,
    managed_content,
    non_compliant_clusters,
    unresolvable_dependency,
)

BOTH = ("c1", "c2")
DONE = {"c1": "Compliant", "c2": "Compliant"}
OPEN = {"c1": "Compliant", "c2": "NonCompliant"}


def policy(name: str, compliance: Mapping[str, str] = OPEN, **more: Any) -> RootPolicy:
    return RootPolicy(more.pop("namespace", "ztp"), name, compliance=compliance, **more)


def judge(*found: RootPolicy, managed: tuple[str, ...] = ()) -> Assessment:
    """Assess `managed` (default: all that are found, in this order)."""
    by_name: dict[str, tuple[RootPolicy, ...]] = {}
    for one in found:
        by_name[one.name] = (*by_name.get(one.name, ()), one)
    spec = CguSpec(
        managed_policies=managed or tuple(by_name),
        remediation_strategy=RemediationStrategy(max_concurrency=1),
    )
    return assess(ClusterGroupUpgrade(metadata=ObjectMeta(name="u"), spec=spec), BOTH, by_name)


def test_policies_are_told_apart_in_the_users_order() -> None:
    found = judge(policy("z"), policy("done", DONE), policy("a"), managed=("z", "done", "a", "z"))
    assert found.problem is None
    assert found.manual_message == ""
    assert found.refs == (
        PolicyRef(name="z", namespace="ztp"),
        PolicyRef(name="a", namespace="ztp"),
    )
    assert found.compliant_names == ("done",)
    assert found.namespaces == {"z": "ztp", "a": "ztp", "done": "ztp"}
    assert [p.name for p in found.in_spec_order] == ["z", "a", "done"]
    assert found.non_compliant == ("c2",)


def test_no_managed_policies_at_all_is_fine() -> None:
    cgu = ClusterGroupUpgrade(
        metadata=ObjectMeta(name="u"),
        spec=CguSpec(remediation_strategy=RemediationStrategy(max_concurrency=1)),
    )
    assert assess(cgu, BOTH, {}) == Assessment()


def test_a_policy_that_enforces_by_itself_is_passed_over_in_silence() -> None:
    found = judge(policy("own", enforce=True, broken="unreadable"), policy("ours"))
    assert found.problem is None
    assert found.namespaces == {"ours": "ztp"}


def test_missing_policies_are_named_as_go_prints_a_list() -> None:
    found = judge(policy("here"), managed=("a", "here", "b"))
    assert found.problem == Hold(
        Reason.NOT_ALL_MANAGED_POLICIES_EXIST,
        "Missing managed policies: [a b] ",
        dt.timedelta(minutes=1),
    )
    assert found.manual_message == (
        "The ClusterGroupUpgrade CR has: missing managed policies: [a b] "
    )


def test_invalid_policies_go_before_missing_ones() -> None:
    found = judge(policy("bad", broken="no spec"), managed=("gone", "bad"))
    assert found.problem == Hold(
        Reason.NOT_ALL_MANAGED_POLICIES_EXIST,
        "Invalid managed policies: [bad] ",
        dt.timedelta(minutes=1),
    )
    assert found.manual_message == (
        "The ClusterGroupUpgrade CR has: missing managed policies: [gone] "
        "invalid managed policies: [bad] "
    )


def test_a_name_in_two_namespaces_is_ambiguous() -> None:
    found = judge(
        policy("z", namespace="n2"),
        policy("z", namespace="n1"),
        policy("a", namespace="n9"),
        policy("a", namespace="n3"),
    )
    message = (
        "Managed policy name should be unique, but was found in multiple namespaces: "
        '{"a":["n3","n9"],"z":["n1","n2"]} '
    )
    hold = Hold(Reason.AMBIGUOUS_POLICY_NAMES, message, dt.timedelta(minutes=1))
    assert found.problem == hold
    assert found.manual_message == message


def test_strangers_of_one_name_hold_nobody_up() -> None:
    twice = (policy("strange", namespace="n1"), policy("strange", namespace="n2"))
    assert judge(policy("ours"), *twice, managed=("ours",)).problem is None


def test_a_namesake_that_enforces_by_itself_is_no_ambiguity() -> None:
    found = judge(policy("p", namespace="n1", enforce=True), policy("p", namespace="n2"))
    assert found.problem is None
    assert found.namespaces == {"p": "n2"}


@pytest.mark.parametrize(
    ("word", "standing"),
    [
        ("Compliant", Standing.COMPLIANT),
        ("NonCompliant", Standing.NON_COMPLIANT),
        ("Pending", Standing.NON_COMPLIANT),
        ("", Standing.NON_COMPLIANT),
    ],
)
def test_a_matched_cluster_stands_as_the_status_says(word: str, standing: Standing) -> None:
    assert compliance(policy("p", {"c1": word}), "c1") is standing


def test_a_cluster_outside_the_status_is_not_matched() -> None:
    assert compliance(policy("p", {"c1": "Compliant"}), "c2") is Standing.NOT_MATCHED


def test_without_any_status_nobody_is_compliant() -> None:
    unevaluated = policy("new", {})
    assert compliance(unevaluated, "c1") is Standing.NON_COMPLIANT
    assert judge(unevaluated).non_compliant == BOTH


def test_a_policy_that_does_not_match_all_clusters_is_for_upgrade_but_not_for_those() -> None:
    found = judge(policy("half", {"c1": "Compliant"}))
    assert found.refs == (PolicyRef(name="half", namespace="ztp"),)
    assert found.non_compliant == ()


def test_a_template_with_a_status_is_always_for_upgrade() -> None:
    found = judge(policy("asks", DONE, carries_status=True))
    assert found.compliant_names == ()
    assert found.refs == (PolicyRef(name="asks", namespace="ztp"),)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["c1", "c2", "c3", "c4"]),
            st.sampled_from(["Compliant", "NonCompliant", "Pending", ""]),
        ),
        max_size=4,
    )
)
def test_a_cluster_is_planned_exactly_when_some_policy_is_open_on_it(
    statuses: list[dict[str, str]],
) -> None:
    selected = ("c3", "c1", "c2")
    planned = non_compliant_clusters(selected, [policy(f"p{n}", s) for n, s in enumerate(statuses)])
    wanted = [
        c for c in selected if any(not s or s.get(c, "Compliant") != "Compliant" for s in statuses)
    ]
    assert list(planned) == wanted


@pytest.mark.parametrize("dependency", ["b", "ztp/b"])
def test_a_policy_must_not_wait_for_a_later_one(dependency: str) -> None:
    first, second = policy("a", depends_on=("x", dependency)), policy("b")
    assert unresolvable_dependency((first, second)) == Hold(
        Reason.UNRESOLVABLE_DEPENDENCY,
        "Managed Policy a depends on b, which is to be remediated later",
        dt.timedelta(minutes=5),
    )
    assert unresolvable_dependency((second, first)) is None


def test_a_dependency_on_a_namesake_elsewhere_or_on_itself_is_resolvable() -> None:
    first = policy("a", depends_on=("elsewhere/b", "a", "ztp/a"))
    assert unresolvable_dependency((first, policy("b"))) is None


def subscription(name: str = "s", **changes: Json) -> dict[str, Json]:
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "Subscription",
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"name": "package"},
        **changes,
    }


def test_subscriptions_are_recorded_as_compact_json_in_the_existing_key_order() -> None:
    subscribing = policy("p", objects=(subscription("s1"), subscription("s2")))
    found = managed_content((subscribing, policy("quiet")))
    first = (
        '{"kind":"Subscription","name":"s1","apiVersion":"operators.coreos.com/v1alpha1",'
        '"namespace":"ns"}'
    )
    assert found == {"p": f"[{first},{first.replace('s1', 's2')}]"}
    assert judge(subscribing).content == found


@pytest.mark.parametrize(
    "other",
    [
        subscription(apiVersion="apps.open-cluster-management.io/v1"),
        subscription(apiVersion="operators.coreos.com"),
        subscription(apiVersion=7),
        subscription(kind="CatalogSource"),
        subscription(metadata={"name": "s"}),
        subscription(metadata={"namespace": "ns"}),
        subscription(metadata="{{ all of it }}"),
    ],
    ids=json.dumps,
)
def test_what_is_no_subscription_of_an_operator_is_not_recorded(other: dict[str, Json]) -> None:
    assert managed_content((policy("p", objects=(other,)),)) == {}
