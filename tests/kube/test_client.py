"""The client: what it sends, what an answer means, and what it never does twice."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from talm.api.kinds import CLUSTER_ROLE, CONFIG_MAP, JOB, MANAGED_CLUSTER
from talm.errors import (
    AlreadyExists,
    ApiError,
    Bug,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooBusy,
    Unreachable,
)
from talm.kube.client import Client
from talm.kube.status import parse_retry_after
from talm.kube.transport import resource_of
from tests.kube.apiserver import ApiServer, refuse, write_kubeconfig
from tests.kube.waiting import PATIENCE_S, until_true

BODY = {"metadata": {"name": "settings", "namespace": "ns"}, "data": {"a": "1"}}


async def test_an_object_is_created_read_changed_and_deleted(
    api: ApiServer, client: Client
) -> None:
    created = await client.create(CONFIG_MAP, BODY)
    assert (created["apiVersion"], created["kind"]) == ("v1", "ConfigMap")
    assert await client.get(CONFIG_MAP, "settings", "ns") == created
    patched = await client.merge_patch(CONFIG_MAP, "settings", {"data": {"b": "2"}}, "ns")
    assert patched["data"] == {"a": "1", "b": "2"}
    with pytest.raises(Conflict):
        await client.replace(CONFIG_MAP, created)
    replaced = await client.replace(CONFIG_MAP, {**patched, "data": {}})
    assert replaced["data"] == {}
    applied = await client.apply(CONFIG_MAP, BODY, field_manager="talm")
    assert applied["data"] == {"a": "1"}
    await client.delete(CONFIG_MAP, "settings", "ns")
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAP, "settings", "ns")


async def test_a_list_is_read_page_by_page_and_survives_an_expired_page(
    api: ApiServer, client: Client
) -> None:
    for number in range(1100):
        api.put(CONFIG_MAP, f"c{number:04}")
    assert len(await client.list(CONFIG_MAP)) == 1100

    async def expire(request: web.Request) -> None:
        if request.query.get("continue"):
            api.compact()

    api.hook = expire
    assert len(await client.list(CONFIG_MAP, "ns")) == 1100
    assert await client.list(CONFIG_MAP, "other") == []


async def test_each_request_says_what_it_carries_and_who_sends_it(
    api: ApiServer, client: Client
) -> None:
    seen: list[web.Request] = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({"metadata": {}})

    api.hook = note
    await client.apply(CONFIG_MAP, BODY, field_manager="talm", subresource="status")
    await client.merge_patch(CONFIG_MAP, "settings", {}, "ns")
    await client.delete_collection(JOB, "ns", label_selector="run=1")
    await client.list(MANAGED_CLUSTER, label_selector="a=b", field_selector="metadata.name=x")
    applied, patched, deleted, listed = seen
    assert applied.path == "/api/v1/namespaces/ns/configmaps/settings/status"
    assert dict(applied.query) == {"fieldManager": "talm", "force": "true"}
    assert applied.content_type == "application/apply-patch+yaml"
    assert patched.content_type == "application/merge-patch+json"
    assert deleted.query["labelSelector"] == "run=1"
    assert listed.query["labelSelector"] == "a=b"
    assert listed.query["fieldSelector"] == "metadata.name=x"
    for request in seen:
        assert request.headers["Authorization"] == "Bearer secret"
        assert request.headers["User-Agent"] == "test"


async def test_a_delete_can_be_bound_to_one_very_object(api: ApiServer, client: Client) -> None:
    bodies: list[object] = []

    async def note(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.json_response({})

    api.hook = note
    await client.delete(CONFIG_MAP, "settings", "ns", uid="u-1", propagation="Foreground")
    assert bodies == [
        {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": "u-1"},
        }
    ]


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Forbidden),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (413, "RequestEntityTooLarge", Invalid),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", TooBusy),
        (503, "ServiceUnavailable", TooBusy),
        (500, "InternalError", ApiError),
        (302, "", ApiError),
    ],
)
async def test_an_answer_becomes_the_error_of_its_status(
    api: ApiServer, client: Client, status: int, reason: str, kind: type[ApiError]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return refuse(status, reason, "because", **{"Retry-After": "7"})

    api.hook = answer
    with pytest.raises(ApiError) as caught:
        await client.get(CONFIG_MAP, "settings", "ns")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert caught.value.retry_after_s == 7
    path = "/api/v1/namespaces/ns/configmaps/settings"
    assert str(caught.value) == f"GET {path}: {status}: because"


async def test_an_error_may_come_from_somebody_who_is_no_api_server(
    api: ApiServer, client: Client
) -> None:
    async def gateway(request: web.Request) -> web.StreamResponse:
        return web.Response(status=502, text="<h1>Bad gateway</h1>")

    api.hook = gateway
    with pytest.raises(ApiError, match="502: <h1>Bad gateway"):
        await client.get(CONFIG_MAP, "settings", "ns")


async def test_a_wait_that_only_the_status_object_names_is_found(
    api: ApiServer, client: Client
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"details": {"retryAfterSeconds": 3}}, status=504)

    api.hook = answer
    with pytest.raises(ApiError) as caught:
        await client.get(CONFIG_MAP, "settings", "ns")
    assert caught.value.retry_after_s == 3


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("", None), ("5", 5.0), ("0.5", 0.5), ("soon", None), ("-1", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, 0.0) == seconds


def test_retry_after_as_a_date() -> None:
    now = 1_800_000_000.0
    assert parse_retry_after(formatdate(now + 30, usegmt=True), now) == 30
    assert parse_retry_after(formatdate(now - 30, usegmt=True), now) == 0
    assert parse_retry_after("Wed, 21 Oct 2026 07:28:00", 0.0) is not None


@pytest.mark.parametrize("verb", ["POST", "PATCH"])
async def test_a_write_is_sent_once_whatever_becomes_of_it(
    api: ApiServer, client: Client, verb: str
) -> None:
    writes = 0

    async def fail(request: web.Request) -> web.StreamResponse:
        nonlocal writes
        writes += 1
        if writes == 1:
            return refuse(503, "ServiceUnavailable")
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    api.hook = fail
    path = "/api/v1/namespaces/ns/configmaps"
    with pytest.raises(TooBusy):
        await client.request(verb, path, body=BODY)
    with pytest.raises(Unreachable, match="closed the connection before it answered"):
        await client.request(verb, path, body=BODY)
    assert writes == 2


async def test_a_server_that_does_not_answer_is_unreachable_after_the_deadline(
    api: ApiServer, client: Client
) -> None:
    async def hang(request: web.Request) -> None:
        await asyncio.sleep(3600)

    api.hook = hang
    with pytest.raises(Unreachable, match=f"timed out.*{api.url}"):
        await client.get(CONFIG_MAP, "settings", "ns", timeout_s=0.05)


async def test_an_answer_that_stops_in_its_middle_is_unreachable(
    api: ApiServer, client: Client
) -> None:
    async def stop(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"metadata"')
        assert request.transport is not None
        request.transport.abort()
        return response

    api.hook = stop
    with pytest.raises(Unreachable):
        await client.get(CONFIG_MAP, "settings", "ns")


async def test_a_refused_connection_is_unreachable(tmp_path: Path) -> None:
    async with ApiServer().running() as api:
        kubeconfig = write_kubeconfig(tmp_path / "config", api.url, {})
    async with await Client.connect(kubeconfig, user_agent="test") as client:
        with pytest.raises(Unreachable, match=client.server):
            await client.get(CONFIG_MAP, "settings", "ns")


async def test_every_request_is_counted_by_verb_resource_and_status(
    api: ApiServer, client: Client
) -> None:
    calls: list[tuple[str, str, int]] = []
    client.on_call = lambda verb, resource, status, _: calls.append((verb, resource, status))
    await client.create(CONFIG_MAP, BODY)
    with pytest.raises(NotFound):
        await client.get(JOB, "none", "ns")
    await client.merge_patch(CONFIG_MAP, "settings", {}, "ns", subresource="status")
    assert calls == [
        ("POST", "configmaps", 201),
        ("GET", "jobs.batch", 404),
        ("PATCH", "configmaps/status", 200),
    ]


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (CLUSTER_ROLE.path(name="admin"), "clusterroles.rbac.authorization.k8s.io"),
        (JOB.path(), "jobs.batch"),
        ("/api/v1/namespaces", "namespaces"),
        ("/api/v1/namespaces/ns", "namespaces"),
        ("/version", "/version"),
    ],
)
def test_a_path_is_counted_as_its_resource(path: str, resource: str) -> None:
    assert resource_of(path) == resource


async def test_discovery_tells_whether_a_kind_is_served(api: ApiServer, client: Client) -> None:
    async def discovery(request: web.Request) -> web.StreamResponse:
        if request.path == "/apis/batch/v1":
            return web.json_response({"resources": [{"name": "jobs"}, {"name": "jobs/status"}]})
        if request.path == "/api/v1":
            return web.json_response({"resources": []})
        return refuse(404, "NotFound")

    api.hook = discovery
    assert await client.serves(JOB)
    assert not await client.serves(CONFIG_MAP)
    assert not await client.serves(MANAGED_CLUSTER)


async def test_requests_that_would_hit_more_than_was_meant_are_bugs(client: Client) -> None:
    with pytest.raises(Bug):
        await client.delete_collection(JOB, "ns", label_selector="")
    with pytest.raises(Bug):
        await client.delete_collection(JOB, label_selector="a=b")
    with pytest.raises(Bug):
        await client.get(JOB, "x")


async def test_more_watches_than_any_pool_leave_room_for_a_write(
    api: ApiServer, client: Client
) -> None:
    async def follow() -> None:
        async for _ in client.watch(CONFIG_MAP, "100"):
            pass

    watches = [asyncio.create_task(follow()) for _ in range(120)]
    async with asyncio.timeout(PATIENCE_S):
        await until_true(lambda: len(api.watched_from) == 120)
        await client.create(CONFIG_MAP, BODY)
    for watch in watches:
        watch.cancel()
    await asyncio.wait(watches)


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[ApiServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "hub.example").configure_cert(context)
    async with ApiServer().running(ssl_context=context) as server:
        yield server


async def connected(kubeconfig: Path) -> None:
    async with await Client.connect(kubeconfig, user_agent="test") as client:
        await client.create(CONFIG_MAP, BODY)


async def test_a_server_with_a_certificate_of_the_right_authority_is_trusted(
    secure: ApiServer, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {"certificate-authority": "ca.pem"}  # relative to the kubeconfig
    path = write_kubeconfig(tmp_path / "config", secure.url, {"token": "t"}, **options)
    await connected(path)


async def test_an_untrusted_server_is_refused_with_an_error_that_says_so(
    secure: ApiServer, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {"certificate-authority": "ca.pem"}
    path = write_kubeconfig(tmp_path / "config", secure.url, {"token": "t"}, **options)
    with pytest.raises(Unreachable, match=r"not trusted.*check certificate-authority"):
        await connected(path)
    assert not secure.objects


async def test_a_server_of_another_name_is_refused_unless_the_name_is_configured(
    secure: ApiServer, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, fine in (("hub.example", True), ("another.example", False)):
        options = {"certificate-authority": "ca.pem", "tls-server-name": name}
        path = write_kubeconfig(tmp_path / "config", secure.url, {"token": "t"}, **options)
        if fine:
            await connected(path)
        else:
            with pytest.raises(Unreachable, match="not trusted"):
                await connected(path)


async def test_verification_is_skipped_only_when_the_kubeconfig_says_so(
    secure: ApiServer, tmp_path: Path
) -> None:
    options = {"insecure-skip-tls-verify": True}
    path = write_kubeconfig(tmp_path / "config", secure.url, {"token": "t"}, **options)
    await connected(path)


async def test_requests_go_through_the_proxy_of_the_kubeconfig(
    api: ApiServer, tmp_path: Path
) -> None:
    far = "http://api.hub.example:6443"
    path = write_kubeconfig(tmp_path / "config", far, {}, **{"proxy-url": api.url})
    hosts: list[str] = []

    async def note(request: web.Request) -> None:
        hosts.append(request.headers["Host"])

    api.hook = note
    await connected(path)
    assert hosts == ["api.hub.example:6443"]
