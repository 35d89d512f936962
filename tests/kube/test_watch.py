"""The informer against every way in which a watch is known to fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from talm.api.kinds import VIEW
from talm.api.meta import ObjectMeta, Wire, changed
from talm.kube.cache import Key
from talm.kube.client import Client
from talm.kube.watch import Informer, Pace
from tests.kube.apiserver import ApiServer, Fault, failure, refuse
from tests.kube.waiting import PATIENCE_S, until_true

QUICK = Pace(idle_s=30.0, absent_s=0.02, first_s=0.01, longest_s=0.05, page_limit=2)


class Spec(Wire, frozen=True):
    tick: int = 0


class View(Wire, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: Spec = Spec()


class Follower:
    """Replays on_change into a dict of its own, and tells when something happened."""

    def __init__(self) -> None:
        self.replayed: dict[Key, View] = {}
        self.calls: list[tuple[str, str]] = []
        self._happened = asyncio.Event()

    def on_change(self, key: Key, old: View | None, new: View | None) -> None:
        assert self.replayed.get(key) == old
        if new is None:
            del self.replayed[key]
            self.calls.append(("gone", key[1]))
        else:
            self.replayed[key] = new
            self.calls.append(("new" if old is None else "changed", key[1]))
        self._happened.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._happened.clear()
                await self._happened.wait()


@contextlib.asynccontextmanager
async def following(
    client: Client, *, pace: Pace = QUICK, **options: Any
) -> AsyncIterator[tuple[Informer[View], Follower]]:
    follower = Follower()
    informer = Informer(client, VIEW, View, follower.on_change, pace=pace, **options)
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await informer.synced.wait()
        yield informer, follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def ticks(server: ApiServer) -> dict[Key, int]:
    return {key: obj["spec"]["tick"] for key, obj in server.truth(VIEW).items()}


def cached(informer: Informer[View]) -> dict[Key, int]:
    return {key: view.spec.tick for key, view in informer.cache.items()}


# --- the faults: each answers one watch, then the server is healthy again


async def closed_cleanly(server: ApiServer, request: web.Request) -> web.StreamResponse:
    return await server.stream(request, events=1)


async def reset_in_mid_line(server: ApiServer, request: web.Request) -> web.StreamResponse:
    response = await server.stream(request, events=1)
    await response.write(b'{"type":"MODIFIED","object":{"metadata":{"na')
    assert request.transport is not None
    request.transport.abort()
    return response


async def bookmark_then_close(server: ApiServer, request: web.Request) -> web.StreamResponse:
    response = await server.stream(request, events=1)
    server.compact()  # only the bookmark's version can be resumed from
    meta = {"resourceVersion": str(server.version)}
    await response.write(event("BOOKMARK", {"metadata": meta, "spec": None}))
    return response


async def gone_in_stream(server: ApiServer, request: web.Request) -> web.StreamResponse:
    response = await server.stream(request, events=1)
    behind_our_back(server)
    await response.write(event("ERROR", failure(410, "Expired", "too old resource version")))
    return response


async def gone_at_start(server: ApiServer, request: web.Request) -> web.StreamResponse:
    behind_our_back(server)
    return await server.stream(request)


async def error_in_stream(server: ApiServer, request: web.Request) -> web.StreamResponse:
    response = await server.stream(request, events=1)
    error = failure(500, "InternalError", "etcdserver: leader changed")
    await response.write(event("ERROR", error))
    return response


async def internal_error(server: ApiServer, request: web.Request) -> web.StreamResponse:
    return refuse(500, "InternalError", "etcdserver: leader changed")


async def too_many_requests(server: ApiServer, request: web.Request) -> web.StreamResponse:
    return refuse(429, "TooManyRequests", **{"Retry-After": "0.05"})


async def unauthorized(server: ApiServer, request: web.Request) -> web.StreamResponse:
    return refuse(401, "Unauthorized")


async def silent(server: ApiServer, request: web.Request) -> web.StreamResponse:
    await server.stream(request, events=1)
    await asyncio.sleep(3600)
    raise AssertionError("nobody hung up")


def long_line(size: int) -> Fault:
    async def fault(server: ApiServer, request: web.Request) -> web.StreamResponse:
        server.put(VIEW, "c", spec={"tick": 5, "blob": "x" * size})
        return await server.stream(request)

    return fault


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def behind_our_back(server: ApiServer) -> None:
    """What an informer misses while its watch is away: the past cannot be replayed."""
    server.delete(VIEW, "b")
    server.put(VIEW, "d", spec={"tick": 4})
    server.compact()


FAULTS: dict[str, list[Fault]] = {
    "clean close": [closed_cleanly],
    "TCP reset in mid-line": [reset_in_mid_line],
    "bookmark, then close": [bookmark_then_close],
    "ERROR 410 in the stream": [gone_in_stream],
    "HTTP 410 at the start": [gone_at_start],
    "ERROR 500 in the stream": [error_in_stream],
    "HTTP 500 twice": [internal_error, internal_error],
    "HTTP 429 with Retry-After, twice": [too_many_requests, too_many_requests],
    "HTTP 401 once": [unauthorized],
    "a line of 1.4 MB": [long_line(1_400_000)],
    "a line of 2.9 MB": [long_line(2_900_000)],
    "half-open and silent": [silent],
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
async def test_after_a_fault_the_cache_is_the_truth_and_later_events_arrive(
    api: ApiServer, client: Client, faults: list[Fault]
) -> None:
    for name in "abc":
        api.put(VIEW, name, spec={"tick": 0})
    api.watch_faults.extend(faults)
    impatient = Pace(idle_s=0.5, first_s=0.01, longest_s=0.05, page_limit=2)
    pace = impatient if silent in faults else QUICK
    async with following(client, pace=pace) as (informer, follower):
        assert cached(informer) == ticks(api)
        api.put(VIEW, "a", spec={"tick": 1})
        await follower.until(lambda: not api.watch_faults)
        for tick in (8, 9):
            api.put(VIEW, "c", spec={"tick": tick})
            await follower.until(lambda: cached(informer) == ticks(api))
        assert informer.cache == follower.replayed
        # All but a 410 are resumed: a list of everything is what a fleet's API server can least use.
        assert informer.lists == (2 if {gone_in_stream, gone_at_start} & set(faults) else 1)


async def test_what_was_deleted_while_the_watch_was_away_is_reported_as_deleted(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "b", spec={"tick": 0})
    api.watch_faults.append(gone_at_start)
    async with following(client) as (_, follower):
        await follower.until(lambda: ("new", "d") in follower.calls)
        await follower.until(lambda: ("gone", "b") in follower.calls)


async def test_retry_after_is_honored(api: ApiServer, client: Client) -> None:
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    async def busy_once(request: web.Request) -> web.StreamResponse | None:
        asked.append(loop.time())
        if len(asked) == 1:
            return refuse(503, "ServiceUnavailable", **{"Retry-After": "0.3"})
        return None

    api.hook = busy_once
    async with following(client):
        assert asked[1] - asked[0] >= 0.3


async def test_a_list_that_expires_between_its_pages_is_read_in_one_piece(
    api: ApiServer, client: Client
) -> None:
    for name in "abcde":
        api.put(VIEW, name, spec={"tick": 0})

    async def expire(request: web.Request) -> web.StreamResponse | None:
        if request.query.get("continue"):
            api.compact()
        return None

    api.hook = expire
    async with following(client) as (informer, _):
        assert cached(informer) == ticks(api)


async def test_an_unreadable_object_is_set_aside_and_the_others_are_served(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "odd", spec={"tick": "seven"})
    api.put(VIEW, "even", spec={"tick": 2})
    async with following(client) as (informer, follower):
        assert cached(informer) == {("ns", "even"): 2}
        assert "tick" in informer.quarantined["ns", "odd"]
        api.put(VIEW, "odd", spec={"tick": 7})
        await follower.until(lambda: ("new", "odd") in follower.calls)
        assert not informer.quarantined


async def test_an_object_that_becomes_unreadable_keeps_its_last_readable_value(
    api: ApiServer, client: Client
) -> None:
    """Absence would be read as "deleted"; an outdated value is what any cache may hold."""
    api.put(VIEW, "odd", spec={"tick": 1})
    async with following(client) as (informer, follower):
        api.put(VIEW, "odd", spec={"tick": None})
        api.put(VIEW, "later", spec={"tick": 2})
        await follower.until(lambda: ("new", "later") in follower.calls)
        assert set(informer.quarantined) == {("ns", "odd")}
        assert informer.get("odd", "ns") == follower.replayed["ns", "odd"]
        assert cached(informer)["ns", "odd"] == 1
        api.delete(VIEW, "odd")
        await follower.until(lambda: ("gone", "odd") in follower.calls)
        assert not informer.quarantined


async def test_a_set_aside_object_is_forgotten_when_a_list_misses_it(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "b", spec={"tick": None})
    api.watch_faults.append(gone_at_start)
    async with following(client) as (informer, follower):
        await follower.until(lambda: ("new", "d") in follower.calls)
        await until_true(lambda: not informer.quarantined)


async def test_an_event_that_is_no_json_makes_the_informer_list_again(
    api: ApiServer, client: Client
) -> None:
    async def garbled(server: ApiServer, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b'{"type":"MODIFIED"\n')

    api.watch_faults.extend([garbled] * 3)
    async with following(client) as (informer, _):
        await until_true(lambda: informer.lists == 2)


async def test_a_login_page_instead_of_a_list_is_an_error_that_passes(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "a", spec={"tick": 1})
    pages = 2

    async def captive_portal(request: web.Request) -> web.StreamResponse | None:
        nonlocal pages
        pages -= 1
        return web.Response(text="<html>Please log in</html>") if pages >= 0 else None

    api.hook = captive_portal
    async with following(client) as (informer, _):
        assert cached(informer) == ticks(api)


async def test_an_optional_kind_may_appear_later_and_go_again(
    api: ApiServer, client: Client
) -> None:
    api.missing.add(VIEW.plural)
    async with following(client, optional=True) as (informer, follower):
        assert not informer.present
        api.put(VIEW, "a", spec={"tick": 1})
        api.missing.clear()
        await follower.until(lambda: ("new", "a") in follower.calls)
        await until_true(lambda: informer.present)
        api.missing.add(VIEW.plural)
        api.end_watches()
        await follower.until(lambda: not follower.replayed)
        await until_true(lambda: not informer.present)
        assert not informer.cache


async def test_a_missing_kind_that_is_needed_is_not_taken_for_empty(
    api: ApiServer, client: Client
) -> None:
    api.missing.add(VIEW.plural)
    asked = asyncio.Event()

    async def note(request: web.Request) -> None:
        asked.set()

    api.hook = note
    informer = Informer(client, VIEW, View, Follower().on_change, pace=QUICK)
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(PATIENCE_S):
        await asked.wait()
        assert not informer.synced.is_set()
        api.missing.clear()
        await informer.synced.wait()
    task.cancel()


async def test_a_failing_on_change_is_counted_and_the_cache_goes_on(
    api: ApiServer, client: Client
) -> None:
    def explode(key: Key, old: View | None, new: View | None) -> None:
        raise ValueError(key)

    informer = Informer(client, VIEW, View, explode, pace=QUICK)
    task = asyncio.create_task(informer.run())
    api.put(VIEW, "a", spec={"tick": 1})
    await until_true(lambda: cached(informer) == ticks(api))
    api.put(VIEW, "a", spec={"tick": 2})
    await until_true(lambda: cached(informer) == ticks(api))
    assert informer.callback_errors == 2
    task.cancel()


async def test_objects_are_found_by_index_until_they_change_or_go(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "a", spec={"tick": 1})
    api.put(VIEW, "b", spec={"tick": 1})
    by_tick = {"tick": lambda view: [str(view.spec.tick)]}
    async with following(client, indexes=by_tick) as (informer, follower):
        assert [v.metadata.name for v in informer.by("tick", "1")] == ["a", "b"]
        api.put(VIEW, "a", spec={"tick": 2})
        api.delete(VIEW, "b")
        await follower.until(lambda: ("gone", "b") in follower.calls)
        assert informer.by("tick", "1") == []
        assert [v.metadata.name for v in informer.by("tick", "2")] == ["a"]


async def test_what_nobody_reads_is_left_out_before_an_object_is_kept(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "a", spec={"tick": 1})

    def trim(view: View) -> View:
        return changed(view, spec=Spec(tick=0))

    async with following(client, trim=trim) as (informer, follower):
        assert [view.spec.tick for view in informer.cache.values()] == [0]
        api.put(VIEW, "b", spec={"tick": 2})
        await follower.until(lambda: len(informer.cache) == 2)
        assert {view.spec.tick for view in informer.cache.values()} == {0}


async def test_a_failing_index_function_leaves_its_object_out(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "a", spec={"tick": 0})
    api.put(VIEW, "b", spec={"tick": 1})
    inverse = {"inverse": lambda view: [str(1 // view.spec.tick)]}
    async with following(client, indexes=inverse) as (informer, _):
        assert cached(informer) == ticks(api)
        assert [v.metadata.name for v in informer.by("inverse", "1")] == ["b"]


async def test_a_write_can_be_waited_for_until_the_cache_has_it(
    api: ApiServer, client: Client
) -> None:
    api.put(VIEW, "a", spec={"tick": 0})
    async with following(client) as (informer, _):
        patched = await client.merge_patch(VIEW, "a", {"spec": {"tick": 7}}, "ns")
        version = patched["metadata"]["resourceVersion"]
        assert await informer.wait_newer(("ns", "a"), version, timeout_s=PATIENCE_S)
        assert informer.has_seen(("ns", "a"), version)
        assert cached(informer)["ns", "a"] == 7
        never = str(int(version) + 1000)
        assert not await informer.wait_newer(("ns", "a"), never, timeout_s=0.01)


async def test_only_one_namespace_is_followed_when_asked_so(api: ApiServer, client: Client) -> None:
    api.put(VIEW, "a", "east", spec={"tick": 1})
    api.put(VIEW, "a", "west", spec={"tick": 2})
    async with following(client, namespace="east") as (informer, _):
        assert cached(informer) == {("east", "a"): 1}


async def test_a_watch_that_is_taken_up_is_a_sign_of_life_though_it_says_nothing(
    api: ApiServer, client: Client
) -> None:
    taken_up = asyncio.Event()

    async def says_nothing(server: ApiServer, request: web.Request) -> web.StreamResponse:
        response = await server.stream(request, events=0)
        taken_up.set()
        await asyncio.Event().wait()
        return response

    async with following(client) as (informer, _):
        await until_true(lambda: bool(api.watched_from))
        before = informer.last_heard
        api.watch_faults.append(says_nothing)
        api.end_watches()
        async with asyncio.timeout(PATIENCE_S):
            await taken_up.wait()
        await until_true(lambda: informer.last_heard > before)
