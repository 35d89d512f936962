"""The throttle: how many, in which order, and that a place is never lost."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.errors import ApiError, TooBusy
from talm.hub.throttle import FLOOR, GOOD_ANSWERS_PER_STEP, SLOW_S, WINDOW, Throttle


class Work:
    """Workers that hold a slot until they are let go; keeps who is inside, in order of entry."""

    def __init__(self, throttle: Throttle) -> None:
        self.throttle = throttle
        self.entered: list[int] = []
        self.go: dict[int, asyncio.Future[None]] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def _work(self, name: int) -> None:
        async with self.throttle.slot():
            self.entered.append(name)
            await self.go[name]

    async def start(self, *names: int) -> None:
        for name in names:
            self.go[name] = asyncio.get_running_loop().create_future()
            self.tasks[name] = asyncio.create_task(self._work(name))
        await self.turn()

    async def end(self, name: int, error: Exception | None = None) -> None:
        if error is None:
            self.go[name].set_result(None)
        else:
            self.go[name].set_exception(error)
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await self.turn()

    async def cancel(self, name: int) -> None:
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await self.turn()

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def busy() -> TooBusy:
    return TooBusy("PATCH", "x", 429, "slow down")


async def test_no_more_than_the_limit_are_inside_and_the_rest_enter_in_order() -> None:
    work = Work(Throttle(2))
    await work.start(1, 2, 3, 4)
    assert work.entered == [1, 2]
    await work.end(2)
    assert work.entered == [1, 2, 3]
    await work.end(1)
    await work.end(3)
    await work.end(4)
    assert work.entered == [1, 2, 3, 4]
    assert work.throttle.in_flight == 0


async def test_a_newcomer_does_not_overtake_who_waits() -> None:
    work = Work(Throttle(1))
    await work.start(1, 2)
    work.go[1].set_result(None)
    await work.start(3)
    assert work.entered == [1, 2]
    await work.end(2)
    assert work.entered == [1, 2, 3]


async def test_a_waiter_that_is_cancelled_leaves_no_gap() -> None:
    work = Work(Throttle(1))
    await work.start(1, 2, 3)
    await work.cancel(2)
    await work.end(1)
    assert work.entered == [1, 3]
    await work.end(3)
    assert work.throttle.in_flight == 0


async def test_a_waiter_that_is_cancelled_as_its_turn_comes_passes_the_place_on() -> None:
    work = Work(Throttle(1))
    await work.start(1, 2, 3)
    work.go[1].set_result(None)
    while not work.tasks[1].done():  # noqa: ASYNC110 - to the very moment
        await asyncio.sleep(0)
    work.tasks[2].cancel()  # the place is its own, but it has not run yet
    await work.turn()
    assert work.entered == [1, 3]
    await work.end(3)
    assert work.throttle.in_flight == 0


async def test_who_is_cancelled_inside_gives_the_place_back() -> None:
    work = Work(Throttle(1))
    await work.start(1, 2)
    await work.cancel(1)
    assert work.entered == [1, 2]


async def test_a_busy_server_halves_the_limit_down_to_the_floor() -> None:
    throttle = Throttle(64)
    limits = []
    for _ in range(6):
        with pytest.raises(TooBusy):
            async with throttle.slot():
                raise busy()
        limits.append(throttle.limit)
    assert limits == [32, 16, 8, FLOOR, FLOOR, FLOOR]


async def test_refusals_of_those_under_way_together_count_once() -> None:
    work = Work(Throttle(64))
    await work.start(*range(20))
    for name in range(20):
        await work.end(name, busy())
    assert work.throttle.limit == 32


async def test_a_setting_below_the_floor_is_never_exceeded() -> None:
    throttle = Throttle(1)
    with pytest.raises(TooBusy):
        async with throttle.slot():
            raise busy()
    assert throttle.limit == 1


async def test_good_answers_raise_the_limit_step_by_step_up_to_the_setting() -> None:
    throttle = Throttle(8)
    with pytest.raises(TooBusy):
        async with throttle.slot():
            raise busy()
    for _ in range(GOOD_ANSWERS_PER_STEP):
        assert throttle.limit == 4
        async with throttle.slot():
            pass
    assert throttle.limit == 5
    for _ in range(10 * GOOD_ANSWERS_PER_STEP):
        async with throttle.slot():
            pass
    assert throttle.limit == 8


async def test_a_limit_that_grows_lets_one_more_in() -> None:
    work = Work(Throttle(8))
    await work.start(*range(8), *range(10, 20))
    await work.end(0, busy())  # 4 may stay, 7 are inside
    for name in (1, 2, 3):
        await work.end(name)
    assert work.throttle.in_flight == work.throttle.limit == 4
    for _ in range(GOOD_ANSWERS_PER_STEP - 4):
        work.throttle._grow()
    await work.end(4)
    assert work.throttle.in_flight == work.throttle.limit == 5


async def test_other_errors_say_nothing_about_the_server() -> None:
    throttle = Throttle(64)
    with pytest.raises(ApiError):
        async with throttle.slot():
            raise ApiError("PATCH", "x", 422, "no")
    assert (throttle.limit, throttle.in_flight) == (64, 0)


def test_a_slow_p99_halves_the_limit_and_the_window_begins_anew() -> None:
    throttle = Throttle(64)
    for _ in range(WINDOW - 2):
        throttle.answered(0.01)
    throttle.answered(SLOW_S + 1)
    throttle.answered(0.01)
    assert throttle.limit == 64, "one in a hundred may be slow"
    throttle.answered(SLOW_S + 1)
    assert throttle.limit == 32
    for _ in range(WINDOW - 1):
        throttle.answered(SLOW_S + 1)
    assert throttle.limit == 32
    throttle.answered(SLOW_S + 1)
    assert throttle.limit == 16


@given(st.integers(1, 5), st.integers(0, 2**32))
def test_whatever_is_cancelled_nobody_is_forgotten(limit: int, seed: int) -> None:
    async def play() -> None:
        rng = random.Random(seed)
        work = Work(Throttle(limit))
        await work.start(*range(12))
        while rest := [n for n, t in work.tasks.items() if not t.done()]:
            assert work.throttle.in_flight == min(limit, len(rest))
            inside = [n for n in rest if n in work.entered]
            chosen = rng.choice(rest)
            if rng.random() < 0.5 and chosen in inside:
                work.go[chosen].set_result(None)
            work.tasks[chosen].cancel()
            if rng.random() < 0.5:
                other = rng.choice(rest)
                work.tasks[other].cancel()
            await work.turn()
        assert work.throttle.in_flight == 0

    asyncio.run(play())
