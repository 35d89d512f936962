"""For each row of the policy engine, one way to break its rule in the simulator."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from talm.sim.agents import policyagent
from talm.sim.agents.policyagent import PolicyAgent
from talm.sim.hubside import policychildren, policyengine
from talm.sim.hubside.policyengine import Propagator
from talm.sim.hubside.policywire import COMPLIANT, NON_COMPLIANT, Binding, Policy

Break = Callable[[pytest.MonkeyPatch], None]
BROKEN: Final[dict[str, Break]] = {}


def breaks(change: Break) -> Break:
    """Enter a break by its name, which is the row's."""
    BROKEN[change.__name__.replace("_", "-")] = change
    return change


def _changing_children(patch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None]) -> None:
    """Have every child changed before it is written."""
    made = policychildren.child_of

    def child_of(*given: Any, **more: Any) -> dict[str, Any]:
        child = made(*given, **more)
        change(child)
        return child

    patch.setattr(policyengine, "child_of", child_of)


def _never_removing(patch: pytest.MonkeyPatch) -> None:
    async def remove(_self: Propagator, _key: str, _cluster: str) -> None:
        return None

    patch.setattr(Propagator, "_remove", remove)


@breaks
def each_decided_cluster_has_a_child_and_tells(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policychildren, "CLUSTER_LABEL", "cluster")


@breaks
def what_is_enforced_is_met(patch: pytest.MonkeyPatch) -> None:
    """Going back to inform undoes what was enforced."""
    remediate = PolicyAgent._remediate

    def forgetting(self: PolicyAgent, name: str, spec: Mapping[str, Any], now_s: float) -> Any:
        if spec.get("remediationAction") == "inform":
            self.compliant[name] = False
        return remediate(self, name, spec, now_s)

    patch.setattr(PolicyAgent, "_remediate", forgetting)


@breaks
def what_must_not_be_there_and_is_not_complies(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(policyagent._TEXT, COMPLIANT, "all is well")


@breaks
def the_worst_template_is_what_the_policy_is(patch: pytest.MonkeyPatch) -> None:
    detail = policyagent._detail
    patch.setattr(policyagent, "_detail", lambda name, _, now: detail(name, NON_COMPLIANT, now))


@breaks
def raw_object_templates_are_passed_on_as_they_are(patch: pytest.MonkeyPatch) -> None:
    def change(child: dict[str, Any]) -> None:
        for template in child["spec"]["policy-templates"]:
            template["objectDefinition"]["spec"].pop("object-templates-raw", None)

    _changing_children(patch, change)


@breaks
def hub_templates_are_resolved_for_each_cluster(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policychildren, "_CLUSTER_NAME", re.compile("never"))


@breaks
def a_restricted_binding_enforces_where_another_one_selects(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Binding, "enforces", False)


@breaks
def a_restricted_binding_selects_nothing_by_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Binding, "restricted", False)


@breaks
def an_unrestricted_override_enforces_too(patch: pytest.MonkeyPatch) -> None:
    enforces = Binding.enforces.fget  # type: ignore[attr-defined]
    patch.setattr(Binding, "enforces", property(lambda self: self.restricted and enforces(self)))


@breaks
def decisions_come_and_go(patch: pytest.MonkeyPatch) -> None:
    _never_removing(patch)


@breaks
def two_bindings_are_told_in_the_order_of_their_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policyengine, "sorted", lambda found, **_: list(found), raising=False)


@breaks
def a_binding_to_no_placement_selects_nothing(patch: pytest.MonkeyPatch) -> None:
    decided = Propagator._decided
    patch.setattr(Propagator, "_decided", lambda self, *of: decided(self, *of) or set())


@breaks
def a_disabled_policy_is_nowhere(patch: pytest.MonkeyPatch) -> None:
    opened = Policy.open_spec
    patch.setattr(Policy, "open_spec", lambda self: {**opened(self), "disabled": False})


@breaks
def a_deleted_policy_takes_its_children_along(patch: pytest.MonkeyPatch) -> None:
    _never_removing(patch)


@breaks
def labels_and_annotations_are_copied(patch: pytest.MonkeyPatch) -> None:
    _changing_children(patch, lambda child: child["metadata"]["annotations"].pop("note", None))


@breaks
def a_change_of_the_root_reaches_the_children(patch: pytest.MonkeyPatch) -> None:
    """The generation is not looked at."""
    opened: dict[str, dict[str, Any]] = {}
    fresh = Policy.open_spec
    patch.setattr(
        Policy,
        "open_spec",
        lambda self: opened.setdefault(
            f"{self.metadata.namespace}{self.metadata.name}", fresh(self)
        ),
    )


@breaks
def a_child_that_is_changed_by_hand_is_put_right(patch: pytest.MonkeyPatch) -> None:
    written = policyengine._Written
    patch.setattr(policyengine, "_Written", lambda of, _: written(of, 1 << 30))


@breaks
def a_child_that_is_deleted_by_hand_is_made_again(patch: pytest.MonkeyPatch) -> None:
    changed = Propagator.policy_changed

    def deaf(self: Propagator, namespace: str, name: str, new: Policy | None) -> None:
        if new is not None:
            changed(self, namespace, name, new)

    patch.setattr(Propagator, "policy_changed", deaf)


@breaks
def what_is_spoilt_on_a_cluster_is_told_or_mended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PolicyAgent, "spoil", lambda _self, _name: None)
