"""What a policy engine does, a row a rule; both the real and the simulated one play them.

Not provoked: PolicySets, dependencies between policies, encrypted hub templates, look-ups in hub templates,
policies that are no ConfigurationPolicies.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from talm.sim.agents.policyagent import PolicyPlan

from .policystage import PolicyStage, Seen

Play = Callable[[PolicyStage], Coroutine[Any, Any, None]]
ROWS: Final[dict[str, Play]] = {}
ONE, TWO = CLUSTERS = ("cnfdb1", "cnfdb2")
OBJECTS: Final = "default"
"""The namespace on the clusters of what the policies are about: ConfigMaps."""

DEFAULT_PLAN: Final = PolicyPlan(remediation_s=0.5)
PLANS: Final = {
    "what-must-not-be-there-and-is-not-complies": PolicyPlan(compliant=True),
    "the-worst-template-is-what-the-policy-is": PolicyPlan(
        compliant_templates=frozenset({"the-worst-template-is-what-the-policy-is-absent"})
    ),
}
"""How a row's policy fares in the simulator, where it is not as `DEFAULT_PLAN`."""

RESTRICTED: Final[dict[str, Any]] = {
    "subFilter": "restricted",
    "bindingOverrides": {"remediationAction": "enforce"},
}


def row(play: Play) -> Play:
    """Enter a play; its name is the row's namespace on the hub."""
    ROWS[play.__name__.replace("_", "-")] = play
    return play


