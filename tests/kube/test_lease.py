"""Leader election: two who want it, an API server that hangs, a Lease of somebody else.

The electors' clock stands still unless a test moves it, so that a slow machine loses no election.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

import pytest
from aiohttp import web

from talm.api.kinds import CONFIG_MAP, LEASE
from talm.errors import LeadershipLost
from talm.kube.client import Client
from talm.kube.lease import Leadership, LeaseTimes, is_renewed, suspended_too
from tests.kube.apiserver import ApiServer, refuse
from tests.kube.waiting import PATIENCE_S, until_true

TIMES = LeaseTimes(duration_s=0.6, renew_s=0.4, retry_s=0.01)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Elector:
    """A process that wants to lead, and does nothing then."""

    def __init__(self, client: Client, identity: str) -> None:
        self.clock = Clock()
        self.leadership = Leadership(
            client, "talm", "leader", identity, times=TIMES, clock=self.clock
        )
        self.leads = asyncio.Event()
        self.task = asyncio.create_task(self.leadership.lead(self._work))

    async def _work(self) -> None:
        self.leads.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.leads.clear()

    async def until_it_leads(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.leads.wait()

    async def stop(self) -> None:
        self.task.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({self.task})


def spec(api: ApiServer) -> dict[str, object]:
    lease = api.truth(LEASE).get(("talm", "leader"), {})
    found: dict[str, object] = lease.get("spec", {})
    return found


def hanging(api: ApiServer) -> Callable[[], None]:
    """Make the server take requests and answer none; returns how to end that."""
    never = asyncio.Event()

    async def hang(request: web.Request) -> None:
        await never.wait()

    api.hook = hang

    def recover() -> None:
        api.hook = None
        never.set()

    return recover


async def test_the_lease_looks_as_client_go_writes_it(api: ApiServer, client: Client) -> None:
    elector = Elector(client, "a")
    await elector.until_it_leads()
    first = dict(spec(api))
    assert first["holderIdentity"] == "a"
    assert first["leaseDurationSeconds"] == 1
    assert first["leaseTransitions"] == 0
    assert dt.datetime.strptime(str(first["acquireTime"]), "%Y-%m-%dT%H:%M:%S.%f%z")
    await until_true(lambda: spec(api)["renewTime"] != first["renewTime"])
    assert spec(api)["acquireTime"] == first["acquireTime"]
    await elector.stop()


async def test_a_leader_that_stops_releases_and_the_next_leads_at_once(
    api: ApiServer, client: Client
) -> None:
    first = Elector(client, "a")
    await first.until_it_leads()
    second = Elector(client, "b")
    await until_true(lambda: second.leadership.holder == "a")
    assert not second.leads.is_set()
    await first.stop()
    assert first.task.cancelled()
    await second.until_it_leads()
    assert spec(api)["leaseTransitions"] == 1
    await second.stop()
    assert spec(api)["holderIdentity"] == ""


async def test_what_the_work_returns_or_raises_comes_out_and_the_lease_is_released(
    api: ApiServer, client: Client
) -> None:
    leadership = Leadership(client, "talm", "leader", "a", times=TIMES, clock=Clock())

    async def fail() -> None:
        raise ZeroDivisionError

    async def succeed() -> int:
        leadership.check()
        return 42

    with pytest.raises(ZeroDivisionError):
        await leadership.lead(fail)
    assert spec(api)["holderIdentity"] == ""
    assert await leadership.lead(succeed) == 42
    assert spec(api)["holderIdentity"] == ""


async def test_a_dead_leader_is_followed_only_after_its_lease_was_seen_unmoved_for_its_duration(
    api: ApiServer, client: Client
) -> None:
    body = {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "long ago"}
    api.put(LEASE, "leader", "talm", spec=body)
    elector = Elector(client, "b")
    await until_true(lambda: elector.leadership.holder == "dead")
    elector.clock.now += 14.9
    looks = 0

    async def count(request: web.Request) -> None:
        nonlocal looks
        looks += 1

    api.hook = count
    await until_true(lambda: looks >= 3)
    assert not elector.leads.is_set()
    elector.clock.now += 0.2
    await elector.until_it_leads()
    await elector.stop()


async def test_a_leader_lets_go_while_the_api_server_hangs(api: ApiServer, client: Client) -> None:
    elector = Elector(client, "a")
    await elector.until_it_leads()
    recover = hanging(api)
    elector.clock.now += TIMES.renew_s
    with pytest.raises(LeadershipLost):
        elector.leadership.check()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait({elector.task})
    assert isinstance(elector.task.exception(), LeadershipLost)
    assert not elector.leads.is_set(), "the work was ended"
    recover()
    assert spec(api)["holderIdentity"] == "a", "what is lost is not released"


async def test_attempts_that_hang_are_given_up_and_the_lease_is_kept_when_the_server_recovers(
    api: ApiServer, client: Client
) -> None:
    elector = Elector(client, "a")
    await elector.until_it_leads()
    asked = 0

    async def hang(request: web.Request) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(3600)

    api.hook = hang
    await until_true(lambda: asked >= 2)
    api.hook = None
    before = spec(api)["renewTime"]
    await until_true(lambda: spec(api)["renewTime"] != before)
    assert elector.leads.is_set()
    await elector.stop()


async def test_a_leader_that_finds_another_in_its_place_ends(
    api: ApiServer, client: Client
) -> None:
    elector = Elector(client, "a")
    await elector.until_it_leads()
    theirs = {**spec(api), "holderIdentity": "b", "renewTime": "now"}
    api.put(LEASE, "leader", "talm", spec=theirs)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait({elector.task})
    assert isinstance(elector.task.exception(), LeadershipLost)
    assert spec(api)["holderIdentity"] == "b"


async def test_no_write_is_sent_once_our_own_deadline_has_passed(
    api: ApiServer, client: Client
) -> None:
    elector = Elector(client, "a")
    writer = client
    await elector.until_it_leads()
    body = {"metadata": {"name": "x", "namespace": "ns"}}
    hanging(api)  # nobody renews from here on
    elector.clock.now += TIMES.renew_s
    writer.guard = elector.leadership.check
    with pytest.raises(LeadershipLost, match="talm/leader"):
        await writer.create(CONFIG_MAP, body)
    writer.guard = None
    await elector.stop()


async def test_a_write_is_stopped_even_when_the_lease_ran_out_while_it_connected(
    api: ApiServer, client: Client
) -> None:
    """A process may be frozen between its check and its first byte."""
    checks = 0

    def guard() -> None:
        nonlocal checks
        checks += 1
        if checks == 2:
            raise LeadershipLost("frozen for a minute")

    client.guard = guard
    with pytest.raises(LeadershipLost, match="frozen"):
        await client.create(CONFIG_MAP, {"metadata": {"name": "x", "namespace": "ns"}})
    assert not api.truth(CONFIG_MAP)
    await client.list(CONFIG_MAP)  # reading needs no Lease
    await client.create(CONFIG_MAP, {"metadata": {"name": "x", "namespace": "ns"}})
    assert checks == 4


async def test_an_attempt_that_is_refused_is_repeated(api: ApiServer, client: Client) -> None:
    refusals = 3

    async def refuse_some(request: web.Request) -> web.StreamResponse | None:
        nonlocal refusals
        refusals -= 1
        return refuse(500, "InternalError") if refusals >= 0 else None

    api.hook = refuse_some
    elector = Elector(client, "a")
    await elector.until_it_leads()
    await elector.stop()


@pytest.mark.parametrize(
    "lease",
    [
        None,
        {"holderIdentity": "", "renewTime": "2026-01-01T00:00:00.000000Z"},
        {"holderIdentity": "gone", "renewTime": "2020-01-01T00:00:00.000000Z"},
        {"holderIdentity": "still", "leaseDurationSeconds": 0.05, "renewTime": None},
    ],
    ids=["missing", "released", "dead for years", "unmoved for its duration"],
)
async def test_a_lease_that_nobody_renews_is_recognized(
    api: ApiServer, client: Client, lease: dict[str, object] | None
) -> None:
    if lease is not None:
        api.put(LEASE, "9a2365a3.openshift.io", "talm", spec=lease)
    assert not await is_renewed(client, "talm", "9a2365a3.openshift.io", look_s=0.01)


async def test_a_lease_that_moves_is_being_renewed_and_one_that_is_let_go_is_not(
    api: ApiServer, client: Client
) -> None:
    held = {"holderIdentity": "them", "leaseDurationSeconds": 3600, "renewTime": "1"}
    for change, answer in (({"renewTime": "2"}, True), ({"holderIdentity": ""}, False)):
        api.put(LEASE, "other", "talm", spec=held)
        watching = asyncio.create_task(is_renewed(client, "talm", "other", look_s=0.01))
        looked = asyncio.Event()

        async def note(request: web.Request, looked: asyncio.Event = looked) -> None:
            looked.set()

        api.hook = note
        async with asyncio.timeout(PATIENCE_S):
            await looked.wait()
            await asyncio.sleep(0)
            api.hook = None
            await client.get(LEASE, "other", "talm")
            api.put(LEASE, "other", "talm", spec={**held, **change})
            assert await watching is answer


def test_impossible_times_are_refused() -> None:
    with pytest.raises(ValueError, match="retry < renew < duration"):
        LeaseTimes(duration_s=10, renew_s=15, retry_s=2)


def test_the_clock_goes_on() -> None:
    assert suspended_too() <= suspended_too()
