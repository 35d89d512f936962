"""A link is up, down, slow or half-dead, and the agents notice what they would notice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from talm.errors import Unreachable
from talm.sim.links import Link, LinkState

from .virtual import virtual


class Heard:
    """A receiver that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.lists: list[list[str]] = []

    def deliver(self, name: str, obj: Any | None) -> None:
        self.events.append((name, obj))

    def relist(self, objects: Iterable[tuple[str, Any]]) -> None:
        self.lists.append([name for name, _ in objects])


def linked(**settings: Any) -> tuple[Link, Heard]:
    link = Link(listing=lambda _number: [("a", 1), ("b", 2)], **settings)
    heard = Heard()
    link.connect(heard)
    return link, heard


@virtual
async def test_a_slow_link_keeps_the_order() -> None:
    link, heard = linked(rtt_s=1.0)
    for number in range(20):
        link.offer(0, f"n{number}", number)
        await asyncio.sleep(0.01)
    assert heard.events == []
    await asyncio.sleep(1)
    assert [obj for _, obj in heard.events] == list(range(20))


@virtual
async def test_events_on_their_way_when_the_link_fails_arrive_later() -> None:
    link, heard = linked(rtt_s=1.0)
    link.offer(0, "x", 1)
    link.down()
    await asyncio.sleep(5)
    assert heard.events == []
    link.up()
    await asyncio.sleep(1)
    assert heard.events == [("x", 1)]


@pytest.mark.parametrize(("away_s", "lists"), [(10, False), (299, False), (301, True)])
@virtual
async def test_a_long_absence_ends_in_a_list(away_s: float, lists: bool) -> None:
    link, heard = linked()
    link.down()
    link.offer(0, "b", 2)
    link.offer(0, "a", 1)
    await asyncio.sleep(away_s)
    link.up()
    if lists:
        assert heard.lists == [["a", "b"]] and heard.events == []
    else:
        assert heard.events == [("b", 2), ("a", 1)] and heard.lists == []


@virtual
async def test_a_dead_watch_loses_events_but_lets_requests_pass() -> None:
    link, heard = linked()
    link.half_dead()
    link.offer(0, "x", 1)

    async def request() -> str:
        return "answered"

    assert await link.call(request) == "answered"
    link.up()
    assert heard.events == [] and heard.lists == [["a", "b"]]


@virtual
async def test_requests_fail_while_the_link_is_down() -> None:
    link, _ = linked(rtt_s=1.0)
    calls: list[float] = []

    async def request() -> None:
        calls.append(asyncio.get_running_loop().time())

    link.down()
    with pytest.raises(Unreachable):
        await link.call(request)
    assert calls == []
    link.up()
    await link.call(request)
    assert calls == [0.5]


@virtual
async def test_an_answer_lost_on_the_way_back_is_an_error_though_the_request_was_done() -> None:
    link, _ = linked(rtt_s=1.0)
    done: list[bool] = []

    async def request() -> None:
        done.append(True)

    asyncio.get_running_loop().call_later(0.7, link.down)
    with pytest.raises(Unreachable):
        await link.call(request)
    assert done == [True]


@virtual
async def test_agents_that_restart_offline_list_when_the_link_returns() -> None:
    link, heard = linked()
    link.down()
    link.offer(0, "x", 1)
    link.list_again()
    assert heard.lists == []
    link.up()
    assert heard.lists == [["a", "b"]] and heard.events == []


@virtual
async def test_restarted_agents_get_everything_in_an_order_of_its_own_each_time() -> None:
    names = [f"action-{number}" for number in range(12)]
    lists: list[list[str]] = []

    class Agent:
        def deliver(self, name: str, obj: Any | None) -> None:
            raise AssertionError(name)

        def relist(self, objects: Iterable[tuple[str, Any]]) -> None:
            lists.append([name for name, _ in objects])

    link = Link(listing=lambda _: [(name, None) for name in sorted(names)])
    link.connect(Agent())
    for _ in range(2):
        link.list_again(restarted=True)
    link.down()
    link.list_again(restarted=True)
    link.up()
    link.list_again()
    *restarted, listed = lists
    assert listed == sorted(names)
    assert all(sorted(one) == sorted(names) and one != sorted(names) for one in restarted)
    assert len({tuple(one) for one in restarted}) == 3


@virtual
async def test_changes_are_told_once() -> None:
    link, _ = linked()
    told: list[LinkState] = []
    link.on_change.append(told.append)
    link.down()
    link.down()
    link.up()
    link.up()
    assert told == [LinkState.DOWN, LinkState.UP]
