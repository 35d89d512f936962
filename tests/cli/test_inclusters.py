"""What is read of clusters' namespaces, with which rights, and what is unknown without them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import web

from talm.api import kinds
from talm.api.ocm import ManagedClusterView
from talm.cli import inclusters
from talm.cli.inclusters import Selected, may_list, read, read_managed
from talm.kube.client import Client
from tests.kube.apiserver import ApiServer, refuse, write_kubeconfig

VIEWS = Selected.named(kinds.VIEW, ManagedClusterView, "view-precache-progress")
SERVED = ("c-1", "c-2", "c-3")


@pytest_asyncio.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    async with server.running():
        for cluster in SERVED:
            server.put(kinds.VIEW, "view-precache-progress", cluster)
        yield server


@pytest_asyncio.fixture
async def client(api: ApiServer, tmp_path: Path) -> AsyncIterator[Client]:
    kubeconfig = write_kubeconfig(tmp_path / "config", api.url, {"token": "t"})
    async with await Client.connect(kubeconfig, user_agent="talm-tests") as made:
        yield made


def allow(api: ApiServer, *clusters: str) -> None:
    """Refuse everything but the namespaces of these clusters."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if any(f"/namespaces/{cluster}/" in request.path for cluster in clusters):
            return None
        return refuse(403, "Forbidden", 'views is forbidden: User "me" may not')

    api.hook = hook


async def test_one_list_over_the_hub_reads_the_clusters_that_were_asked_for(
    api: ApiServer, client: Client
) -> None:
    found = await read(client, ["c-1", "c-2", "c-9"], VIEWS)
    assert sorted(cluster for cluster, _ in found.objects) == ["c-1", "c-2"]
    assert (found.unknown, api.lists) == ({}, 1)
    assert not (await read(client, [], VIEWS)).objects
    assert await may_list(client, VIEWS) == ""


async def test_where_that_is_refused_each_namespace_is_read(api: ApiServer, client: Client) -> None:
    allow(api, "c-1")
    found = await read(client, ["c-1", "c-2"], VIEWS)
    assert list(found.objects) == [("c-1", "view-precache-progress")]
    assert found.unknown == {"c-2": 'User "me" may not'}
    assert (found.why("c-1"), found.why("c-2")) == ("", 'User "me" may not')
    assert await may_list(client, VIEWS) == 'User "me" may not'


async def test_a_single_cluster_is_read_in_its_namespace(api: ApiServer, client: Client) -> None:
    allow(api, "c-1")
    assert (await read(client, ["c-1"], VIEWS)).objects


async def test_thousands_are_not_asked_one_by_one(api: ApiServer, client: Client) -> None:
    allow(api, *SERVED)
    many = [f"c-{n}" for n in range(inclusters.MOST_SINGLE_READS + 1)]
    found = await read(client, many, VIEWS)
    assert (found.objects, found.unknown) == ({}, {"": 'User "me" may not'})
    assert found.why("c-1") == 'User "me" may not'


async def test_a_kind_that_the_hub_does_not_serve_is_empty(api: ApiServer, client: Client) -> None:
    api.missing.add(kinds.VIEW.plural)
    assert (await read(client, ["c-1", "c-2"], VIEWS)) == inclusters.Found()
    assert await may_list(client, VIEWS) == ""


async def test_an_object_that_cannot_be_read_is_passed_over(api: ApiServer, client: Client) -> None:
    api.put(kinds.VIEW, "view-precache-progress", "c-1", spec="odd")
    found = await read(client, ["c-1", "c-2"], VIEWS)
    assert list(found.objects) == [("c-2", "view-precache-progress")]


async def test_managed_clusters_are_read_alone_or_together(api: ApiServer, client: Client) -> None:
    for cluster in SERVED:
        api.put(kinds.MANAGED_CLUSTER, cluster, "", metadata={"name": cluster})
    assert list((await read_managed(client, ["c-1"])).objects) == [("", "c-1")]
    assert len((await read_managed(client, ["c-1", "c-2"])).objects) == 3
    assert (await read_managed(client, ["c-9"])).unknown == {"": "it is not on this hub"}
    allow(api)
    assert (await read_managed(client, ["c-1"])).unknown == {"": 'User "me" may not'}
