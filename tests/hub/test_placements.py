"""Placements and bindings: brought about once, repaired, and taken away whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade, PolicyRef
from talm.api.meta import changed
from talm.core.model import WantedPlacement
from talm.core.placements import wanted_placements
from talm.errors import ApiError
from talm.hub.placements import Placements
from talm.hub.store import Store
from tests.hub.fakehub import FakeHub, followed, refusal
from tests.hub.given import cgu, put_cluster

CGU = cgu(clusters=["c1", "c2"])
POLICY = PolicyRef(name="upgrade", namespace="pol")
OTHER = PolicyRef(name="operators", namespace="pol")


@pytest.fixture
def hub() -> FakeHub:
    hub = FakeHub()
    put_cluster(hub, "c1")
    put_cluster(hub, "c2")
    return hub


@pytest.fixture
async def store(hub: FakeHub) -> AsyncIterator[Store]:
    async with followed(hub, Store(hub.client, lambda *_: None)) as following:
        yield following


@pytest.fixture
def placements(hub: FakeHub, store: Store) -> Placements:
    return Placements(hub.client, store)


def wanted(*clusters: str, policies: tuple[PolicyRef, ...] = (POLICY,)) -> list[WantedPlacement]:
    return list(wanted_placements(CGU.metadata, policies, dict.fromkeys(policies, clusters)))


def owned(
    cgu: ClusterGroupUpgrade, want: list[WantedPlacement], stored: bool
) -> ClusterGroupUpgrade:
    """The CGU as it is once the placements are in its status."""
    if not stored:
        return cgu
    names = tuple(w.name for w in want)
    safe = {f"{w.policy.namespace}/{w.desired}": w.name for w in want}
    more = {"pol/du-upgrade-pol-subscription": "a-view-of-somebody"}
    status = changed(
        cgu.status, placements=names, placement_bindings=names, safe_resource_names=safe | more
    )
    return changed(cgu, status=status)


async def test_a_placement_lists_the_clusters_and_its_binding_enforces(
    hub: FakeHub, placements: Placements
) -> None:
    (want,) = wanted("c1", "c2")
    await placements.bring_about(CGU, [want])
    placed = hub.truth(kinds.PLACEMENT, want.name, "pol")
    (predicate,) = placed["spec"]["predicates"]
    (names,) = predicate["requiredClusterSelector"]["labelSelector"]["matchExpressions"]
    assert names == {"key": "name", "operator": "In", "values": ["c1", "c2"]}
    assert [t["key"].rpartition("/")[2] for t in placed["spec"]["tolerations"]] == [
        "unreachable",
        "unavailable",
    ]
    bound = hub.truth(kinds.PLACEMENT_BINDING, want.name, "pol")
    assert bound["bindingOverrides"] == {"remediationAction": "enforce"}
    assert bound["subFilter"] == "restricted"
    assert bound["placementRef"]["name"] == want.name
    assert [subject["name"] for subject in bound["subjects"]] == ["upgrade"]
    for made in (placed, bound):
        labels = made["metadata"]["labels"]
        assert labels["openshift-cluster-group-upgrades/clusterGroupUpgrade"] == "du-upgrade"
        assert labels["openshift-cluster-group-upgrades/clusterGroupUpgradeNamespace"] == "ztp"
        assert labels["openshift-cluster-group-upgrades/forPolicy"] == "upgrade"
        assert made["metadata"]["annotations"] == {
            "cluster-group-upgrades-operator/rname": f"pol/{want.desired}"
        }


async def test_what_is_as_wanted_costs_no_request(hub: FakeHub, placements: Placements) -> None:
    await placements.bring_about(CGU, wanted("c1"))
    await hub.heard()
    hub.writes.clear()
    await placements.bring_about(CGU, wanted("c1"))
    assert hub.writes == []
    await placements.bring_about(CGU, wanted("c1", "c2"))
    assert [(verb, kind) for verb, kind, _ in hub.writes] == [("apply", "placements")]


@pytest.mark.parametrize(
    "edit",
    [{"subFilter": None}, {"bindingOverrides": None}, {"subjects": []}, {"placementRef": {}}],
    ids=lambda edit: next(iter(edit)),
)
async def test_a_binding_that_somebody_has_changed_is_put_right(
    hub: FakeHub, placements: Placements, edit: dict[str, object]
) -> None:
    (want,) = wanted("c1")
    await placements.bring_about(CGU, [want])
    right = hub.truth(kinds.PLACEMENT_BINDING, want.name, "pol")
    fields = {n: v for n, v in (right | edit).items() if n != "metadata" and v is not None}
    hub.put(kinds.PLACEMENT_BINDING, want.name, "pol", **fields)
    await hub.heard()
    await placements.bring_about(CGU, [want])
    now = hub.truth(kinds.PLACEMENT_BINDING, want.name, "pol")
    assert now["subFilter"] == "restricted"
    assert now["bindingOverrides"] == right["bindingOverrides"]
    assert (now["subjects"], now["placementRef"]) == (right["subjects"], right["placementRef"])


@pytest.mark.parametrize(
    "spec", [{}, {"predicates": []}, {"predicates": [{}]}, {"predicates": [None]}, None], ids=str
)
async def test_a_placement_of_another_shape_is_put_right(
    hub: FakeHub, placements: Placements, spec: object
) -> None:
    (want,) = wanted("c1")
    await placements.bring_about(CGU, [want])
    hub.put(kinds.PLACEMENT, want.name, "pol", spec=spec)
    await hub.heard()
    await placements.bring_about(CGU, [want])
    assert hub.truth(kinds.PLACEMENT, want.name, "pol")["spec"]["predicates"][0]


async def test_a_cluster_without_the_label_name_gets_it(
    hub: FakeHub, placements: Placements
) -> None:
    hub.put(kinds.MANAGED_CLUSTER, "c1", metadata={"labels": {"site": "a"}})
    await hub.heard()
    await placements.bring_about(CGU, wanted("c1", "c2", "unknown"))
    assert ("patch", "managedclusters", "c1") in hub.writes
    assert ("patch", "managedclusters", "c2") not in hub.writes
    labels = hub.truth(kinds.MANAGED_CLUSTER, "c1")["metadata"]["labels"]
    assert labels == {"site": "a", "name": "c1"}


async def test_a_cluster_that_has_just_left_the_hub_holds_nobody_up(
    hub: FakeHub, placements: Placements
) -> None:
    hub.put(kinds.MANAGED_CLUSTER, "c1")
    await hub.heard()
    hub.news_flow.clear()
    hub.remove(kinds.MANAGED_CLUSTER, "c1")
    await placements.bring_about(CGU, wanted("c1", "c2"))
    assert len(hub.names(kinds.PLACEMENT_BINDING)) == 1


async def test_a_refused_placement_is_raised(hub: FakeHub, placements: Placements) -> None:
    hub.refusals["apply", "placements"] = refusal(403)
    with pytest.raises(ApiError):
        await placements.bring_about(CGU, wanted("c1"))


@pytest.mark.parametrize("seen", [True, False])
async def test_all_are_deleted_also_those_that_the_cache_does_not_show_yet(
    hub: FakeHub, placements: Placements, seen: bool
) -> None:
    if not seen:
        hub.news_flow.clear()
    want = wanted("c1", policies=(POLICY, OTHER))
    await placements.bring_about(CGU, want)
    hub.put(kinds.PLACEMENT, "theirs", "pol")
    if seen:
        await hub.heard()
    await placements.delete_all(owned(CGU, want, stored=not seen))
    assert hub.names(kinds.PLACEMENT) == ["theirs"]
    assert hub.names(kinds.PLACEMENT_BINDING) == []


async def test_those_that_are_gone_or_going_are_no_error(
    hub: FakeHub, placements: Placements
) -> None:
    (want,) = wanted("c1")
    await placements.bring_about(CGU, [want])
    labels = hub.truth(kinds.PLACEMENT, want.name, "pol")["metadata"]["labels"]
    meta = {"labels": labels, "deletionTimestamp": "2022-01-27T20:00:00Z", "finalizers": ["x"]}
    hub.put(kinds.PLACEMENT, want.name, "pol", metadata=meta)
    await hub.heard()
    hub.news_flow.clear()
    hub.remove(kinds.PLACEMENT_BINDING, want.name, "pol")
    hub.writes.clear()
    await placements.delete_all(owned(CGU, [want], stored=True))
    assert hub.writes == [("delete", "placementbindings", want.name)]


async def test_one_that_is_refused_does_not_keep_the_others(
    hub: FakeHub, placements: Placements
) -> None:
    want = wanted("c1", policies=(POLICY, OTHER))
    await placements.bring_about(CGU, want)
    await hub.heard()
    refused = min(w.name for w in want)
    hub.refusals["delete", refused] = refusal(403)
    with pytest.raises(ApiError):
        await placements.delete_all(CGU)
    assert hub.names(kinds.PLACEMENT) == hub.names(kinds.PLACEMENT_BINDING) == [refused]
