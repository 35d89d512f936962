"""The hub's picture of a cluster follows its link, late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from talm.api import kinds
from talm.sim.clock import Clock
from talm.sim.hubside.clusters import AVAILABLE, ClusterFacts, ClusterKeeper
from talm.sim.links import Link

from ..fakehub import FakeHub
from ..oneworld import START
from ..virtual import virtual


async def kept(**settings: Any) -> tuple[FakeHub, Link]:
    hub = FakeHub()
    keeper = ClusterKeeper(hub, Clock(start=START), **settings)
    facts = ClusterFacts(labels={"site": "a"}, claims={"product": "OpenShift"})
    await keeper.register("c1", facts)
    link = Link(listing=lambda _number: [])
    keeper.follow("c1", link)
    return hub, link


def cluster(hub: FakeHub) -> dict[str, Any]:
    return hub.get(kinds.MANAGED_CLUSTER, "c1")


def available(hub: FakeHub) -> dict[str, Any]:
    conditions = cluster(hub)["status"]["conditions"]
    return next(c for c in conditions if c["type"] == AVAILABLE)


@virtual
async def test_a_registered_cluster_is_joined_and_available() -> None:
    hub, _ = await kept()
    assert cluster(hub)["metadata"]["labels"] == {"name": "c1", "site": "a"}
    status = cluster(hub)["status"]
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [
        ("HubAcceptedManagedCluster", "True"),
        ("ManagedClusterJoined", "True"),
        ("ManagedClusterConditionAvailable", "True"),
        ("ManagedClusterConditionClockSynced", "True"),
    ]
    assert status["clusterClaims"] == [{"name": "product", "value": "OpenShift"}]
    assert hub.get(kinds.NAMESPACE, "c1")
    assert hub.list(kinds.ADD_ON) == []


@virtual
async def test_registering_again_changes_no_more_than_the_status() -> None:
    hub, _ = await kept()
    keeper = ClusterKeeper(hub, Clock(start=START))
    await keeper.register("c1", ClusterFacts(labels={"site": "b"}))
    assert cluster(hub)["metadata"]["labels"]["site"] == "a"


@virtual
async def test_a_silent_cluster_looks_available_for_five_minutes() -> None:
    hub, link = await kept(add_ons=True)
    link.down()
    await asyncio.sleep(299)
    assert available(hub)["status"] == "True"
    await asyncio.sleep(2)
    condition = available(hub)
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "Unknown",
        "ManagedClusterLeaseUpdateStopped",
        "Registration agent stopped updating its lease.",
    )
    assert condition["lastTransitionTime"] == "2024-05-01T12:05:00Z"
    assert cluster(hub)["spec"]["taints"] == [
        {
            "key": "cluster.open-cluster-management.io/unreachable",
            "effect": "NoSelect",
            "timeAdded": "2024-05-01T12:05:00Z",
        }
    ]
    add_on = hub.get(kinds.ADD_ON, "work-manager", "c1")["status"]["conditions"][0]
    assert (add_on["status"], add_on["reason"]) == ("Unknown", "ManagedClusterLeaseUpdateStopped")


@virtual
async def test_its_return_makes_it_available_again() -> None:
    hub, link = await kept(add_ons=True)
    link.down()
    await asyncio.sleep(400)
    link.up()
    await asyncio.sleep(2)
    assert available(hub)["reason"] == "ManagedClusterAvailable"
    assert "taints" not in cluster(hub)["spec"]
    add_on = hub.get(kinds.ADD_ON, "work-manager", "c1")["status"]["conditions"][0]
    assert (add_on["status"], add_on["reason"]) == ("True", "ManagedClusterAddOnLeaseUpdated")


@pytest.mark.parametrize("away_s", [1, 100, 299])
@virtual
async def test_a_short_absence_is_never_seen(away_s: float) -> None:
    hub, link = await kept()
    before = cluster(hub)
    link.down()
    await asyncio.sleep(away_s)
    link.up()
    await asyncio.sleep(1000)
    assert cluster(hub) == before


@virtual
async def test_a_dead_watch_does_not_stop_the_lease() -> None:
    hub, link = await kept()
    before = cluster(hub)
    link.half_dead()
    await asyncio.sleep(1000)
    assert cluster(hub) == before


@virtual
async def test_an_unreachable_hub_learns_of_it_later() -> None:
    hub, link = await kept(grace_s=10)
    hub.unreachable = True
    link.down()
    await asyncio.sleep(60)
    hub.unreachable = False
    await asyncio.sleep(10)
    assert available(hub)["status"] == "Unknown"


@virtual
async def test_a_plain_cluster_has_no_add_on_beside_others_that_have() -> None:
    hub, _ = await kept(add_ons=True, plain={"c1"})
    assert hub.list(kinds.ADD_ON) == []
    keeper = ClusterKeeper(hub, Clock(start=START), add_ons=True, plain={"c1"})
    await keeper.register("c2", ClusterFacts())
    assert [o["metadata"]["namespace"] for o in hub.list(kinds.ADD_ON)] == ["c2"]
