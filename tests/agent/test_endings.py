from __future__ import annotations

import asyncio
import os
import signal

import pytest

from talm.agent.endings import Deadline, outcome, signals
from talm.agent.failures import failure
from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError

FAR = 3600.0


async def ends(error: Exception | None = None) -> None:
    if error:
        raise error


async def never() -> None:
    await asyncio.Event().wait()


async def result(work: object, *, ended: bool = False, deadline_s: float | None = None) -> str:
    event = asyncio.Event()
    if ended:
        event.set()
    error = await outcome(work, event, Deadline(deadline_s))  # type: ignore[arg-type]
    return str(error) if error else "well"


async def test_work_that_ends_by_itself_ends_as_it_does() -> None:
    assert await result(ends()) == "well"
    assert await result(ends(), deadline_s=FAR) == "well"
    refused = failure(FailureClass.UNAUTHORIZED, "no")
    assert await result(ends(refused)) == "Unauthorized: no"


async def test_a_crash_is_a_failure_of_its_own() -> None:
    error = await outcome(ends(ValueError("boom")), asyncio.Event(), Deadline(None))
    assert isinstance(error, AgentError)
    assert (error.exit_code, str(error)) == (1, "Bug: ValueError: boom")
    assert error.exit_code not in EXIT_CODES.values()


async def test_a_signal_and_a_deadline_end_what_works() -> None:
    assert (await result(never(), ended=True)).startswith("Interrupted: ended by a signal")
    said = await result(never(), deadline_s=0.001)
    assert said.startswith("PartlyCached: stopped 0.00025 s before the Job's deadline")


async def test_work_that_is_done_in_the_last_moment_is_done() -> None:
    async def finishes() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            return

    assert await result(finishes(), ended=True) == "well"


async def test_work_that_does_not_let_go_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talm.agent.endings._FLUSH_S", 0.01)
    release = asyncio.Event()

    async def clings() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            await release.wait()

    assert (await result(clings(), ended=True)).startswith("Interrupted")
    release.set()


async def test_a_deadline_is_counted_from_the_jobs_start() -> None:
    deadline = Deadline(FAR)
    near, over = asyncio.create_task(deadline.near()), asyncio.create_task(deadline.over())
    await asyncio.sleep(0)
    assert not near.done()
    deadline.started_before(FAR - 1)
    await near
    assert not over.done(), "the Job's own end is left to its controller"
    deadline.started_before(-FAR)
    deadline.started_before(FAR)
    await over


@pytest.mark.parametrize(("seconds", "margin"), [(None, 0), (40, 10), (240, 60), (14_400, 60)])
def test_pulling_stops_a_minute_before_the_deadline(seconds: float | None, margin: float) -> None:
    assert Deadline(seconds).margin_s == margin


async def test_the_first_signal_is_told_once() -> None:
    told: list[int] = []
    with signals(lambda: told.append(1)) as ended:
        os.kill(os.getpid(), signal.SIGTERM)
        await ended.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
    assert told == [1]
