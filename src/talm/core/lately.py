"""What was made of the last few objects, told by identity: several decisions of a pass ask for the same.

Objects of a status are never changed, and each write brings new ones; those before and after a pass are
among the last few.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Of = TypeVar("Of")
Made = TypeVar("Made")

_KEPT: Final = 4


class Lately(Generic[Of, Made]):
    """`make`, asked once for each of the last few objects."""

    def __init__(self, make: Callable[[Of], Made]) -> None:
        self._make = make
        self._made: deque[tuple[Of, Made]] = deque(maxlen=_KEPT)

    def __call__(self, of: Of) -> Made:
        for known, made in self._made:
            if known is of:
                return made
        made = self._make(of)
        self._made.appendleft((of, made))
        return made
