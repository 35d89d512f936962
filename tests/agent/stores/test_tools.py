from __future__ import annotations

import asyncio

import pytest

from talm.agent.stores.tools import run
from talm.errors import AgentError


async def test_what_a_program_prints_comes_back() -> None:
    assert await run("echo", "a b; $HOME") == "a b; $HOME\n"


async def test_a_program_reads_what_it_is_fed() -> None:
    async def feed(target: asyncio.StreamWriter) -> None:
        for _ in range(100):
            target.write(b"x" * 10_000)
            await target.drain()

    assert await run("wc", "-c", feed=feed) == "1000000\n"


async def test_what_was_printed_before_a_failure_counts_where_that_is_wanted() -> None:
    assert await run("sh", "-c", "echo a; exit 1", partly=True) == "a\n"
    with pytest.raises(AgentError):
        await run("sh", "-c", "exit 1", partly=True)


async def test_the_last_lines_of_a_failure_are_told() -> None:
    script = "for n in 1 2 3 4; do echo line $n >&2; done; exit 3"
    with pytest.raises(AgentError) as caught:
        await run("sh", "-c", script)
    assert str(caught.value) == "StoreFailed: sh ended with exit code 3: line 2; line 3; line 4"


async def test_a_program_that_stops_reading_says_why() -> None:
    async def feed(target: asyncio.StreamWriter) -> None:
        while True:
            target.write(b"x" * 1_000_000)
            await target.drain()

    with pytest.raises(AgentError, match="exit code 1: enough"):
        await run("sh", "-c", "echo enough >&2; exit 1", feed=feed)


async def test_a_full_disk_is_no_failure_of_the_store() -> None:
    with pytest.raises(AgentError) as caught:
        await run("sh", "-c", "echo write /a: No space left on device >&2; exit 1")
    assert caught.value.kind == "InsufficientSpace"


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(AgentError, match="talm-no-such-program cannot be started: No such file"):
        await run("talm-no-such-program")


async def test_a_cancelled_call_leaves_no_program_behind() -> None:
    started = asyncio.Event()
    ended = asyncio.Event()

    async def feed(target: asyncio.StreamWriter) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    call = asyncio.create_task(run("cat", feed=feed))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()
