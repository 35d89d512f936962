"""The store: what it knows, how new, and whom it tells."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest

from talm.api import kinds
from talm.api.meta import changed
from talm.api.words import RUN_LABEL, VIEW_ADD_ON
from talm.core.model import Cluster
from talm.hub.store import CACHE_RECORDS, CHILD_POLICIES, Key, Store
from tests.hub.fakehub import FakeHub, followed
from tests.hub.given import cgu, decoded, put_cgu, put_cluster, put_policy
from tests.kube.waiting import PATIENCE_S

CGU = ("ztp", "du-upgrade")


class Listener:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Key]] = []

    def __call__(self, name: str, key: Key, old: Any, new: Any) -> None:
        self.calls.append((name, key))


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def store(hub: FakeHub, listener: Listener) -> AsyncIterator[Store]:
    async with followed(hub, Store(hub.client, listener)) as following:
        yield following


async def test_every_kind_is_followed_and_told_of_by_its_own_name(
    hub: FakeHub, store: Store, listener: Listener
) -> None:
    put_cgu(hub)
    put_cluster(hub, "c1")
    put_policy(hub, "upgrade", ["c1"])
    hub.put(kinds.VIEW, "v", "c1")
    hub.put(kinds.ACTION, "a", "c1")
    hub.put(kinds.MANIFEST_WORK, "w", "c1", metadata={"labels": {RUN_LABEL: "run-1"}})
    hub.put(kinds.MANIFEST_WORK, "somebody-elses", "c1")
    hub.put(kinds.ADD_ON, VIEW_ADD_ON, "c1")
    hub.put(kinds.ADD_ON, "somebody-elses", "c1")
    hub.put(kinds.PLACEMENT, "p", "pol")
    hub.put(kinds.PLACEMENT_BINDING, "p", "pol")
    hub.put(kinds.PRE_CACHING_CONFIG, "cfg", "ztp")
    hub.put(kinds.CONFIG_MAP, "cluster-group-upgrade-overrides", "ztp")
    hub.put(kinds.CONFIG_MAP, "somebody-elses", "ztp")
    hub.put(kinds.CONFIG_MAP, "precache-record", "c1")
    await hub.heard()
    assert sorted(listener.calls) == sorted(
        [
            ("clustergroupupgrades", CGU),
            ("managedclusters", ("", "c1")),
            ("policies", ("pol", "upgrade")),
            (CHILD_POLICIES, ("c1", "pol.upgrade")),
            ("managedclusterviews", ("c1", "v")),
            ("managedclusteractions", ("c1", "a")),
            ("manifestworks", ("c1", "w")),
            ("managedclusteraddons", ("c1", VIEW_ADD_ON)),
            ("placements", ("pol", "p")),
            ("placementbindings", ("pol", "p")),
            ("precachingconfigs", ("ztp", "cfg")),
            ("configmaps", ("ztp", "cluster-group-upgrade-overrides")),
        ]
    )
    # Nobody looks again because of what was cached.
    assert set(store.informers) - {CACHE_RECORDS} == {name for name, _ in listener.calls}


async def test_an_own_write_is_read_until_the_cache_has_caught_up(
    hub: FakeHub, store: Store
) -> None:
    put_cgu(hub)
    await hub.heard()
    hub.news_flow.clear()
    written = decoded(
        hub.put(kinds.CGU, CGU[1], CGU[0], **_body(hub), status={"computedMaxConcurrency": 9})
    )
    store.wrote(written)
    read = store.cgu(CGU)
    assert read is not None
    assert read.status.computed_max_concurrency == 9
    assert store.cgus.cache[CGU].status.computed_max_concurrency == 0
    assert [c.status.computed_max_concurrency for c in store.live_cgus()] == [9]
    hub.put(kinds.CGU, CGU[1], CGU[0], **_body(hub), status={"computedMaxConcurrency": 10})
    hub.news_flow.set()
    await hub.heard()
    read = store.cgu(CGU)
    assert read is not None
    assert read.status.computed_max_concurrency == 10
    assert not store._own, "what the cache shows need not be kept twice"


def _body(hub: FakeHub) -> dict[str, Any]:
    known = hub.truth(kinds.CGU, CGU[1], CGU[0])
    return {"metadata": {"uid": known["metadata"]["uid"]}, "spec": known["spec"]}


async def test_an_answer_that_comes_after_its_news_is_not_kept(hub: FakeHub, store: Store) -> None:
    found = put_cgu(hub)
    await hub.heard()
    store.wrote(found)
    assert not store._own


async def test_an_answer_about_a_cgu_that_is_gone_is_not_kept(hub: FakeHub, store: Store) -> None:
    store.wrote(cgu())
    assert store.cgu(CGU) is None
    assert not store._own


async def test_a_deleted_cgu_takes_our_write_of_it_along(hub: FakeHub, store: Store) -> None:
    found = put_cgu(hub)
    await hub.heard()
    newer = changed(found.metadata, resource_version="99999")
    store.wrote(changed(found, metadata=newer))
    hub.remove(kinds.CGU, CGU[1], CGU[0])
    await hub.heard()
    assert store.cgu(CGU) is None
    assert list(store.live_cgus()) == []
    assert not store._own


async def test_a_write_of_an_earlier_cgu_of_this_name_is_not_read(
    hub: FakeHub, store: Store
) -> None:
    found = put_cgu(hub)
    await hub.heard()
    newer = changed(found.metadata, resource_version="99999", uid="uid-before")
    store.wrote(changed(found, metadata=newer))
    assert store.cgu(CGU) == store.cgus.cache[CGU]


async def test_versions_that_are_no_numbers_never_win_over_the_cache(
    hub: FakeHub, store: Store
) -> None:
    found = put_cgu(hub)
    await hub.heard()
    store.wrote(changed(found, metadata=changed(found.metadata, resource_version="abc")))
    assert store.cgu(CGU) == store.cgus.cache[CGU]


async def test_clusters_are_values_that_change_only_with_what_decides(
    hub: FakeHub, store: Store, listener: Listener
) -> None:
    put_cluster(hub, "c1", available="True", site="a")
    put_cluster(hub, "c2")
    await hub.heard()
    assert store.clusters["c1"].available
    assert store.clusters["c1"].labels == {"name": "c1", "site": "a"}
    assert store.clusters["c1"].since is not None
    assert store.clusters["c2"] == Cluster("c2", {"name": "c2"})
    before = len(listener.calls)
    put_cluster(hub, "c1", available="True", site="a")  # a new version, nothing else
    await hub.heard()
    assert len(listener.calls) == before
    put_cluster(hub, "c1", available="Unknown", site="a")
    await hub.heard()
    assert listener.calls[before:] == [("managedclusters", ("", "c1"))]
    read_again = dict(store.clusters)
    assert not read_again["c1"].available
    hub.remove(kinds.MANAGED_CLUSTER, "c1")
    await hub.heard()
    assert "c1" not in store.clusters
    assert len(listener.calls) == before + 2


async def test_when_a_cluster_was_heard_to_come_or_go_is_told_by_our_own_clock(
    hub: FakeHub,
) -> None:
    class Clock:
        now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)

        def __call__(self) -> dt.datetime:
            return self.now

    clock = Clock()
    store = Store(hub.client, Listener(), now=clock)
    began = clock.now
    async with followed(hub, store):
        put_cluster(hub, "c1", available="True")  # its condition is of 2022
        await hub.heard()
        assert store.clusters["c1"].heard == began
        clock.now += dt.timedelta(minutes=1)
        put_cluster(hub, "c1", available="True", site="a")
        await hub.heard()
        assert store.clusters["c1"].heard == began
        put_cluster(hub, "c1", available="Unknown", site="a")
        await hub.heard()
        assert store.clusters["c1"].heard == clock.now


async def test_root_policies_are_those_with_a_child_on_a_selected_cluster(
    hub: FakeHub, store: Store
) -> None:
    put_policy(hub, "upgrade", ["c1", "c2"], "a")
    put_policy(hub, "upgrade", ["c3"], "b")
    await hub.heard()

    def found(*clusters: str) -> list[str]:
        return [p.namespace for p in store.root_policies("upgrade", frozenset(clusters))]

    assert found("c1") == ["a"]
    assert sorted(found("c2", "c3")) == ["a", "b"]
    assert found("c4") == []
    assert store.root_policies("other", frozenset({"c1"})) == ()


async def test_a_policy_is_parsed_once_per_version(hub: FakeHub, store: Store) -> None:
    put_policy(hub, "upgrade", ["c1"])
    await hub.heard()
    (first,) = store.root_policies("upgrade", frozenset({"c1"}))
    (again,) = store.root_policies("upgrade", frozenset({"c1"}))
    assert again is first
    hub.put(kinds.POLICY, "upgrade", "pol", spec={"remediationAction": "enforce"})
    await hub.heard()
    (newer,) = store.root_policies("upgrade", frozenset({"c1"}))
    assert newer.enforce
    hub.remove(kinds.POLICY, "upgrade", "pol")
    await hub.heard()
    assert not store.root_policies("upgrade", frozenset({"c1"}))
    assert not store._policies


async def test_placements_are_found_by_the_cgu_that_they_are_of(hub: FakeHub, store: Store) -> None:
    labels = {
        "openshift-cluster-group-upgrades/clusterGroupUpgrade": "du-upgrade",
        "openshift-cluster-group-upgrades/clusterGroupUpgradeNamespace": "ztp",
    }
    hub.put(kinds.PLACEMENT, "ours", "pol", metadata={"labels": labels})
    hub.put(kinds.PLACEMENT, "theirs", "pol")
    await hub.heard()
    assert [p.metadata.name for p in store.placements.by("cgu", "ztp/du-upgrade")] == ["ours"]


async def test_synced_means_that_every_kind_was_listed(hub: FakeHub) -> None:
    store = Store(hub.client, Listener())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.wait_synced(), 0)
    async with followed(hub, store):
        await asyncio.wait_for(store.wait_synced(), PATIENCE_S)
