"""An event loop whose time jumps to the next timer: hours of simulated life in milliseconds."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

P = ParamSpec("P")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Only for tests without sockets: nothing else would make it wait."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0

    def time(self) -> float:
        return self._virtual_s

    def _run_once(self) -> None:
        loop: Any = self
        if not loop._ready:
            due = [timer.when() for timer in loop._scheduled if not timer.cancelled()]
            self._virtual_s = max(self._virtual_s, min(due, default=0.0))
        loop_run_once = super()._run_once  # type: ignore[misc]
        loop_run_once()


def virtual(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run a coroutine test on virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    return run
