"""Policies reach the clusters, batches are enforced, the root sums up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from talm.api import kinds
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.hubside.placements import Decision
from talm.sim.hubside.policyengine import Propagator
from talm.sim.hubside.policywire import Binding, Policy

from ..oneworld import CLUSTER, World
from ..virtual import virtual

OTHER = "cnfdb2"
ROOT = "du-upgrade-platform-upgrade"
CHILD = f"default.{ROOT}"
TEMPLATE = {
    "objectDefinition": {
        "kind": "ConfigurationPolicy",
        "metadata": {"name": "upgrade-{{hub .ManagedClusterName hub}}"},
    }
}


class Governed:
    """A hub with a propagator and, for one of its two clusters, a spoke that evaluates."""

    def __init__(self, plan: PolicyPlan | None = None) -> None:
        chosen = plan or PolicyPlan(remediation_s=10)
        self.world = World(policies=lambda _cluster, _policy: chosen)
        self.hub = self.world.hub
        self.engine = propagator = Propagator(self.hub, is_cluster={CLUSTER, OTHER}.__contains__)
        self.hub.watch(kinds.POLICY, Policy, propagator.policy_changed)
        self.hub.watch(kinds.PLACEMENT_BINDING, Binding, propagator.binding_changed)
        self.hub.watch(kinds.PLACEMENT_DECISION, Decision, propagator.decision_changed)

    def root(self, **spec: Any) -> None:
        meta = {
            "name": ROOT,
            "namespace": "default",
            "labels": {"wave": "1"},
            "annotations": {"policy.open-cluster-management.io/standards": "NIST"},
        }
        spec = {"remediationAction": "inform", "policy-templates": [TEMPLATE], **spec}
        old = [
            p["metadata"]["generation"]
            for p in self.hub.list(kinds.POLICY)
            if p["metadata"]["name"] == ROOT
        ]
        meta["generation"] = (old[0] if old else 0) + 1  # type: ignore[assignment]
        self.hub.put(kinds.POLICY, {"metadata": meta, "spec": spec})

    def decide(self, placement: str, *clusters: str) -> None:
        label = {"cluster.open-cluster-management.io/placement": placement}
        meta = {"name": f"{placement}-decision-1", "namespace": "default", "labels": label}
        entries = [{"clusterName": name, "reason": ""} for name in clusters]
        status = {"decisions": entries}
        self.hub.put(kinds.PLACEMENT_DECISION, {"metadata": meta, "status": status})

    def bind(self, name: str, placement: str, **more: Any) -> None:
        body = {
            "metadata": {"name": name, "namespace": "default"},
            "placementRef": {"kind": "Placement", "name": placement},
            "subjects": [{"kind": "Policy", "name": ROOT}],
        }
        self.hub.put(kinds.PLACEMENT_BINDING, {**body, **more})

    def batch(self, *clusters: str) -> None:
        """What the operator does: enforce the policy on these clusters."""
        self.decide("batch", *clusters)
        override = {"bindingOverrides": {"remediationAction": "enforce"}}
        self.bind("batch", "batch", subFilter="restricted", **override)

    def children(self) -> dict[str, Any]:
        return {
            policy["metadata"]["namespace"]: policy
            for policy in self.hub.list(kinds.POLICY)
            if policy["metadata"]["name"] == CHILD
        }

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.hub.get(kinds.POLICY, ROOT, "default").get("status") or {}
        return found


def everywhere(plan: PolicyPlan | None = None) -> Governed:
    hub = Governed(plan)
    hub.decide("all", CLUSTER, OTHER)
    hub.bind("all", "all")
    hub.root()
    return hub


@virtual
async def test_every_decided_cluster_gets_a_child_with_the_labels_of_its_root() -> None:
    hub = everywhere()
    await asyncio.sleep(1)
    assert sorted(hub.children()) == [CLUSTER, OTHER]
    meta = hub.children()[CLUSTER]["metadata"]
    prefix = "policy.open-cluster-management.io"
    assert meta["labels"] == {
        f"{prefix}/root-policy": CHILD,
        f"{prefix}/cluster-name": CLUSTER,
        f"{prefix}/cluster-namespace": CLUSTER,
        "wave": "1",
    }
    assert meta["annotations"]["argocd.argoproj.io/compare-options"] == "IgnoreExtraneous"
    definition = hub.children()[OTHER]["spec"]["policy-templates"][0]["objectDefinition"]
    assert definition["metadata"]["name"] == f"upgrade-{OTHER}"


@virtual
async def test_metadata_is_not_copied_when_the_root_forbids_it() -> None:
    hub = everywhere()
    hub.root(copyPolicyMetadata=False)
    await asyncio.sleep(1)
    meta = hub.children()[CLUSTER]["metadata"]
    assert "wave" not in meta["labels"]
    assert "policy.open-cluster-management.io/standards" in meta["annotations"]


@virtual
async def test_the_root_lists_its_clusters_by_name_and_omits_what_is_unknown() -> None:
    hub = everywhere()
    await asyncio.sleep(2)
    assert hub.status() == {
        "compliant": "NonCompliant",
        "placement": [{"placementBinding": "all", "placement": "all"}],
        "status": [
            {"clustername": CLUSTER, "clusternamespace": CLUSTER, "compliant": "NonCompliant"},
            {"clustername": OTHER, "clusternamespace": OTHER},
        ],
    }
    child = hub.children()[CLUSTER]["status"]
    assert child["details"][0]["history"][0]["message"].startswith("NonCompliant; violation - ")


@virtual
async def test_one_unknown_cluster_keeps_a_compliant_root_unknown() -> None:
    hub = everywhere(PolicyPlan(compliant=True))
    await asyncio.sleep(2)
    assert "compliant" not in hub.status()
    hub.decide("all", CLUSTER)
    await asyncio.sleep(2)
    assert hub.status()["compliant"] == "Compliant"


@virtual
async def test_a_batch_is_enforced_remediated_and_stays_so_afterwards() -> None:
    hub = everywhere()
    await asyncio.sleep(2)
    hub.batch(CLUSTER)
    await asyncio.sleep(1)
    children = hub.children()
    assert children[CLUSTER]["spec"]["remediationAction"] == "enforce"
    assert children[OTHER]["spec"]["remediationAction"] == "inform"
    assert hub.status()["status"][0]["compliant"] == "NonCompliant"
    await asyncio.sleep(11)
    assert hub.status()["status"][0]["compliant"] == "Compliant"
    hub.batch()
    await asyncio.sleep(30)
    assert hub.children()[CLUSTER]["spec"]["remediationAction"] == "inform"
    assert hub.status()["status"][0]["compliant"] == "Compliant"


@virtual
async def test_remediation_that_never_works_stays_non_compliant() -> None:
    hub = everywhere(PolicyPlan(remediation_s=None))
    hub.batch(CLUSTER)
    await asyncio.sleep(24 * 3600)
    assert hub.status()["status"][0]["compliant"] == "NonCompliant"


@virtual
async def test_a_restricted_binding_alone_selects_nobody() -> None:
    hub = Governed()
    hub.root()
    hub.batch(CLUSTER)
    await asyncio.sleep(2)
    assert hub.children() == {}
    assert hub.status()["status"] == [{"clustername": CLUSTER, "clusternamespace": CLUSTER}]
    assert "placement" not in hub.status()


@pytest.mark.parametrize("way", ["undecided", "disabled", "deleted"])
@virtual
async def test_children_go_with_what_called_for_them(way: str) -> None:
    hub = everywhere()
    await asyncio.sleep(2)
    if way == "undecided":
        hub.decide("all")
    elif way == "disabled":
        hub.root(disabled=True)
    else:
        hub.hub.remove(kinds.POLICY, ROOT, "default")
    await asyncio.sleep(2)
    assert hub.children() == {}
    if way == "disabled":
        assert set(hub.status()) == {"placement"}


@virtual
async def test_an_offline_cluster_keeps_its_last_state() -> None:
    hub = everywhere()
    await asyncio.sleep(2)
    hub.world.link.down()
    hub.batch(CLUSTER)
    await asyncio.sleep(3600)
    assert hub.status()["status"][0]["compliant"] == "NonCompliant"
    hub.world.link.up()
    await asyncio.sleep(12)
    assert hub.status()["status"][0]["compliant"] == "Compliant"


@virtual
async def test_a_deleted_child_comes_back_without_status() -> None:
    hub = everywhere()
    await asyncio.sleep(2)
    hub.hub.remove(kinds.POLICY, CHILD, OTHER)
    await asyncio.sleep(1)
    assert "status" not in hub.children()[OTHER]


@virtual
async def test_a_child_that_is_not_made_leaves_its_cluster_without_a_word_in_the_root() -> None:
    here = Governed()
    here.engine.childless.add(OTHER)
    here.root()
    here.decide("all", CLUSTER, OTHER)
    here.bind("all", "all")
    await asyncio.sleep(5)
    assert set(here.children()) == {CLUSTER}
    (root,) = [p for p in here.hub.list(kinds.POLICY) if p["metadata"]["name"] == ROOT]
    words = {e["clustername"]: e.get("compliant") for e in root["status"]["status"]}
    assert words == {CLUSTER: "NonCompliant", OTHER: None}


@virtual
async def test_templates_that_cannot_be_resolved_are_marked_until_they_can() -> None:
    here = Governed()
    here.engine.unresolved.add(CLUSTER)
    here.root()
    here.decide("all", CLUSTER)
    here.bind("all", "all")

    def marks() -> dict[str, str]:
        child = here.hub.get(kinds.POLICY, CHILD, CLUSTER)
        (template,) = child["spec"]["policy-templates"]
        found: dict[str, str] = template["objectDefinition"]["metadata"].get("annotations") or {}
        return found

    await asyncio.sleep(5)
    assert list(marks()) == ["policy.open-cluster-management.io/hub-templates-error"]
    here.engine.unresolved.clear()
    here.engine.resolve_again()
    await asyncio.sleep(5)
    assert marks() == {}
