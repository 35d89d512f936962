"""Waiting for something of the simulated world to become true, while that world is whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

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
