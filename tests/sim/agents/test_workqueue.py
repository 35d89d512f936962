"""The agents' queue: one at a time, each key once, delays and back-off."""

from __future__ import annotations

import asyncio
import itertools

import structlog.testing

from talm.errors import Unreachable
from talm.sim.agents.workqueue import SerialQueue

from ..virtual import virtual


class Worker:
    """Notes what it is given and when; `again_s` and `fails` say how it answers."""

    def __init__(self, *, takes_s: float = 0.0) -> None:
        self.seen: list[tuple[str, float]] = []
        self.again_s: float | None = None
        self.fails = 0
        self._takes_s = takes_s

    async def __call__(self, key: str) -> float | None:
        self.seen.append((key, round(asyncio.get_running_loop().time(), 3)))
        await asyncio.sleep(self._takes_s)
        if self.fails:
            self.fails -= 1
            raise Unreachable("PUT", key, 0, "no route")
        return self.again_s


@virtual
async def test_keys_are_worked_on_in_order_and_once_however_often_they_are_added() -> None:
    worker = Worker(takes_s=1)
    queue = SerialQueue(worker, name="q")
    for key in "abacab":
        queue.add(key)
    await asyncio.sleep(10)
    assert worker.seen == [("a", 0), ("b", 1), ("c", 2)]


@virtual
async def test_a_key_added_while_it_is_worked_on_comes_again() -> None:
    worker = Worker(takes_s=1)
    queue = SerialQueue(worker, name="q")
    queue.add("a")
    await asyncio.sleep(0.5)
    queue.add("a")
    queue.add("b")
    await asyncio.sleep(5)
    assert [key for key, _ in worker.seen] == ["a", "b", "a"]


@virtual
async def test_of_several_delays_the_earliest_wins() -> None:
    worker = Worker()
    queue = SerialQueue(worker, name="q")
    for delay_s in (9, 3, 6):
        queue.add_after("a", delay_s)
    await asyncio.sleep(20)
    assert worker.seen == [("a", 3)]


@virtual
async def test_failures_come_back_after_5_ms_doubled_up_to_1000_s() -> None:
    worker = Worker()
    worker.fails = 22
    queue = SerialQueue(worker, name="q")
    queue.add("a")
    await asyncio.sleep(10_000)
    moments = [moment for _, moment in worker.seen]
    gaps = [round(b - a, 3) for a, b in itertools.pairwise(moments)]
    assert gaps[:4] == [0.005, 0.01, 0.02, 0.04]
    assert gaps[-1] == gaps[-3] == 1000


@virtual
async def test_success_forgets_the_failures() -> None:
    worker = Worker()
    worker.fails = 5
    queue = SerialQueue(worker, name="q")
    queue.add("a")
    await asyncio.sleep(1)
    worker.fails = 1
    start = asyncio.get_running_loop().time()
    queue.add("a")
    await asyncio.sleep(1)
    assert worker.seen[-1][1] == round(start + 0.005, 3)


@virtual
async def test_a_fault_of_the_worker_is_loud_and_does_not_end_the_queue() -> None:
    calls: list[str] = []

    async def broken(key: str) -> None:
        calls.append(key)
        if len(calls) == 1:
            raise ValueError("a fault of the simulator")

    queue = SerialQueue(broken, name="q")
    with structlog.testing.capture_logs() as logs:
        queue.add("a")
        await asyncio.sleep(1)
    assert calls == ["a", "a"]
    assert logs[0]["event"] == "agent failed"


@virtual
async def test_a_reset_cuts_off_what_runs_and_forgets_the_rest() -> None:
    worker = Worker(takes_s=10)
    queue = SerialQueue(worker, name="q")
    for key in "abc":
        queue.add(key)
    queue.add_after("d", 5)
    await asyncio.sleep(1)
    queue.reset()
    queue.add("e")
    await asyncio.sleep(100)
    assert [key for key, _ in worker.seen] == ["a", "e"]


@virtual
async def test_a_stopped_queue_takes_nothing() -> None:
    worker = Worker()
    queue = SerialQueue(worker, name="q")
    queue.stop()
    queue.add("a")
    queue.add_after("a", 1)
    await asyncio.sleep(10)
    assert worker.seen == []
