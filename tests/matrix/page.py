"""docs/reference/faults.md: the rows, and what came of each in the last full run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from talm.spokes.bycluster import Way

from .case import Result
from .rows import ROWS, Row

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"
HOLDS: Final = "as it must"

HEAD: Final = """\
# What goes wrong, and what becomes of it

Made by `make fault-matrix`, which plays every row through both transports and writes this page; do not edit.

Each row is played alone: {clusters} simulated clusters against a real API server and the operator as it
ships. Some clusters are struck, most are not, and the others must not notice. Of every cluster it is
demanded that it

- comes to its end within the stated deadlines,
- fails only where its own workload failed or a stated deadline ended it, and that the CGU says so,
- sees one Job and no second one, not even when it returns after it was given up,
- is as it was before when the CGU has gone and the link is back: nothing is left on the spoke, nor on the hub
  but the record of what is cached. (Actions that were carried out are collected by the hub in its own time;
  a ManagedCluster that was deleted is nobody's any more.)

Where works are used, half of the clusters answer views as well, and the other half does not. Spokes live
{pace:.0f} times as fast as the hub, links are noticed to be down after {notice:.0f} s instead of 300 s, and
actions are collected after {keep:.0f} s instead of 60 s; otherwise agents, Jobs and namespaces behave as real
ones do. `talm sim --faults` [does the same](../howto/simulate-a-fleet.md#faults) to a fleet of yours.

| row | what goes wrong | what must come of it | transport | what came of it | verdict |
|---|---|---|---|---|---|
"""


def page(results: Sequence[Result], *, head: Mapping[str, float], before: str = "") -> str:
    """The page, rows in their order; those that were not played stay as they are on the page `before`."""
    told: dict[tuple[str, str], str] = {(row[0], row[3]): _line(row) for row in rows_of(before)}
    told |= {(result.row.name, result.way): _line(_cells(result)) for result in results}
    lines = [told[key] for key in wanted() if key in told]
    return HEAD.format(**head) + "\n".join(lines) + "\n"


def is_on_terms(text: str, head: Mapping[str, float]) -> bool:
    """Whether a page is of runs like this one, so that rows of both may stand side by side."""
    return text.startswith(HEAD.format(**head))


def wanted(rows: Iterable[Row] = ROWS) -> list[tuple[str, Way]]:
    """Every row with every transport that it is played through."""
    return [(row.name, way) for row in rows for way in row.ways]


def _cells(result: Result) -> tuple[str, ...]:
    verdict = HOLDS if not result.breaches else "**not so**: " + "; ".join(result.breaches[:3])
    row = result.row
    return (row.name, row.happens, row.must, f"{result.way}", result.outcome, verdict)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rows_of(text: str) -> list[tuple[str, ...]]:
    """The cells of a page's rows."""
    table = text.partition("|---|")[2].splitlines()[1:]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table if line]
