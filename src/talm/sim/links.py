"""The way between the hub and one spoke: up, down, slow, or with a watch that died silently.

    hub informer -> Link.offer -(rtt/2)-> agents' caches        agents -> Link.call -> hub

While the link is down the hub's events wait.  When it comes up again they are delivered in
their order, or, after an absence too long for the API server to resume the watch, the agents
list again: everything, sorted by name.  A restarted agent gets everything in no order at all (its
framework walks a Go map).
"""

from __future__ import annotations

import asyncio
import collections
import enum
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from talm.errors import Unreachable

RESUME_S: Final = 300.0
"""An absence longer than this ends in a new list: the API server compacts after 5 minutes."""

T = TypeVar("T")


class LinkState(enum.StrEnum):
    """HALF_DEAD: requests pass, but the watch brings nothing any more and nobody notices."""

    UP = "up"
    DOWN = "down"
    HALF_DEAD = "half-dead"


class Receiver(Protocol):
    """An agent's cache of one kind of hub objects."""

    def deliver(self, name: str, obj: Any | None) -> None:
        """The hub's watch says: this object is now so (None: deleted)."""
        ...

    def relist(self, objects: Iterable[tuple[str, Any]]) -> None:
        """The hub's list says: these exist, and no others; in this order."""
        ...


Listing: TypeAlias = Callable[[int], list[tuple[str, Any]]]
"""The hub's present objects for receiver number i, sorted by name."""


class Link:
    """One spoke's link.  Events are offered by the fleet's shared informers."""

    def __init__(self, *, rtt_s: float = 0.0, listing: Listing, seed: str = "") -> None:
        self.rtt_s = rtt_s
        self.lose_puts = 0.0
        """Part (0..1) of action results that are lost on their way to the hub."""
        self.state = LinkState.UP
        self.on_change: list[Callable[[LinkState], None]] = []
        self._listing = listing
        self._random = random.Random(f"link {seed}")
        self._receivers: list[Receiver] = []
        self._waiting: collections.deque[tuple[int, str, Any | None]] = collections.deque()
        self._flying: collections.deque[tuple[int, str, Any | None]] = collections.deque()
        self._left_at = 0.0
        self._must_list = False
        self._restarted = False

    def connect(self, receiver: Receiver) -> int:
        """Add a receiver; returns its number, by which events and lists are addressed."""
        self._receivers.append(receiver)
        return len(self._receivers) - 1

    def offer(self, number: int, name: str, obj: Any | None) -> None:
        """The hub's watch has news for receiver `number`."""
        if self.state is LinkState.UP:
            self._send((number, name, obj))
        elif self.state is LinkState.DOWN:
            self._waiting.append((number, name, obj))
        # half-dead: lost, as far as this watch is concerned

    def down(self) -> None:
        """Cut the link."""
        self._leave(LinkState.DOWN)

    def half_dead(self) -> None:
        """Let the watch die silently."""
        self._leave(LinkState.HALF_DEAD)

    def up(self, *, relist: bool | None = None) -> None:
        """Restore the link.  `relist` None: by how long it was away, always after half-dead."""
        if self.state is LinkState.UP:
            return
        away_s = asyncio.get_running_loop().time() - self._left_at
        if relist is None:
            relist = self.state is LinkState.HALF_DEAD or away_s > RESUME_S
        relist = relist or self._must_list
        waiting, self._waiting = self._waiting, collections.deque()
        self._become(LinkState.UP)
        if relist:
            self.list_again()
        else:
            for event in waiting:
                self._send(event)

    def list_again(self, *, restarted: bool = False) -> None:
        """Every agent lists its objects anew, at once or as soon as the link is up."""
        self._restarted |= restarted
        self._flying.clear()
        self._waiting.clear()
        self._must_list = self.state is LinkState.DOWN
        if self._must_list:
            return
        for number, receiver in enumerate(self._receivers):
            objects = self._listing(number)
            if self._restarted:
                self._random.shuffle(objects)
            receiver.relist(objects)
        self._restarted = False

    async def call(self, request: Callable[[], Awaitable[T]], *, loses: bool = False) -> T:
        """Send a request of an agent to the hub; raises Unreachable while the link is down.

        `loses`: a request that `lose_puts` may lose.
        """
        self._check()
        if loses and self.lose_puts and self._random.random() < self.lose_puts:
            raise Unreachable("PUT", "status", 0, "http2: client connection lost")
        if not self.rtt_s:
            return await request()
        await asyncio.sleep(self.rtt_s / 2)
        self._check()
        answer = await request()
        await asyncio.sleep(self.rtt_s / 2)
        self._check()
        return answer

    def _check(self) -> None:
        if self.state is LinkState.DOWN:
            raise Unreachable("", "hub", 0, "dial tcp: connect: no route to host")

    def _leave(self, state: LinkState) -> None:
        if self.state is LinkState.UP:
            self._left_at = asyncio.get_running_loop().time()
        self._become(state)

    def _become(self, state: LinkState) -> None:
        if self.state is state:
            return
        self.state = state
        for tell in self.on_change:
            tell(state)

    def _send(self, event: tuple[int, str, Any | None]) -> None:
        if not self.rtt_s and not self._flying:
            self._deliver(event)
            return
        self._flying.append(event)
        asyncio.get_running_loop().call_later(self.rtt_s / 2, self._land)

    def _land(self) -> None:
        if not self._flying:
            return  # overtaken by a list
        event = self._flying.popleft()
        if self.state is LinkState.UP:
            self._deliver(event)
        elif self.state is LinkState.DOWN:
            self._waiting.append(event)

    def _deliver(self, event: tuple[int, str, Any | None]) -> None:
        number, name, obj = event
        self._receivers[number].deliver(name, obj)
