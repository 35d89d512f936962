"""`talm status`: how far CGUs are, and the clusters of one; once or live."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import click

from talm.api.cgu import ClusterGroupUpgrade
from talm.api.ocm import ManagedClusterView, ManifestWork
from talm.api.words import View
from talm.cli import shell
from talm.cli.documents import as_text, cgu_document
from talm.cli.inclusters import Found, read
from talm.cli.reading import Reader
from talm.cli.rows import CguRow, row_of, stored_progress, telling_clusters
from talm.cli.tables import MOST_ROWS, cgu_lines, cluster_lines
from talm.cli.told import VIEWS, WORKS
from talm.cli.where import Where

_DOCUMENTS: Final = ("json", "yaml")


@click.command("status")
@shell.name_argument(required=False)
@shell.hub_options
@click.option("-w", "--watch", is_flag=True, help="Follow it live; ends with the CGU, or Ctrl-C.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["wide", *_DOCUMENTS]),
    help="wide: cut nothing, and show the current image.",
)
@click.option(
    "--all", "everything", is_flag=True, help=f"Show all clusters, not {MOST_ROWS} at most."
)
def status(
    *, where: Where, name: str | None, watch: bool, output: str | None, everything: bool
) -> None:
    """Show how far CGUs are; with the name of a CGU, how far its clusters are.

    Failed clusters come first, then those that do not get on. Figures of a cluster that is at work are
    those that its workload told last; what you may not read is shown as ? with the reason.

    With --watch, in a pipe, each change is a line; the command ends when the CGU does, with 1 if badly.
    """
    if watch and output in _DOCUMENTS:
        raise click.UsageError(f"--watch shows a table or lines, not {output}")
    if watch:
        from talm.cli.watch import follow

        shell.run(follow(where, name, everything=everything, wide=output == "wide"))
    else:
        shell.run(_once(where, name, everything=everything, output=output))


async def _once(where: Where, name: str | None, *, everything: bool, output: str | None) -> None:
    note = ""
    async with where.reader() as reader:
        if name:
            cgus = [await reader.cgu(name, where.namespace)]
        else:
            cgus, note = await reader.fleet(where.namespace)
        rows = await rows_of(reader, cgus, clusters=bool(name))
    if output in _DOCUMENTS:
        found = [cgu_document(row, clusters=bool(name)) for row in rows]
        click.echo(as_text(found[0] if name else found, output or ""), nl=False)
        return
    most = None if everything else MOST_ROWS
    width, paint, wide = shell.width(), shell.paint(), output == "wide"
    if name:
        lines = cluster_lines(rows[0], width=width, paint=paint, most=most, wide=wide)
    else:
        lines = cgu_lines(rows, width=None if wide else width, paint=paint)
    click.echo("\n".join([*lines, *([note] if note else [])]))


async def rows_of(
    reader: Reader, cgus: Sequence[ClusterGroupUpgrade], *, clusters: bool
) -> list[CguRow]:
    """Read what the clusters have told, and put it beside what the CGUs say.

    Where the `clusters` themselves are not shown, the sums that a CGU has stored are enough.
    """
    telling = (cgu for cgu in cgus if clusters or stored_progress(cgu) is None)
    records = await read_records(reader, {c for cgu in telling for c in telling_clusters(cgu)})
    now = dt.datetime.now(dt.UTC)
    return [row_of(cgu, records, now) for cgu in cgus]


@dataclass(frozen=True, slots=True)
class ReadRecords:
    """Records as they were read; a `Records`."""

    views: Found[ManagedClusterView]
    works: Found[ManifestWork]

    def view(self, cluster: str) -> ManagedClusterView | None:
        return self.views.objects.get((cluster, View.PROGRESS))

    def work(self, cluster: str, name: str) -> ManifestWork | None:
        return self.works.objects.get((cluster, name))

    def why(self, cluster: str) -> str:
        # A cluster that has a view is not reached by works.
        return self.views.why(cluster) or ("" if self.view(cluster) else self.works.why(cluster))


async def read_records(reader: Reader, clusters: Collection[str]) -> ReadRecords:
    """Read views and works of these clusters; raises ApiError."""
    views, works = await asyncio.gather(
        read(reader.client, clusters, VIEWS), read(reader.client, clusters, WORKS)
    )
    return ReadRecords(views, works)
