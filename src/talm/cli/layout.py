"""A table as lines of text: columns as wide as they must be, cut to the terminal's width, plain in a pipe.

Decided here: which columns go when it is narrow, what is cut, and how colors are written.  Not here: which
columns there are (tables.py), whether there are colors (shell.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_LEAST_TEXT: Final = 32  # a cause that is cut to less says nothing
_GAP: Final = "  "

Paint = Callable[[str, str], str]
"""(text, color) -> the text with or without the color"""


def plain(text: str, _color: str) -> str:
    """A `Paint` that leaves the text as it is."""
    return text


_ANSI: Final = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}


def ansi(text: str, color: str) -> str:
    """A `Paint` for terminals."""
    return f"\x1b[{_ANSI[color]}m{text}\x1b[0m" if color else text


@dataclass(frozen=True, slots=True)
class Column:
    """`goes` tells which columns go first where it is narrow (0: never); one that is all blank goes, too."""

    head: str
    right: bool = False
    goes: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    color: str = ""


def lay_out(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    width: int | None,
    paint: Paint = plain,
) -> list[str]:
    """Lines of a table; the last column is cut to `width` (None: never).

    Where that would leave too little of it, columns go, those with the highest `goes` first.
    """
    kept = [i for i, c in enumerate(columns) if not c.goes or any(row[i].text for row in rows)]
    while width is not None and _needed(columns, rows, kept) > width:
        going = max(kept, key=lambda i: columns[i].goes)
        if not columns[going].goes:
            break
        kept.remove(going)
    sizes = {i: _width(columns, rows, i) for i in kept}
    heads = [Cell(column.head, "dim") for column in columns]
    return [_line(columns, row, kept, sizes, width, paint) for row in (heads, *rows)]


def _width(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], at: int) -> int:
    return max([len(columns[at].head), *(len(row[at].text) for row in rows)])


def _needed(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], kept: Sequence[int]) -> int:
    *fixed, last = (_width(columns, rows, i) for i in kept)
    return sum(fixed) + len(_GAP) * len(fixed) + min(last, _LEAST_TEXT)


def _line(
    columns: Sequence[Column],
    row: Sequence[Cell],
    kept: Sequence[int],
    sizes: dict[int, int],
    width: int | None,
    paint: Paint,
) -> str:
    parts: list[str] = []
    used = 0
    last = max((i for i in kept if row[i].text), default=kept[0])
    for i in kept[: kept.index(last) + 1]:
        text, color = row[i].text, row[i].color
        if i == kept[-1]:
            text = cut(text, None if width is None else max(width - used, 1))
        elif columns[i].right:
            text = text.rjust(sizes[i])
        elif i != last:
            text = text.ljust(sizes[i])
        used += len(text) + len(_GAP)
        parts.append(paint(text, color) if color and text.strip() else text)
    return _GAP.join(parts)


def cut(text: str, width: int | None) -> str:
    """One line of at most `width` characters, with a mark where some are missing."""
    flat = " ".join(text.split())
    return flat if width is None or len(flat) <= width else f"{flat[: width - 1]}…"
