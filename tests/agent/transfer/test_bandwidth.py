from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from talm.agent.transfer.bandwidth import Bucket

from .clocks import VirtualTime


@given(st.lists(st.tuples(st.integers(0, 100_000), st.floats(0, 3)), max_size=50))
async def test_no_stretch_of_time_brings_more_than_its_share_and_the_burst(
    steps: list[tuple[int, float]],
) -> None:
    time = VirtualTime()
    bucket = Bucket(1000.0, time.clock)
    came: list[tuple[float, int]] = []
    for count, pause in steps:
        time.now += pause
        await bucket.take(count)
        came.append((time.now, count))
    for first, (begin, _) in enumerate(came):
        total = 0
        for end, count in came[first + 1 :]:
            total += count
            assert total <= (end - begin) * 1000.0 + 250.0 + 1e-3


async def test_without_a_cap_nobody_waits() -> None:
    time = VirtualTime()
    await Bucket(None, time.clock).take(10**12)
    assert time.slept == []


async def test_streams_share_one_cap() -> None:
    time = VirtualTime()
    bucket = Bucket(1000.0, time.clock)
    for _ in range(8):
        await bucket.take(500)
    assert time.now == 1000.0 + 8 * 500 / 1000.0
