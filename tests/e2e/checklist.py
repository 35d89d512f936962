"""The script's rows, and for each whether the simulated agents do the same as the real ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from .plays import IN_ORDER
from .script import NOT_PROVOKED


def difference(expected: str, found: str, *, names: tuple[str, str]) -> str:
    """How two transcripts differ; empty when they do not."""
    lines = (expected.splitlines(), found.splitlines())
    return "\n".join(difflib.unified_diff(*lines, *names, lineterm="", n=2))


def checklist(real: Mapping[str, str], simulated: Mapping[str, str]) -> Iterator[str]:
    """A line per row, then what no row can show and why."""
    width = max(len(row.title) for row in IN_ORDER)
    for row in IN_ORDER:
        same = real[row.slug] == simulated[row.slug]
        yield f"{row.title:<{width}}  {'same' if same else 'DIFFERS'}"
    same_count = sum(real[row.slug] == simulated[row.slug] for row in IN_ORDER)
    yield f"{same_count} of {len(IN_ORDER)} rows are the same"
    for rule, why in NOT_PROVOKED.items():
        yield f"not provoked: {rule}: {why}"
