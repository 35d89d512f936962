"""talm.kube on a real API server: what the small one in tests/kube only imitates."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from talm.api.kinds import CONFIG_MAP, CRD, EVENT, JOB, LEASE, NAMESPACE, Kind
from talm.api.meta import Object
from talm.errors import AlreadyExists, Conflict, Invalid, LeadershipLost, NotFound
from talm.kube.cache import Key
from talm.kube.client import Client
from talm.kube.events import EventRecorder, Regarding
from talm.kube.lease import Leadership, LeaseTimes, is_renewed
from talm.kube.watch import Informer, Pace
from talm.sim.plane.hubs import Hub
from tests.conftest import StartControlPlane
from tests.kube.waiting import PATIENCE_S, until_true

pytestmark = pytest.mark.integration

QUICK = Pace(absent_s=0.2, first_s=0.1, longest_s=1.0, page_limit=10)


class ConfigMap(Object, frozen=True, kw_only=True):
    data: dict[str, str] | None = None


def config_map(name: str, namespace: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


class Following:
    """An informer that runs, and what it reported, replayed."""

    def __init__(self, client: Client, kind: Kind, namespace: str, **options: Any) -> None:
        self.replayed: dict[Key, ConfigMap] = {}
        self.informer = Informer(
            client, kind, ConfigMap, self._replay, namespace=namespace, pace=QUICK, **options
        )

    def _replay(self, key: Key, old: ConfigMap | None, new: ConfigMap | None) -> None:
        assert self.replayed.get(key) == old
        if new is None:
            del self.replayed[key]
        else:
            self.replayed[key] = new

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Informer[ConfigMap]]:
        task = asyncio.create_task(self.informer.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.informer.synced.wait()
            yield self.informer
            assert self.replayed == self.informer.cache
        finally:
            task.cancel()
            await asyncio.wait({task})

    def names(self) -> set[str]:
        """The names in the cache, without what Kubernetes puts into every namespace."""
        return {name for _, name in self.informer.cache} - {"kube-root-ca.crt"}


async def test_a_list_comes_in_pages_that_show_one_moment(
    hub_client: Client, namespace: str
) -> None:
    names = {f"c{number:02}" for number in range(25)}
    for name in sorted(names):
        await hub_client.create(CONFIG_MAP, config_map(name, namespace))
    pages = hub_client.pages(CONFIG_MAP, namespace, limit=10)
    versions = []
    sizes = []
    async for page in pages:
        versions.append(page.resource_version)
        sizes.append(len(page.items))
        if len(versions) == 1:
            await hub_client.create(CONFIG_MAP, config_map("later", namespace))
    assert len(set(versions)) == 1
    assert sizes[:2] == [10, 10]
    assert names < {o["metadata"]["name"] for o in await hub_client.list(CONFIG_MAP, namespace)}


async def test_every_change_reaches_the_informer(hub_client: Client, namespace: str) -> None:
    for number in range(12):
        await hub_client.create(CONFIG_MAP, config_map(f"c{number}", namespace))
    by_color = {"color": lambda found: [(found.data or {}).get("color", "none")]}
    following = Following(hub_client, CONFIG_MAP, namespace, indexes=by_color)
    async with following.running() as informer:
        assert following.names() == {f"c{number}" for number in range(12)}
        patched = await hub_client.merge_patch(
            CONFIG_MAP, "c1", {"data": {"color": "red"}}, namespace
        )
        key, version = (namespace, "c1"), patched["metadata"]["resourceVersion"]
        assert await informer.wait_newer(key, version, timeout_s=PATIENCE_S)
        assert [found.metadata.name for found in informer.by("color", "red")] == ["c1"]
        await hub_client.delete(CONFIG_MAP, "c1", namespace)
        await hub_client.delete_collection(
            CONFIG_MAP, namespace, label_selector="!kubernetes.io/none"
        )
        await until_true(lambda: not following.names())
        assert informer.by("color", "red") == []


async def test_an_object_of_a_megabyte_arrives_through_the_watch(
    hub_client: Client, namespace: str
) -> None:
    following = Following(hub_client, CONFIG_MAP, namespace)
    async with following.running() as informer:
        # On the wire a megabyte of quotes is two.
        await hub_client.create(CONFIG_MAP, config_map("big", namespace, blob='"' * 1_000_000))
        await until_true(lambda: informer.get("big", namespace) is not None)


async def test_a_stale_write_is_a_conflict_and_a_second_create_says_already_exists(
    hub_client: Client, namespace: str
) -> None:
    first = await hub_client.create(CONFIG_MAP, config_map("a", namespace, x="1"))
    with pytest.raises(AlreadyExists):
        await hub_client.create(CONFIG_MAP, config_map("a", namespace))
    second = await hub_client.replace(CONFIG_MAP, {**first, "data": {"x": "2"}})
    with pytest.raises(Conflict):
        await hub_client.replace(CONFIG_MAP, {**first, "data": {"x": "3"}})
    with pytest.raises(Conflict):
        await hub_client.delete(CONFIG_MAP, "a", namespace, uid=str(uuid.uuid4()))
    await hub_client.delete(CONFIG_MAP, "a", namespace, uid=second["metadata"]["uid"])
    with pytest.raises(NotFound):
        await hub_client.get(CONFIG_MAP, "a", namespace)
    with pytest.raises(Invalid, match="RFC 1123"):
        await hub_client.create(CONFIG_MAP, config_map("Not_A_Name", namespace))


async def test_server_side_apply_owns_fields_and_takes_them_only_by_force(
    hub_client: Client, namespace: str
) -> None:
    mine = config_map("shared", namespace, x="mine")
    await hub_client.apply(CONFIG_MAP, mine, field_manager="me")
    theirs = config_map("shared", namespace, x="theirs", y="theirs")
    with pytest.raises(Conflict, match="conflict with"):
        await hub_client.apply(CONFIG_MAP, theirs, field_manager="them", force=False)
    both = await hub_client.apply(CONFIG_MAP, theirs, field_manager="them")
    assert both["data"] == {"x": "theirs", "y": "theirs"}


async def test_discovery_knows_what_is_served(hub_client: Client) -> None:
    assert await hub_client.serves(JOB)
    assert await hub_client.serves(NAMESPACE)
    assert not await hub_client.serves(Kind("no.such.group", "v1", "Thing", "things"))
    assert not await hub_client.serves(Kind("batch", "v1", "Thing", "things"))


def definition(kind: Kind) -> dict[str, Any]:
    names = {"kind": kind.kind, "plural": kind.plural, "singular": kind.kind.lower()}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }


async def test_an_optional_kind_is_followed_from_its_crd_to_its_end(
    hub_client: Client, namespace: str
) -> None:
    kind = Kind(f"g{uuid.uuid4().hex[:8]}.example.com", "v1", "Thing", "things")
    following = Following(hub_client, kind, "", optional=True)
    async with following.running() as informer:
        assert not informer.present
        await hub_client.create(CRD, definition(kind))
        await until_true(lambda: informer.present)
        await hub_client.create(kind, {"metadata": {"name": "one", "namespace": namespace}})
        await until_true(lambda: following.names() == {"one"})
        await hub_client.delete(CRD, kind.resource)
        await until_true(lambda: not informer.present and not informer.cache)


async def test_two_electors_lead_one_after_the_other(
    hub: Hub, hub_client: Client, namespace: str
) -> None:
    times = LeaseTimes(duration_s=30, renew_s=20, retry_s=0.2)
    order: list[str] = []
    may_end = asyncio.Event()

    async def lead(name: str) -> None:
        async with await Client.connect(hub.kubeconfig, user_agent=name) as own:
            leadership = Leadership(own, namespace, "leader", name, times=times)

            async def work() -> None:
                leadership.check()
                order.append(name)
                await may_end.wait()

            await leadership.lead(work)
            with pytest.raises(LeadershipLost):
                leadership.check()

    both = [asyncio.create_task(lead(name)) for name in ("a", "b")]
    async with asyncio.timeout(PATIENCE_S):
        await until_true(lambda: bool(order))
        assert await is_renewed(hub_client, namespace, "leader", look_s=0.1)
        assert len(order) == 1
        may_end.set()
        await asyncio.gather(*both)
    assert sorted(order) == ["a", "b"]
    lease = await hub_client.get(LEASE, "leader", namespace)
    assert lease["spec"]["holderIdentity"] == ""
    assert lease["spec"]["leaseTransitions"] == 1
    assert not await is_renewed(hub_client, namespace, "leader")


async def test_events_pass_the_validation_of_the_api_server(
    hub_client: Client, namespace: str
) -> None:
    recorder = EventRecorder(hub_client, controller="talm.io/hub", instance="talm-0")
    about = Regarding(CONFIG_MAP, "a" * 253, namespace, uid="u-1")
    for _ in range(3):
        recorder.record(about, "Failed", "ä" * 2000, action="Retry", type="Warning")
    recorder.record(about, "Started", "one", action="Precache")
    await recorder.flush(PATIENCE_S)
    recorder.record(about, "Started", "one", action="Precache")
    recorder.record(about, "Failed", "ä" * 2000, action="Retry", type="Warning")
    await recorder.flush(PATIENCE_S)
    assert recorder.dropped == 0
    found = await hub_client.list(EVENT, namespace)
    assert {e["reason"]: e["series"]["count"] for e in found} == {"Failed": 4, "Started": 2}


@pytest.mark.parametrize("way", ["crash", "whole control plane"])
async def test_a_restart_of_the_api_server_loses_no_change(
    start_control_plane: StartControlPlane, way: str
) -> None:
    plane = await start_control_plane("own", controllers="")
    async with (
        await Client.connect(plane.kubeconfig, user_agent="informer") as ours,
        await Client.connect(plane.kubeconfig, user_agent="others") as theirs,
    ):
        for name in "abc":
            await theirs.create(CONFIG_MAP, config_map(name, "default"))
        following = Following(ours, CONFIG_MAP, "default")
        async with following.running() as informer:
            assert following.names() == {"a", "b", "c"}
            if way == "crash":
                await plane.restart_api_server(kill=True)
            else:
                await plane.stop()
                await plane.start()
            await theirs.delete(CONFIG_MAP, "b", "default")
            await theirs.create(CONFIG_MAP, config_map("d", "default"))
            await theirs.merge_patch(CONFIG_MAP, "a", {"data": {"x": "new"}}, "default")
            await until_true(lambda: following.names() == {"a", "c", "d"})
            await until_true(lambda: informer.cache["default", "a"].data == {"x": "new"})
            await theirs.create(CONFIG_MAP, config_map("e", "default"))
            await until_true(lambda: "e" in following.names())


async def test_who_resumes_from_a_forgotten_past_lists_again_and_learns_of_deletions(
    start_control_plane: StartControlPlane,
) -> None:
    plane = await start_control_plane("own", controllers="")
    async with await Client.connect(plane.kubeconfig, user_agent="test") as client:
        for name in "ab":
            await client.create(CONFIG_MAP, config_map(name, "default"))
        following = Following(client, CONFIG_MAP, "default")
        async with following.running():
            assert following.names() == {"a", "b"}
        await client.delete(CONFIG_MAP, "a", "default")
        await client.create(CONFIG_MAP, config_map("c", "default"))
        # The API server's memory of changes begins with its start.
        await plane.restart_api_server(kill=True)
        lists = following.informer.lists
        async with following.running():
            await until_true(lambda: following.names() == {"b", "c"})
        assert following.informer.lists == lists + 1
