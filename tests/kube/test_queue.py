"""The work queue: by examples, by workers that run, and by random walks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from talm.errors import Conflict, LeadershipLost, TooBusy
from talm.kube.backoff import Backoff
from talm.kube.queue import Gap, WorkQueue, run_workers
from tests.kube.waiting import PATIENCE_S

GAP = Gap(shortest_s=0.05, longest_s=1.0, per_event_s=0.01)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def queue(clock: Clock) -> AsyncIterator[WorkQueue[str]]:
    made: WorkQueue[str] = WorkQueue(gap=GAP, first_backoff_s=1.0, clock=clock)
    yield made
    made.shut_down()


def later(queue: WorkQueue[str], clock: Clock, seconds: float) -> None:
    clock.now += seconds
    queue.poll()


async def test_many_events_of_a_key_are_one_pass(queue: WorkQueue[str]) -> None:
    for _ in range(100):
        queue.add("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_the_first_event_after_a_quiet_time_is_answered_at_once(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add("a")
    await queue.get()
    queue.done("a")
    later(queue, clock, 60)
    queue.add("a")
    assert len(queue) == 1


async def test_a_key_rests_for_its_gap_between_two_passes(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add("a")
    await queue.get()
    queue.done("a")
    queue.add("a")
    later(queue, clock, 0.049)
    assert len(queue) == 0
    later(queue, clock, 0.002)
    assert len(queue) == 1


async def test_the_gap_grows_with_the_events_that_a_pass_answered(
    queue: WorkQueue[str], clock: Clock
) -> None:
    for _ in range(3500):
        queue.add("a")
    await queue.get()
    queue.done("a")
    queue.add("a")
    later(queue, clock, 0.99)
    assert len(queue) == 0
    later(queue, clock, 0.02)
    assert len(queue) == 1


def test_a_long_pass_is_followed_by_as_long_a_gap_within_bounds() -> None:
    assert GAP.after(0.3, 0) == 0.3
    assert GAP.after(0.0, 1) == 0.05
    assert GAP.after(30.0, 1) == 1.0


async def test_an_event_during_a_pass_means_another_pass_after_it(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    later(queue, clock, 10)
    assert len(queue) == 0, "never two passes of one key at a time"
    queue.done("a")
    later(queue, clock, 10)
    assert await queue.get() == "a"


async def test_a_hot_key_does_not_starve_the_others(queue: WorkQueue[str], clock: Clock) -> None:
    served = []
    for key in ("hot", "b", "c"):
        queue.add(key)
    for _ in range(6):
        taken = await queue.get()
        assert taken is not None
        served.append(taken)
        queue.add("hot")
        queue.done(taken)
        queue.add("b")
        queue.add("c")
        later(queue, clock, 1)
    assert sorted(served[:3]) == sorted(served[3:]) == ["b", "c", "hot"]


async def test_the_earlier_of_two_looks_counts_and_a_pass_makes_them_void(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    later(queue, clock, 9)
    assert len(queue) == 0
    later(queue, clock, 1)
    await queue.get()
    queue.done("a")
    later(queue, clock, 100)
    assert len(queue) == 0


async def test_a_key_that_is_held_is_not_looked_at_before_whatever_happens_and_then_at_once(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add("a")
    await queue.get()
    queue.hold("a", 2.0)
    queue.add_after("a", 0.5)
    queue.done("a")
    queue.add("a")
    later(queue, clock, 1.9)
    assert len(queue) == 0
    later(queue, clock, 0.2)
    assert len(queue) == 1
    queue.hold("b", 2.0)
    queue.add("b")
    assert len(queue) == 1, "also one that is unknown"
    await queue.get()
    queue.done("a")
    later(queue, clock, 2.0)
    assert await queue.get() == "b"


async def test_failures_back_off_longer_and_longer_until_one_success(
    queue: WorkQueue[str], clock: Clock
) -> None:
    delays = []
    for _ in range(4):
        queue.add("a")
        await queue.get()
        delays.append(queue.retry("a"))
        queue.done("a")
        later(queue, clock, 100)
        assert await queue.get() == "a"
        queue.done("a")
        later(queue, clock, 100)
    assert all(0.5 * 2**n <= delay <= 2**n for n, delay in enumerate(delays))
    queue.add("a")
    await queue.get()
    queue.forget("a")
    assert queue.retry("a") <= 1.0


async def test_an_event_shortens_a_back_off_but_not_what_the_api_server_asked_for(
    queue: WorkQueue[str], clock: Clock
) -> None:
    for key, asked_s in (("failed", None), ("refused", 50.0)):
        queue.add(key)
        await queue.get()
        queue.retry(key, asked_s)
        queue.done(key)
        queue.add(key)
    later(queue, clock, 0.2)
    assert await queue.get() == "failed"
    assert len(queue) == 0
    later(queue, clock, 60)
    assert await queue.get() == "refused"


async def test_after_shut_down_nothing_is_handed_out_and_running_passes_may_end(
    queue: WorkQueue[str],
) -> None:
    queue.add("running")
    await queue.get()
    queue.add("waiting")
    queue.shut_down()
    queue.add("late")
    queue.add_after("later", 0)
    assert await queue.get() is None
    assert await queue.get() is None, "for every worker"
    queue.done("running")
    assert len(queue) == 0


def test_a_delay_never_exceeds_its_limit_nor_undercuts_what_was_asked() -> None:
    backoff = Backoff(1.0, 30.0)
    assert all(backoff.next_s() <= 30.0 for _ in range(2000))
    assert backoff.next_s(60.0) >= 60.0
    assert backoff.next_s(1e9) <= 132.0, "no answer keeps us away for ever"


async def test_workers_reach_the_last_state_of_every_key_in_spite_of_failures() -> None:
    queue: WorkQueue[int] = WorkQueue(
        gap=Gap(0.0, 0.0, 0.0), first_backoff_s=0.001, longest_backoff_s=0.01
    )
    truth: dict[int, int] = {}
    seen: dict[int, int] = {}
    running: set[int] = set()
    failed: set[int] = set()
    complete = asyncio.Event()

    async def reconcile(key: int) -> None:
        assert key not in running
        running.add(key)
        value = truth[key]
        await asyncio.sleep(0)
        running.discard(key)
        if value % 7 == 3 and value not in failed:
            failed.add(value)
            raise Conflict("PUT", "x", 409, "changed")
        seen[key] = value
        if len(truth) == 13 and seen == truth:
            complete.set()

    task = asyncio.create_task(run_workers(queue, reconcile, 4))
    for value in range(2000):
        truth[value % 13] = value
        queue.add(value % 13)
        if value % 50 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await complete.wait()
        queue.shut_down()
        await task


async def test_a_pass_names_the_time_of_the_next_and_is_reported() -> None:
    queue: WorkQueue[str] = WorkQueue(gap=Gap(0.0, 0.0, 0.0), first_backoff_s=0.001)
    outcomes: list[bool] = []

    async def reconcile(key: str) -> float | None:
        if len(outcomes) == 1:
            raise TooBusy("PATCH", "x", 429, "slow down", retry_after_s=0.001)
        if len(outcomes) == 3:
            queue.shut_down()
        return 0.001

    queue.add("a")
    async with asyncio.timeout(PATIENCE_S):
        await run_workers(queue, reconcile, 2, on_pass=lambda _, ok: outcomes.append(ok))
    assert outcomes == [True, False, True, True]


async def test_shut_down_waits_for_the_passes_that_run() -> None:
    queue: WorkQueue[str] = WorkQueue()
    began, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def reconcile(key: str) -> None:
        began.set()
        await may_end.wait()
        ended.set()

    queue.add("a")
    task = asyncio.create_task(run_workers(queue, reconcile, 2))
    async with asyncio.timeout(PATIENCE_S):
        await began.wait()
        queue.shut_down()
        may_end.set()
        await task
    assert ended.is_set()


async def test_lost_leadership_ends_all_workers() -> None:
    queue: WorkQueue[str] = WorkQueue()

    async def reconcile(key: str) -> None:
        if key == "b":
            raise LeadershipLost("not renewed")
        await asyncio.sleep(3600)

    queue.add("a")
    queue.add("b")
    with pytest.raises(LeadershipLost):
        async with asyncio.timeout(PATIENCE_S):
            await run_workers(queue, reconcile, 2)


KEYS = st.sampled_from("abcd")


class RandomWalk(RuleBasedStateMachine):
    """Whatever happens in whatever order: no key is lost, doubled or hurried."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.queue: WorkQueue[str] = self.loop.run_until_complete(self._make())
        self.asked: set[str] = set()  # by an event, since its last pass began
        self.planned: dict[str, float] = {}  # latest time by add_after
        self.running: set[str] = set()
        self.rested_at: dict[str, float] = {}  # earliest next pass

    async def _make(self) -> WorkQueue[str]:
        return WorkQueue(gap=GAP, clock=self.clock)

    def do(self, call: Callable[[], None]) -> None:
        async def inside() -> None:
            call()

        self.loop.run_until_complete(inside())

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.do(lambda: self.queue.add(key))
        self.asked.add(key)

    @rule(key=KEYS, delay=st.sampled_from([0.0, 0.02, 0.5, 7.0]))
    def add_after(self, key: str, delay: float) -> None:
        self.do(lambda: self.queue.add_after(key, delay))
        at = self.clock.now + delay
        self.planned[key] = min(at, self.planned.get(key, at))

    @rule(seconds=st.sampled_from([0.01, 0.06, 1.5, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.do(self.queue.poll)

    @precondition(lambda self: len(self.queue) > 0)
    @rule()
    def take(self) -> None:
        key = self.loop.run_until_complete(asyncio.wait_for(self.queue.get(), PATIENCE_S))
        assert key is not None
        assert key not in self.running
        assert key in self.asked or self.planned.get(key, float("inf")) <= self.clock.now
        assert self.clock.now >= self.rested_at.get(key, 0.0)
        self.asked.discard(key)
        self.planned.pop(key, None)
        self.running.add(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fails=st.booleans(), asked_s=st.sampled_from([None, 0.2, 3.0]))
    def end_pass(self, data: st.DataObject, fails: bool, asked_s: float | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        rest = GAP.shortest_s
        if fails:
            delay = self.loop.run_until_complete(self._retry(key, asked_s))
            at = self.clock.now + delay
            self.planned[key] = min(at, self.planned.get(key, at))
            rest = rest if asked_s is None else max(rest, asked_s)
        else:
            self.do(lambda: self.queue.forget(key))
        self.do(lambda: self.queue.done(key))
        self.running.discard(key)
        self.rested_at[key] = self.clock.now + rest

    def _end_all(self) -> None:
        for key in sorted(self.running):
            self.queue.forget(key)
            self.queue.done(key)
        self.running.clear()

    async def _retry(self, key: str, asked_s: float | None) -> float:
        return self.queue.retry(key, asked_s)

    @invariant()
    def no_more_is_ready_than_was_asked_for(self) -> None:
        wanted = (self.asked | self.planned.keys()) - self.running
        assert len(self.queue) <= len(wanted)

    def teardown(self) -> None:
        """Everything that was asked for comes, and nothing is remembered afterwards."""
        if not hasattr(self, "loop"):
            return
        self.do(self._end_all)
        for _ in range(10):
            self.time_passes(200.0)
            while len(self.queue):
                self.take()
                self.do(self._end_all)
        assert not self.asked
        assert not self.planned
        assert not self.queue._entries
        self.queue.shut_down()
        self.loop.close()


TestRandomWalk = RandomWalk.TestCase
TestRandomWalk.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
