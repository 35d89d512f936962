"""Reads the tables that kubectl prints: by their headers, since newer versions print more columns.

A column begins where its header begins; a cell may be empty and may hold single blanks.  Several
kinds in one output are several tables, with an empty line between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_HEADER: Final = re.compile(r"\S+(?: \S+)*")


@dataclass(frozen=True, slots=True)
class Table:
    """Headers in their order, and each line as a map of header to cell."""

    headers: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]


def read_tables(output: str) -> tuple[Table, ...]:
    """Split kubectl's output into its tables; none for an output that has no line."""
    return tuple(
        _read(block.splitlines()) for block in re.split(r"\n\s*\n", output) if block.strip()
    )


def _read(lines: list[str]) -> Table:
    head, *body = [line for line in lines if line.strip()]
    found = list(_HEADER.finditer(head))
    begins = [match.start() for match in found]
    ends = [*begins[1:], None]
    headers = tuple(match.group() for match in found)
    rows = tuple(
        {
            header: line[begin:end].strip()
            for header, begin, end in zip(headers, begins, ends, strict=True)
        }
        for line in body
    )
    return Table(headers, rows)
