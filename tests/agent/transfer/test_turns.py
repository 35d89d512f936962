from __future__ import annotations

import asyncio

from talm.agent.transfer.turns import Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_lowest_rank_is_next() -> None:
    turns, order = Turns(1), []

    async def work(rank: int) -> None:
        async with turns.turn(rank):
            order.append(rank)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for rank in (3, 2, 1, 4):
            group.create_task(work(rank))
    assert order == [3, 1, 2, 4]


async def test_who_holds_a_stream_knows_whether_somebody_of_a_lower_rank_waits() -> None:
    turns = Turns(1)
    async with turns.turn(2):
        later = asyncio.ensure_future(turns.take(3))
        await settle()
        assert not turns.wanted_before(2)
        earlier = asyncio.ensure_future(turns.take(1))
        await settle()
        assert turns.wanted_before(2)
        earlier.cancel()
        await settle()
        assert not turns.wanted_before(2)
    await later


async def test_who_steps_aside_gives_the_stream_away_and_gets_it_back() -> None:
    turns, order = Turns(1), []
    over = asyncio.Event()

    async def first() -> None:
        async with turns.turn(0) as turn:
            async with turn.aside():
                await over.wait()
            order.append("first again")

    async def other(name: str) -> None:
        async with turns.turn(1):
            order.append(name)
            over.set()
            await settle()

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(other("second"))
        group.create_task(other("third"))
    assert order == ["second", "first again", "third"]


async def test_a_turn_that_is_cancelled_while_waiting_or_aside_or_called_loses_no_stream() -> None:
    turns = Turns(1)

    async def aside() -> None:
        async with turns.turn(0) as turn, turn.aside():
            await asyncio.Event().wait()

    async def plain() -> None:
        async with turns.turn(0):
            await asyncio.Event().wait()

    waits_aside, holds = asyncio.create_task(aside()), asyncio.create_task(plain())
    await settle()
    waits, called = asyncio.create_task(plain()), asyncio.create_task(plain())
    await settle()
    waits.cancel()
    waits_aside.cancel()
    await settle()
    holds.cancel()
    await asyncio.sleep(0)  # `holds` ends and calls the next one, which is ended before it runs
    called.cancel()
    await asyncio.gather(waits_aside, holds, waits, called, return_exceptions=True)
    await asyncio.wait_for(turns.take(0), 5)
    assert turns._free == 0
    turns.leave()
    assert turns._free == 1
