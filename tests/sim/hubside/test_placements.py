"""Placements select as OCM's scheduler does, and write decisions in chunks of 100."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import msgspec
import pytest

from talm.api import kinds
from talm.sim.clock import Clock
from talm.sim.hubside.placements import (
    Cluster,
    Decision,
    Placement,
    PlacementSpec,
    SetBinding,
    choose,
)
from talm.sim.hubside.scheduler import Scheduler
from talm.sim.hubside.selectors import Selector

from ..fakehub import FakeHub
from ..virtual import virtual

UNREACHABLE = {
    "key": "cluster.open-cluster-management.io/unreachable",
    "effect": "NoSelect",
    "timeAdded": "2024-05-01T12:00:00Z",
}


def cluster(name: str, *, taints: Any = None, claims: Any = (), **labels: str) -> Cluster:
    body = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"clusterClaims": [{"name": k, "value": v} for k, v in claims]},
    }
    return msgspec.convert(body, Cluster)


def spec(**body: Any) -> PlacementSpec:
    return msgspec.convert(body, PlacementSpec)


def by_labels(**selector: Any) -> dict[str, Any]:
    return {"requiredClusterSelector": {"labelSelector": selector}}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"site": "a"}}, True),
        ({"matchLabels": {"site": "b"}}, False),
        ({"matchExpressions": [{"key": "site", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "site", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "site", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "site", "operator": "Near"}]}, False),
    ],
)
def test_selectors_match_labels(selector: dict[str, Any], matches: bool) -> None:
    assert msgspec.convert(selector, Selector).matches({"site": "a"}) is matches


def test_no_predicate_selects_every_cluster() -> None:
    assert choose(spec(), [cluster("b"), cluster("a")]) == ["a", "b"]


def test_predicates_are_alternatives() -> None:
    both = [by_labels(matchLabels={"site": "a"}), by_labels(matchLabels={"site": "b"})]
    clusters = [cluster("1", site="a"), cluster("2", site="b"), cluster("3", site="c")]
    assert choose(spec(predicates=both), clusters) == ["1", "2"]


def test_labels_and_claims_of_one_predicate_must_both_match() -> None:
    wanted = [{"key": "product", "operator": "In", "values": ["OpenShift"]}]
    one = {
        "requiredClusterSelector": {
            "labelSelector": {"matchLabels": {"site": "a"}},
            "claimSelector": {"matchExpressions": wanted},
        }
    }
    clusters = [
        cluster("1", site="a", claims=[("product", "OpenShift")]),
        cluster("2", site="a", claims=[("product", "k3s")]),
        cluster("3", site="b", claims=[("product", "OpenShift")]),
    ]
    assert choose(spec(predicates=[one]), clusters) == ["1"]


@pytest.mark.parametrize(
    ("toleration", "stays"),
    [
        (None, False),
        ({"key": UNREACHABLE["key"], "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "something-else", "operator": "Exists"}, False),
        ({"key": UNREACHABLE["key"], "operator": "Exists", "effect": "PreferNoSelect"}, False),
        ({"key": UNREACHABLE["key"], "operator": "Equal", "value": ""}, True),
    ],
)
def test_a_tainted_cluster_is_dropped_unless_tolerated(toleration: Any, stays: bool) -> None:
    wanted = spec(tolerations=[toleration] if toleration else None)
    assert bool(choose(wanted, [cluster("a", taints=[UNREACHABLE])])) is stays


def test_a_cluster_on_its_way_out_is_dropped() -> None:
    going = cluster("a")
    meta = msgspec.structs.replace(
        going.metadata, deletion_timestamp=dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    )
    assert choose(spec(), [msgspec.structs.replace(going, metadata=meta)]) == []


def test_sets_and_numbers_limit_the_choice() -> None:
    in_set = {"cluster.open-cluster-management.io/clusterset": "edge"}
    clusters = [cluster("a", **in_set), cluster("b", **in_set), cluster("c")]
    assert choose(spec(clusterSets=["edge"]), clusters) == ["a", "b"]
    assert choose(spec(numberOfClusters=1), clusters) == ["a"]
    assert choose(spec(), clusters, ["edge"]) == ["a", "b"]
    assert choose(spec(), clusters, ["global"]) == ["a", "b", "c"]


class Placed:
    """A hub with a scheduler and some clusters."""

    def __init__(self, count: int, **settings: Any) -> None:
        self.hub = FakeHub()
        scheduler = Scheduler(self.hub, Clock(), **settings)
        self.hub.watch(kinds.MANAGED_CLUSTER, Cluster, scheduler.cluster_changed)
        self.hub.watch(kinds.PLACEMENT, Placement, scheduler.placement_changed)
        self.hub.watch(kinds.PLACEMENT_DECISION, Decision, scheduler.decision_changed)
        self.hub.watch(kinds.CLUSTER_SET_BINDING, SetBinding, scheduler.binding_changed)
        for number in range(count):
            self.cluster(f"c{number:03d}")

    def cluster(self, name: str, **body: Any) -> None:
        meta = {"name": name, "labels": {"name": name}}
        self.hub.put(kinds.MANAGED_CLUSTER, {"metadata": meta, **body})

    def place(self, **body: Any) -> None:
        self.hub.put(kinds.PLACEMENT, {"metadata": {"name": "p", "namespace": "ns"}, "spec": body})

    def decided(self) -> dict[str, list[str]]:
        return {
            d["metadata"]["name"]: [
                e["clusterName"] for e in (d.get("status") or {}).get("decisions", ())
            ]
            for d in self.hub.list(kinds.PLACEMENT_DECISION, "ns")
        }

    def satisfied(self) -> dict[str, Any]:
        status = self.hub.get(kinds.PLACEMENT, "p", "ns")["status"]
        found: dict[str, Any] = status["conditions"][0]
        return found


@virtual
async def test_decisions_come_in_chunks_of_a_hundred_within_a_second() -> None:
    world = Placed(250)
    world.place()
    await asyncio.sleep(1)
    decided = world.decided()
    assert [len(decided[f"p-decision-{n}"]) for n in (1, 2, 3)] == [100, 100, 50]
    labels = world.hub.get(kinds.PLACEMENT_DECISION, "p-decision-1", "ns")["metadata"]["labels"]
    assert labels["cluster.open-cluster-management.io/placement"] == "p"
    assert world.satisfied()["reason"] == "AllDecisionsScheduled"
    placement = world.hub.get(kinds.PLACEMENT, "p", "ns")
    assert placement["status"]["numberOfSelectedClusters"] == 250


@virtual
async def test_fewer_clusters_take_chunks_away() -> None:
    world = Placed(150)
    world.place()
    await asyncio.sleep(1)
    world.place(numberOfClusters=3)
    await asyncio.sleep(1)
    assert world.decided() == {"p-decision-1": ["c000", "c001", "c002"]}


@virtual
async def test_no_match_is_one_empty_decision_and_said_so() -> None:
    world = Placed(3)
    world.place(predicates=[by_labels(matchLabels={"name": "nobody"})])
    await asyncio.sleep(1)
    assert world.decided() == {"p-decision-1": []}
    assert world.satisfied()["reason"] == "NoManagedClusterMatched"


@virtual
async def test_a_deleted_placement_takes_its_decisions_along() -> None:
    world = Placed(3)
    world.place()
    await asyncio.sleep(1)
    world.hub.remove(kinds.PLACEMENT, "p", "ns")
    await asyncio.sleep(1)
    assert world.decided() == {}


@virtual
async def test_a_taint_removes_and_its_end_restores_a_cluster() -> None:
    world = Placed(2)
    world.place()
    await asyncio.sleep(1)
    world.cluster("c000", spec={"taints": [UNREACHABLE]})
    await asyncio.sleep(1)
    assert world.decided() == {"p-decision-1": ["c001"]}
    world.cluster("c000", spec={})
    await asyncio.sleep(1)
    assert world.decided() == {"p-decision-1": ["c000", "c001"]}


@virtual
async def test_a_change_that_does_not_matter_writes_nothing() -> None:
    world = Placed(2)
    world.place()
    await asyncio.sleep(1)
    writes = len(world.hub.writes)
    world.cluster("c000", status={"conditions": []})
    world.place()
    await asyncio.sleep(1)
    assert len(world.hub.writes) == writes


@virtual
async def test_without_a_set_binding_nothing_is_selected_when_one_is_required() -> None:
    world = Placed(2, require_set_binding=True)
    world.place()
    await asyncio.sleep(1)
    assert world.decided() == {}
    assert (world.satisfied()["status"], world.satisfied()["reason"]) == (
        "False",
        "NoManagedClusterSetBindings",
    )
    world.hub.put(kinds.CLUSTER_SET_BINDING, {"metadata": {"name": "default", "namespace": "ns"}})
    await asyncio.sleep(1)
    assert world.decided() == {"p-decision-1": ["c000", "c001"]}
