"""The operator's process: what it refuses to start on, and how it ends, whatever it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from talm.api import kinds
from talm.api.words import EXISTING_OPERATOR_LEASE, FINALIZER, OPERATOR_LEASE
from talm.errors import LeadershipLost, SetupError, Unreachable
from talm.hub.app import Operator
from talm.hub.settings import Settings
from tests.hub.given import cgu_wire
from tests.kube.apiserver import ApiServer, write_kubeconfig
from tests.kube.waiting import PATIENCE_S, until_true

SERVED = [
    v
    for v in vars(kinds).values()
    if isinstance(v, kinds.Kind) and v not in (kinds.VIEW, kinds.ACTION)
]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@pytest.fixture(autouse=True)
def collection_as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Hub(ApiServer):
    """An API server with discovery; `hold` keeps requests that it is true of from being answered."""

    def __init__(self) -> None:
        super().__init__()
        self.served = list(SERVED)
        self.missing = {kinds.VIEW.plural, kinds.ACTION.plural}
        self.held = 0
        self.hold: Callable[[web.Request], bool] = lambda _: False
        self.hook = self._discovery_or_hold

    async def _discovery_or_hold(self, request: web.Request) -> web.StreamResponse | None:
        parts = request.path.strip("/").split("/")
        if parts[0] == "apis" and len(parts) == 3:
            found = [k for k in self.served if [k.group, k.version] == parts[1:]]
            return web.json_response({"resources": [{"name": k.plural} for k in found]})
        if self.hold(request):
            self.held += 1
            await asyncio.Event().wait()
        return None

    def lease(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.truth(kinds.LEASE)["talm-system", OPERATOR_LEASE]["spec"]
        return spec

    def is_released(self) -> bool:
        return str(self.lease()["holderIdentity"]) == ""

    def hold_lease(self, name: str, holder: str = "somebody", **more: Any) -> None:
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 600, **more}
        self.put(kinds.LEASE, name, "talm-system", spec=spec)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    server = Hub()
    async with server.running():
        yield server


class Started:
    """An operator in a task."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(operator.run(self.stop))

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    async def get(self, path: str) -> tuple[int, str]:
        assert self.operator.health is not None
        url = f"http://127.0.0.1:{self.operator.health.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()


Start = Callable[..., Started]


@pytest.fixture
async def start(hub: Hub, tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Started] = []

    def begin(**more: Any) -> Started:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", hub.url, {"token": "secret"})
        given: dict[str, Any] = {
            "workload_image": "workload:1",
            "kubeconfig": str(kubeconfig),
            "bind_address": "127.0.0.1:0",
            "lease_duration": 60.0,
            "renew_deadline": 50.0,
            "retry_period": 0.05,
        }
        made = Started(Operator(Settings(**given | more)))
        started.append(made)
        return made

    yield begin
    for one in started:
        one.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await one.task


def put_cgu(hub: Hub, **more: Any) -> None:
    body = cgu_wire(finalizers=[], preCaching=False, **more)
    del body["metadata"]["resourceVersion"]
    hub._store((kinds.CGU.plural, "ztp", "du-upgrade"), body)


def cgu_of(hub: Hub) -> dict[str, Any]:
    return hub.truth(kinds.CGU)["ztp", "du-upgrade"]


async def test_it_adopts_a_cgu_and_ends_well(hub: Hub, start: Start) -> None:
    put_cgu(hub)
    one = start()
    await until_true(lambda: bool(cgu_of(hub)["status"]))
    assert cgu_of(hub)["metadata"]["finalizers"] == [FINALIZER]
    assert await one.get("/readyz") == (200, "ok, leading\n")
    assert "talm_reconcile_passes_total" in (await one.get("/metrics"))[1]
    one.stop.set()
    await one.ended()
    assert hub.is_released()
    events = {event["reason"] for event in hub.truth(kinds.EVENT).values()}
    assert "CguCreated" in events, "also those that waited are sent"


async def test_without_election_no_lease_is_touched(hub: Hub, start: Start) -> None:
    put_cgu(hub)
    one = start(leader_elect=False)
    await until_true(lambda: bool(cgu_of(hub)["status"]))
    one.stop.set()
    await one.ended()
    assert hub.truth(kinds.LEASE) == {}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kinds.CGU, "apply deploy/crds first"),
        (kinds.PRE_CACHING_CONFIG, "apply deploy/crds first"),
        (kinds.MANAGED_CLUSTER, "it is no Open Cluster Management hub"),
    ],
    ids=str,
)
async def test_a_hub_without_what_is_needed_is_refused(
    hub: Hub, start: Start, kind: kinds.Kind, text: str
) -> None:
    hub.served.remove(kind)
    with pytest.raises(SetupError, match=f"does not serve {kind}: {text}"):
        await start().ended()


