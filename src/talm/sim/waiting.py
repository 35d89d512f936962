"""Waiting for what happens in the simulated world, and for several parts of it at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

_LOOK_S: Final = 0.1


async def until(
    true: Callable[[], Awaitable[bool]],
    patience_s: float,
    *,
    check: Callable[[], None] = lambda: None,
) -> bool:
    """Ask until it is true; False when `patience_s` have passed.  Raises what `check` raises."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while not await true():
                check()
                await asyncio.sleep(_LOOK_S)
            return True
    return False


async def event(changed: asyncio.Event, longest_s: float) -> None:
    """Wait for an event, which is cleared, but not longer than `longest_s`."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), longest_s)
    changed.clear()


async def together(*parts: Coroutine[Any, Any, object]) -> None:
    """Do all of it; when one part fails the others are given up, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
