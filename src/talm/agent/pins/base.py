"""What a way to pin images must be able to do.  One file beside this one per way.

    before the first import ──► each image, once the store has it ──► all are there ──► taken back
         expect                         pin                             conclude          release

Pins are asked back from whoever keeps them, at the latest when all images are there; what cannot be
pinned is told and fails no run (keeping.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final, Protocol

from talm.agent.content.manifests import Image


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether images are safe.  None: that is told when all of them are there; `why` not, if not."""

    pinned: bool | None
    why: str = ""


PINNED: Final = Verdict(True)
LATER: Final = Verdict(None)


def unpinned(why: str) -> Verdict:
    """Return the verdict that images are not safe, and why."""
    return Verdict(False, why)


class Pins(Protocol):
    """One way to pin.  TalmError and OSError mean that nothing can be said to be pinned."""

    async def expect(self, images: Sequence[Image]) -> None:
        """Hear which images are about to be imported; pins by name can be there before them."""
        ...

    async def pin(self, image: Image) -> Verdict:
        """Pin an image that the store has now."""
        ...

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        """All of them are there: take the pins of earlier runs from all others, and ask back."""
        ...

    async def release(self, run: str = "") -> int:
        """Take back what `run` has pinned ("": any run); returns how many pins there were.

        What another run has pinned since stays.
        """
        ...


class NoPins:
    """Nothing is pinned here, for one reason."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    async def expect(self, images: Sequence[Image]) -> None:
        """Nothing is to be done."""

    async def pin(self, image: Image) -> Verdict:
        """Return the one verdict."""
        return self._verdict

    async def conclude(self, images: Sequence[Image]) -> Verdict:
        """Return the one verdict."""
        return self._verdict

    async def release(self, run: str = "") -> int:
        """Return 0: there is no pin of ours."""
        return 0
