"""The probes: live, ready, silent; and the address they are served on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from talm.hub import health
from talm.hub.health import SILENT_S, HealthServer
from talm.hub.metrics import Metrics
from talm.hub.store import Store
from tests.hub.fakehub import FakeHub, followed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Probed:
    """A server and who asks it."""

    def __init__(self, server: HealthServer) -> None:
        self.server = server
        self.leading = False

    async def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def store(hub: FakeHub) -> Store:
    return Store(hub.client, lambda *_: None)


@pytest.fixture
async def probed(store: Store) -> AsyncIterator[Probed]:
    metrics = Metrics()
    metrics.follow(store, lambda: 0, lambda: 0)
    made = Probed(HealthServer(store, metrics, lambda: made.leading))
    await made.server.start("127.0.0.1", 0)
    yield made
    await made.server.stop()


async def test_ready_once_every_kind_was_listed_whether_leading_or_not(
    hub: FakeHub, store: Store, probed: Probed
) -> None:
    status, text = await probed.get("/readyz")
    assert status == 503
    assert "clustergroupupgrades" in text
    async with followed(hub, store):
        assert await probed.get("/readyz") == (200, "ok, standing by\n")
        probed.leading = True
        assert await probed.get("/readyz") == (200, "ok, leading\n")


async def test_live_before_the_first_list_and_while_the_api_server_is_heard(
    hub: FakeHub, store: Store, probed: Probed
) -> None:
    assert await probed.get("/healthz") == (200, "ok\n")
    async with followed(hub, store):
        assert await probed.get("/healthz") == (200, "ok\n")


async def test_not_live_when_a_kind_was_silent_for_long(
    hub: FakeHub, store: Store, probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with followed(hub, store):
        monkeypatch.setattr(health, "time", clock)
        clock.now = store.views.last_heard + SILENT_S + 1
        for informer in store.informers.values():
            informer.last_heard = clock.now
        assert await probed.get("/healthz") == (200, "ok\n")
        store.views.last_heard = clock.now - SILENT_S - 1
        status, text = await probed.get("/healthz")
        assert (status, text) == (503, "nothing heard for 300 s of: managedclusterviews\n")
        store.views.present = False
        assert await probed.get("/healthz") == (200, "ok\n"), "an absent kind says nothing"


async def test_metrics_are_served_as_text(probed: Probed) -> None:
    status, text = await probed.get("/metrics")
    assert status == 200
    assert "talm_cgus" in text


async def test_an_address_that_is_taken_is_an_error_and_holds_nothing(
    store: Store, probed: Probed
) -> None:
    second = HealthServer(store, Metrics(), lambda: False)
    with pytest.raises(OSError, match="in use"):
        await second.start("127.0.0.1", probed.server.port)
    await second.stop()
    await HealthServer(store, Metrics(), lambda: False).stop()


async def test_ipv6_is_served_where_the_machine_has_it(store: Store) -> None:
    server = HealthServer(store, Metrics(), lambda: False)
    try:
        await server.start("::1", 0)
    except OSError:
        return  # this machine has none
    assert server.port
    await server.stop()
