"""Children of policies with hub templates: followed when asked for, kept once for all alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import ROOT_POLICY_LABEL
from talm.core.objects import text_at
from talm.hub.children import Children
from talm.hub.store import CHILD_POLICIES, Store
from tests.hub.fakehub import FakeHub, followed
from tests.kube.waiting import until_true

ROOT = ("pol", "upgrade")


def put_child(hub: FakeHub, cluster: str, image: str, *, label: str = "pol.upgrade") -> None:
    wanted = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "spec": {"desiredUpdate": {"image": image}},
    }
    site = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"site": cluster}}
    entries = [{"complianceType": "musthave", "objectDefinition": o} for o in (wanted, site)]
    definition = {"kind": "ConfigurationPolicy", "spec": {"object-templates": entries}}
    hub.put(
        kinds.POLICY,
        "pol.upgrade",
        cluster,
        metadata={"labels": {ROOT_POLICY_LABEL: label}},
        spec={"policy-templates": [{"objectDefinition": definition}]},
    )


class Followed:
    """The children on a hub, and of whom was told."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.store = Store(hub.client, self.heard)
        self.children = self.store.resolved
        self.told: list[tuple[str, str]] = []

    def heard(self, name: str, key: tuple[str, str], _old: Any, _new: Any) -> None:
        if name == CHILD_POLICIES:
            self.told.append(key)

    async def images(self) -> dict[str, str]:
        """Image by cluster, once they are listed."""
        await until_true(lambda: self.children.of(ROOT) is not None)
        await self.hub.heard()
        found = self.children.of(ROOT) or {}
        update = ("spec", "desiredUpdate", "image")
        return {cluster: text_at(one.objects[0], *update) for cluster, one in found.items()}


@pytest.fixture
async def scene() -> AsyncIterator[Followed]:
    made = Followed(FakeHub())
    async with followed(made.hub, made.store):
        yield made


async def test_children_are_listed_when_they_are_first_asked_for_and_then_it_is_told(
    scene: Followed,
) -> None:
    put_child(scene.hub, "c1", "i:1")
    await scene.hub.heard()
    assert scene.children.of(ROOT) is None
    scene.told.clear()
    assert await scene.images() == {"c1": "i:1"}
    await until_true(lambda: ("", "pol.upgrade") in scene.told)


async def test_a_change_is_told_and_seen(scene: Followed) -> None:
    put_child(scene.hub, "c1", "i:1")
    await scene.images()
    put_child(scene.hub, "c1", "i:2")
    put_child(scene.hub, "c2", "i:3", label="any value")
    assert await scene.images() == {"c1": "i:2", "c2": "i:3"}
    scene.hub.remove(kinds.POLICY, "pol.upgrade", "c1")
    await scene.hub.heard()
    assert await scene.images() == {"c2": "i:3"}


async def test_what_is_the_same_for_many_clusters_is_kept_once(scene: Followed) -> None:
    for cluster, image in (("c1", "i:1"), ("c2", "i:1"), ("c3", "i:2")):
        put_child(scene.hub, cluster, image)
    await scene.images()
    found = scene.children.of(ROOT)
    assert found is not None
    assert found["c1"] is found["c2"]
    assert found["c1"] is not found["c3"]


async def test_of_a_root_that_is_gone_nothing_is_followed_any_more(scene: Followed) -> None:
    scene.hub.put(kinds.POLICY, "upgrade", "pol", spec={})
    put_child(scene.hub, "c1", "i:1")
    await scene.images()
    scene.hub.remove(kinds.POLICY, "upgrade", "pol")
    await scene.hub.heard()
    scene.told.clear()
    assert scene.children.of(ROOT) is None
    assert await scene.images() == {"c1": "i:1"}


async def test_nobody_follows_children_that_nobody_asks_for(scene: Followed) -> None:
    put_child(scene.hub, "c1", "i:1")
    await scene.hub.heard()
    assert isinstance(scene.children, Children)
    assert not scene.children._followed
