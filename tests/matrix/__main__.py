"""Play the fault matrix.

    python -m tests.matrix                      every row, 200 clusters each, both transports; writes the page
    python -m tests.matrix --short              20 clusters each, and one mixture: some ten minutes
    python -m tests.matrix --row flap --row stuck --transport manifest-work --clusters 50

A line for each row as it ends; exit code 1 when something is not as it must be.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import uvloop

from talm.hub.logs import set_up
from talm.spokes.bycluster import Way

from .case import Case, Result
from .page import PAGE, is_on_terms, page, wanted
from .rows import ROWS, Crew, Row
from .stage import KEEP_S, NOTICE_S, PACE, Terms, wave

FULL, SHORT = 200, 20
MOST_SHOWN = 8
UNTROUBLED = frozenset({Crew.ONE, Crew.HURRIED})
# The API server's garbage collector takes a third of two cores otherwise; memory is not short here.
GO_GC = {"GOGC": "400"}


@click.command()
@click.option("--row", "names", multiple=True, type=click.Choice([row.name for row in ROWS]))
@click.option("--transport", "ways", multiple=True, type=click.Choice([str(way) for way in Way]))
@click.option("--clusters", type=int, help=f"For each row. Default: {FULL}, with --short {SHORT}.")
@click.option("--short", is_flag=True, help="Few clusters; of the mixtures one, with all clusters.")
@click.option("--seed", default=1, show_default=True, help="Draws who is struck.")
@click.option("--setup-deadline", default=5, show_default=True, help="Minutes.")
@click.option(
    "--hurried", default=0, help="The same where it is waited for. Default: 3, in short 1."
)
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the operators' logs here.",
)
@click.option(
    "--at-once", default=1200, show_default=True, help="Clusters on one hub; more wait their turn."
)
@click.option(
    "--write/--no-write",
    default=None,
    help="Write the page; of some rows only those. Default: after a full run.",
)
def main(
    names: tuple[str, ...],
    ways: tuple[str, ...],
    *,
    clusters: int | None,
    short: bool,
    seed: int,
    setup_deadline: int,
    hurried: int,
    at_once: int,
    logs: Path | None,
    write: bool | None,
) -> None:
    """Play rows of the fault matrix; all of them when none is named."""
    set_up("console", "error")
    os.environ.update(GO_GC)
    rows = [row for row in ROWS if row.name in names] if names else _usual(short=short)
    terms = Terms(setup_deadline, hurried or (1 if short else 3), seed, logs)
    chosen = [Way(way) for way in ways] or list(Way)
    cases = [
        Case(
            row,
            way,
            clusters or _count(row, short=short),
            seed=seed,
            limit_s=terms.limit_s(row.crew),
        )
        for row, way in itertools.product(rows, chosen)
        if way in row.ways
    ]
    head = {"clusters": cases[0].size, "pace": PACE, "notice": NOTICE_S, "keep": KEEP_S}
    whole = {(case.row.name, case.way) for case in cases} == set(wanted())
    before = "" if whole else PAGE.read_text()
    if write and not whole and not is_on_terms(before, head):
        raise click.UsageError(
            f"{PAGE.name} is of a run on other terms: play all rows, or as many clusters"
        )
    results = uvloop.run(_play_all(list(waves(cases, at_once)), terms))
    if write or (write is None and whole and not short):
        PAGE.write_text(page(results, head=head, before=before))
    bad = [result for result in results if result.breaches]
    click.echo(f"{len(results)} rows, {len(bad)} not as they must be")
    sys.exit(1 if bad else 0)


def _usual(*, short: bool) -> list[Row]:
    """In short what shares one operator, and the first mixture, in which everything happens to it."""
    mixtures = [row for row in ROWS if row.crew is Crew.ALL]
    return [r for r in ROWS if r.crew in UNTROUBLED] + mixtures[:1] if short else list(ROWS)


def _count(row: Row, *, short: bool) -> int:
    return SHORT if short and row.crew in UNTROUBLED else FULL


async def _play_all(together: Sequence[Sequence[Case]], terms: Terms) -> list[Result]:
    """One wave after another, but those that mostly wait go on beside them."""
    waiting = [wave for wave in together if wave[0].row.crew is Crew.HURRIED]
    others = [wave for wave in together if wave not in waiting]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_play(one, terms)) for one in waiting]
        results = [result for one in others for result in await _play(one, terms)]
    return results + [result for task in tasks for result in task.result()]


async def _play(cases: Sequence[Case], terms: Terms) -> list[Result]:
    results = []
    async for result in wave(cases, terms):
        results.append(result)
        _tell(result)
    return results


def waves(cases: Sequence[Case], at_once: int) -> Iterator[list[Case]]:
    """Who plays together: one way, one operator that is not troubled, so many clusters; else alone."""
    shared: list[Case] = []
    for case in sorted(cases, key=lambda case: (case.way, case.row.crew is not Crew.ONE)):
        alone = case.row.crew is not Crew.ONE
        full = sum(other.size for other in shared) + case.size > at_once
        if shared and (alone or full or shared[0].way is not case.way):
            yield shared
            shared = []
        if alone:
            yield [case]
        else:
            shared.append(case)
    if shared:
        yield shared


def _tell(result: Result) -> None:
    verdict = "ok" if not result.breaches else "NOT AS IT MUST BE"
    click.echo(
        f"{time.strftime('%H:%M:%S')} {result.row.name:<16} {result.way:<13} {result.clusters:>4} "
        f"{result.seconds:6.1f} s  {result.outcome}  {verdict}"
    )
    for breach in result.breaches[:MOST_SHOWN]:
        click.echo(f"    {breach}")
    if len(result.breaches) > MOST_SHOWN:
        click.echo(f"    and {len(result.breaches) - MOST_SHOWN} more")


if __name__ == "__main__":
    main()
