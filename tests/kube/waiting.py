"""Waiting in tests: long enough for a busy machine, never longer than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 60.0


async def until_true(holds: Callable[[], bool]) -> None:
    """For what no event announces."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)
