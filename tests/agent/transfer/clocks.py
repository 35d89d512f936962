"""Time that passes when somebody waits."""

from __future__ import annotations

from talm.agent.transfer.retry import Clock


class VirtualTime:
    """`clock` reads it; a sleep is over at once and has lasted as long as asked for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.clock = Clock(lambda: self.now, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
