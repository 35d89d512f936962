"""What happens around one cluster's agents while the script is played: every change of views and
actions on the hub, every request of the agents.  And what is done to those requests."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import enum
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from talm.api.kinds import Kind

T = TypeVar("T")


class Side(enum.Enum):
    """Which API server a request goes to."""

    HUB = "hub"
    SPOKE = "spoke"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A view or an action as the hub's watch shows it; `obj` None: it was deleted."""

    kind: Kind
    name: str
    obj: Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request of an agent, as it arrived.  `plural` "" is discovery; `code` 0: no answer."""

    side: Side
    verb: str
    plural: str
    namespace: str
    name: str
    code: int
    moment: dt.datetime
    propagation: str = ""


class Never(Exception):
    """Something that the script waits for did not happen."""


class Journal:
    """Both lists grow at their ends; whoever waits for something is woken at each entry."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.requests: list[Request] = []
        self._bell = asyncio.Event()

    def change(self, change: Change) -> None:
        """The hub's watch brought something."""
        self.changes.append(change)
        self._ring()

    def request(self, request: Request) -> None:
        """An agent asked something."""
        self.requests.append(request)
        self._ring()

    async def until(self, question: Callable[[], T], what: str, *, seconds: float) -> T:
        """The first true answer; raises Never after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not (answer := question()):
                    await self._bell.wait()
        except TimeoutError:
            raise Never(what) from None
        return answer

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()


class Faults:
    """What is done to the requests of one cluster's agents; the script decides."""

    def __init__(self) -> None:
        self._lost: dict[str, int] = {}
        self._refused: dict[str, list[str]] = {}

    def lose_writes(self, name: str, count: int = 1) -> None:
        """The next `count` status writes to this hub object get lost on their way."""
        self._lost[name] = count

    def loses(self, name: str) -> bool:
        """Whether the write that has just arrived is one of those."""
        left = self._lost.get(name, 0)
        self._lost[name] = max(0, left - 1)
        return left > 0

    def refuse(self, name: str, *texts: str) -> None:
        """Answer 403 to what is asked about this spoke object: each text once, the last for ever."""
        self._refused[name] = list(texts)

    def refusal(self, name: str) -> str | None:
        """The text for the request that has just arrived; None: let it pass."""
        texts = self._refused.get(name)
        if not texts:
            return None
        return texts.pop(0) if len(texts) > 1 else texts[0]