async def test_an_address_that_is_taken_is_said(hub: Hub, start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SetupError, match=f"bind-address {address} cannot be used"):
            await start(bind_address=address).ended()


async def test_an_api_server_that_is_not_there_is_said_at_once(
    start: Start, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        path = write_kubeconfig(tmp_path / "elsewhere", url, {"token": "secret"})
        with pytest.raises(Unreachable) as refused:
            await start(kubeconfig=str(path)).ended()
    assert url in str(refused.value)


async def test_told_to_stop_while_it_watches_another_operators_lease(
    hub: Hub, start: Start
) -> None:
    hub.hold_lease(EXISTING_OPERATOR_LEASE, renewTime="2999-01-01T00:00:00.000000Z")
    reads = 0

    async def count(request: web.Request) -> web.StreamResponse | None:
        nonlocal reads
        reads += request.path.endswith(f"/{EXISTING_OPERATOR_LEASE}")
        return await hub._discovery_or_hold(request)

    hub.hook = count
    one = start()
    await until_true(lambda: reads > 1)
    one.stop.set()
    await one.ended()
    assert ("talm-system", OPERATOR_LEASE) not in hub.truth(kinds.LEASE)


async def test_a_takeover_does_not_ask_whose_lease_it_is(hub: Hub, start: Start) -> None:
    hub.hold_lease(EXISTING_OPERATOR_LEASE, renewTime="2999-01-01T00:00:00.000000Z")
    one = start(takeover=True)
    await until_true(lambda: ("talm-system", OPERATOR_LEASE) in hub.truth(kinds.LEASE))
    one.stop.set()
    await one.ended()


async def test_told_to_stop_while_another_leads_it_ends_and_leaves_the_lease(
    hub: Hub, start: Start
) -> None:
    hub.hold_lease(OPERATOR_LEASE)
    put_cgu(hub)
    one = start()
    await until_true(lambda: one.operator.health is not None and one.operator.health.port > 0)
    async with asyncio.timeout(PATIENCE_S):
        while await one.get("/readyz") != (200, "ok, standing by\n"):  # noqa: ASYNC110 - asks
            await asyncio.sleep(0.01)
    one.stop.set()
    await one.ended()
    assert hub.lease()["holderIdentity"] == "somebody"
    assert cgu_of(hub)["metadata"]["finalizers"] == []


async def test_told_to_stop_before_everything_was_listed_it_lets_the_lease_go(
    hub: Hub, start: Start
) -> None:
    hub.hold = lambda r: r.method == "GET" and r.path.endswith(f"/{kinds.CGU.plural}")
    one = start()
    await until_true(lambda: hub.held > 0)
    await until_true(lambda: ("talm-system", OPERATOR_LEASE) in hub.truth(kinds.LEASE))
    one.stop.set()
    await one.ended()
    assert hub.is_released()


def patches_status(request: web.Request) -> bool:
    return request.method == "PATCH" and request.path.endswith("/status")


async def test_a_pass_that_does_not_end_is_abandoned_after_the_grace(
    hub: Hub, start: Start
) -> None:
    hub.hold = patches_status
    put_cgu(hub)
    one = start(shutdown_grace=0.05)
    await until_true(lambda: hub.held > 0)
    one.stop.set()
    await one.ended()
    assert hub.is_released()
    assert cgu_of(hub)["status"] == {}


async def test_a_pass_that_ends_within_the_grace_is_stored(hub: Hub, start: Start) -> None:
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse | None:
        if patches_status(request):
            hub.held += 1
            await release.wait()
        return await hub._discovery_or_hold(request)

    hub.hook = slow
    put_cgu(hub)
    one = start()
    await until_true(lambda: hub.held > 0)
    one.stop.set()
    await asyncio.sleep(0.01)
    assert not one.task.done()
    release.set()
    await one.ended()
    assert cgu_of(hub)["status"]
    assert hub.is_released()


async def test_cancelled_while_a_pass_runs_it_still_lets_the_lease_go(
    hub: Hub, start: Start
) -> None:
    hub.hold = patches_status
    put_cgu(hub)
    one = start(shutdown_grace=600.0)
    await until_true(lambda: hub.held > 0)
    one.stop.set()
    await asyncio.sleep(0.01)
    one.task.cancel()  # a second SIGTERM
    with pytest.raises(asyncio.CancelledError):
        await one.ended()
    assert hub.is_released()


async def test_who_loses_the_lease_ends_and_does_not_touch_it(hub: Hub, start: Start) -> None:
    one = start()
    await until_true(lambda: ("talm-system", OPERATOR_LEASE) in hub.truth(kinds.LEASE))
    hub.hold_lease(OPERATOR_LEASE, "usurper")
    with pytest.raises(LeadershipLost):
        await one.ended()
    assert hub.lease()["holderIdentity"] == "usurper"
