"""Parts of sentences that several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NAMED: Final = 5


def first_few(names: Sequence[str]) -> str:
    """`a, b, c, d, e and 7 more`: a sentence stays one, however many there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