def config_map(name: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": OBJECTS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"n": "1"}}


def template(
    stage: PolicyStage, name: str = "main", kind: str = "musthave", **more: Any
) -> dict[str, Any]:
    """A ConfigurationPolicy about a ConfigMap of its own name."""
    whole = f"{stage.space}-{name}"
    about = {"object-templates": [{"complianceType": kind, "objectDefinition": config_map(whole)}]}
    return {
        "apiVersion": "policy.open-cluster-management.io/v1",
        "kind": "ConfigurationPolicy",
        "metadata": {"name": whole},
        "spec": {"severity": "low", "remediationAction": "inform", **(more or about)},
    }


async def everywhere(stage: PolicyStage) -> None:
    """Have the policy on both clusters."""
    await stage.place("all", *CLUSTERS)
    await stage.bind("all", "all")


def violated(seen: Seen) -> bool:
    return seen.of(ONE) == seen.of(TWO) == "NonCompliant"


def met(seen: Seen) -> bool:
    return seen.of(ONE) == seen.of(TWO) == "Compliant"


def label(seen: Seen, name: str) -> Any:
    return seen.children[ONE]["metadata"]["labels"].get(name)


@row
async def each_decided_cluster_has_a_child_and_tells(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await stage.told("it is nowhere", lambda s: s.root is not None and not s.children)
    await everywhere(stage)
    await stage.told("it is violated", violated)


@row
async def what_is_enforced_is_met(stage: PolicyStage) -> None:
    await stage.policy(template(stage), remediationAction="enforce")
    await everywhere(stage)
    await stage.told("it is met", met)
    await stage.edit(remediationAction="inform")
    await stage.told("it stays met", lambda s: met(s) and s.action(ONE) == "inform")


@row
async def what_must_not_be_there_and_is_not_complies(stage: PolicyStage) -> None:
    await stage.policy(template(stage, kind="mustnothave"))
    await everywhere(stage)
    await stage.told("it is met", met)


@row
async def the_worst_template_is_what_the_policy_is(stage: PolicyStage) -> None:
    await stage.policy(template(stage, "absent", "mustnothave"), template(stage))
    await everywhere(stage)
    await stage.told("it is violated", violated)


@row
async def raw_object_templates_are_passed_on_as_they_are(stage: PolicyStage) -> None:
    raw = f"""\
- complianceType: musthave
  objectDefinition:
    apiVersion: v1
    kind: ConfigMap
    metadata: {{name: {stage.space}, namespace: {OBJECTS}}}
"""
    await stage.policy(template(stage, **{"object-templates-raw": raw}))
    await everywhere(stage)
    await stage.told("it is violated", violated)


@row
async def hub_templates_are_resolved_for_each_cluster(stage: PolicyStage) -> None:
    await stage.policy(template(stage, "{{hub .ManagedClusterName hub}}"))
    await everywhere(stage)
    await stage.told("it is violated", violated)


@row
async def a_restricted_binding_enforces_where_another_one_selects(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await everywhere(stage)
    await stage.told("it is violated", violated)
    await stage.place("batch", ONE)
    await stage.bind("batch", "batch", **RESTRICTED)
    await stage.told(
        "one enforces", lambda s: (s.of(ONE), s.of(TWO)) == ("Compliant", "NonCompliant")
    )
    await stage.place("batch", TWO)
    await stage.told("the other does", lambda s: met(s) and s.action(ONE) == "inform")
    await stage.unbind("batch")
    await stage.told("none does", lambda s: s.action(TWO) == "inform")


@row
async def a_restricted_binding_selects_nothing_by_itself(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await stage.place("some", ONE)
    await stage.bind("some", "some")
    await stage.place("batch", TWO)
    await stage.bind("batch", "batch", **RESTRICTED)
    await stage.told(
        "a cluster is named and has no child",
        lambda s: s.of(ONE) == "NonCompliant" and s.of(TWO) == "" and set(s.children) == {ONE},
    )
    await stage.unbind("some")
    await stage.told("no child is left", lambda s: not s.children)


@row
async def an_unrestricted_override_enforces_too(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await stage.place("all", *CLUSTERS)
    await stage.bind("all", "all", bindingOverrides={"remediationAction": "Enforce"})
    await stage.told("it is met", met)


@row
async def decisions_come_and_go(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await stage.place("some", ONE)
    await stage.bind("some", "some")
    await stage.told("it is on one", lambda s: s.of(ONE) == "NonCompliant" and s.of(TWO) is None)
    await stage.place("some", *CLUSTERS)
    await stage.told("it is on both", violated)
    await stage.place("some", TWO)
    await stage.told("it is on the other", lambda s: set(s.children) == {TWO} and s.of(ONE) is None)
    await stage.place("some")
    await stage.told("it is nowhere", lambda s: not s.children and s.of(TWO) is None)


@row
async def two_bindings_are_told_in_the_order_of_their_names(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await stage.place("first", ONE)
    await stage.place("second", *CLUSTERS)
    await stage.bind("zulu", "first")
    await stage.bind("alpha", "second")
    await stage.told("it is on both", violated)
    await stage.unbind("alpha")
    await stage.told("it is on one", lambda s: set(s.children) == {ONE} and s.of(TWO) is None)


@row
async def a_binding_to_no_placement_selects_nothing(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await stage.bind("nowhere", "missing")
    await stage.told(
        "it is told", lambda s: bool((s.root or {}).get("status", {}).get("placement"))
    )


@row
async def a_disabled_policy_is_nowhere(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await everywhere(stage)
    await stage.told("it is violated", violated)
    await stage.edit(disabled=True)
    await stage.told("it is nowhere", lambda s: not s.children and s.of(ONE) is None)
    await stage.edit(disabled=False)
    await stage.told("it is back", violated)


@row
async def a_deleted_policy_takes_its_children_along(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await everywhere(stage)
    await stage.told("it is violated", violated)
    await stage.remove()
    await stage.told("all are gone", lambda s: s.root is None and not s.children)


@row
async def labels_and_annotations_are_copied(stage: PolicyStage) -> None:
    meta = {
        "labels": {"site": "north", "policy.open-cluster-management.io/tier": "1"},
        "annotations": {"note": "hello", "policy.open-cluster-management.io/standards": "NIST"},
    }
    await stage.policy(template(stage), meta=meta)
    await everywhere(stage)
    await stage.told("all of them", violated)
    await stage.edit_meta(labels={"site": "south"})
    await stage.told("another one", lambda s: label(s, "site") == "south")
    await stage.edit(copyPolicyMetadata=False)
    await stage.told(
        "those of the group",
        lambda s: violated(s) and label(s, "site") is None,
    )


@row
async def a_change_of_the_root_reaches_the_children(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await everywhere(stage)
    await stage.told("it is violated", violated)
    another = {"objectDefinition": template(stage, "another")}
    await stage.edit(**{"policy-templates": [another]})

    def so(seen: Seen) -> bool:
        details = seen.children[ONE].get("status", {}).get("details") or ()
        return [d["templateMeta"]["name"] for d in details] == [f"{stage.space}-another"]

    await stage.told("the other template is told of", so)


@row
async def a_child_that_is_changed_by_hand_is_put_right(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await everywhere(stage)
    await stage.told("it is violated", violated)
    # Of no consequence on the cluster, which might otherwise act before it is put right.
    await stage.edit_child(ONE, {"spec": {"copyPolicyMetadata": True}})
    await stage.told(
        "it is as before", lambda s: "copyPolicyMetadata" not in s.children[ONE]["spec"]
    )


@row
async def a_child_that_is_deleted_by_hand_is_made_again(stage: PolicyStage) -> None:
    await stage.policy(template(stage))
    await everywhere(stage)
    await stage.told("it is violated", violated)
    await stage.remove_child(ONE)
    await stage.told("it is as before", lambda s: violated(s) and set(s.children) == set(CLUSTERS))


@row
async def what_is_spoilt_on_a_cluster_is_told_or_mended(stage: PolicyStage) -> None:
    await stage.policy(template(stage), remediationAction="enforce")
    await everywhere(stage)
    await stage.told("it is met", met)
    await stage.spoil(ONE)
    await stage.told("it is mended", met)
    await stage.edit(remediationAction="inform")
    await stage.told("it stays met", lambda s: met(s) and s.action(ONE) == "inform")
    await stage.spoil(ONE)
    await stage.told(
        "one is violated", lambda s: (s.of(ONE), s.of(TWO)) == ("NonCompliant", "Compliant")
    )
