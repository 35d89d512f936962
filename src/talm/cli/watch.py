"""`talm status --watch`: live by watches, redrawn on a terminal, in a pipe a line for each change.

    informer of CGUs ─────┐
                          ├──► changed ──► rows ──► the screen, or the lines by which they differ
    informers of records ─┘

Decided here: what is watched, and when the watch ends (with the CGU that was named).  A terminal is also
redrawn each second, since ages grow; nothing is asked of the API server for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import click

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.ocm import ManagedClusterView, ManifestWork
from talm.api.words import View
from talm.cli import shell
from talm.cli.changes import Changes
from talm.cli.inclusters import MOST_SINGLE_READS, S, Selected, may_list
from talm.cli.reading import Reader
from talm.cli.rows import CguRow, row_of, telling_clusters
from talm.cli.tables import OVER, cgu_lines, cluster_lines
from talm.cli.told import VIEWS, WORKS
from talm.cli.where import Where
from talm.cli.words import span
from talm.core.explain import Situation
from talm.errors import NoSuchObject
from talm.kube.client import IDLE_S
from talm.kube.watch import Informer

if TYPE_CHECKING:
    from rich.console import Console

_AGES_S: Final = 1.0
_PASSING_S: Final = 30.0  # without any event, time alone may make a setup take too long
_GATHER_S: Final = 0.1  # events come in bursts
_HEAD_LINES: Final = 10  # of a page, beside the clusters


async def follow(where: Where, name: str | None, *, everything: bool, wide: bool) -> int:
    """Show changes until the CGU ends (0 well, 1 badly); without a name for ever.

    Raises NoSuchObject when the CGU is not there or is deleted meanwhile.
    """
    async with where.reader() as reader:
        watched = await Watched.begin(reader, name, where.namespace)
        async with watched:
            if not shell.is_terminal():
                return await tell(watched)
            from rich.console import Console

            console = Console(highlight=False)
            return await draw(watched, console, everything=everything, wide=wide)


class Watched:
    """CGUs and the records of their clusters, as of now; `changed` is set whenever they change.

    A `Records`: what it has is as new as the watches.
    """

    def __init__(self, reader: Reader, name: str, namespace: str) -> None:
        self.name = name
        self.changed = asyncio.Event()
        self._client = reader.client
        self._refused = self._refused_works = ""
        self._tasks: list[asyncio.Task[Any]] = []
        self._views: dict[str, Informer[ManagedClusterView]] = {}  # by cluster; "": of all
        self._works: dict[str, Informer[ManifestWork]] = {}
        named = Selected.named(kinds.CGU, ClusterGroupUpgrade, name)
        every = Selected(kinds.CGU, ClusterGroupUpgrade)
        self._cgus = self._informer(named if name else every, namespace)

    @classmethod
    async def begin(cls, reader: Reader, name: str | None, namespace: str) -> Watched:
        """Look once, so that what is missing or forbidden is said at once, as without --watch."""
        if name:
            found = await reader.cgu(name, namespace)
            namespace = found.metadata.namespace
        else:
            _, note = await reader.fleet(namespace)
            namespace = namespace or (reader.namespace if note else "")
            if note:
                click.echo(note, err=True)
        watched = cls(reader, name or "", namespace)
        watched._refused = await may_list(reader.client, VIEWS)
        watched._refused_works = await may_list(reader.client, WORKS)
        if not watched._refused:
            watched._views[""] = watched._informer(VIEWS)
        if not watched._refused_works:
            watched._works[""] = watched._informer(WORKS)
        return watched

    async def __aenter__(self) -> Watched:
        first: list[Informer[Any]] = [self._cgus, *self._views.values(), *self._works.values()]
        self._tasks += [asyncio.ensure_future(informer.run()) for informer in first]
        await asyncio.gather(*(informer.synced.wait() for informer in first))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _informer(self, wanted: Selected[S], namespace: str = "") -> Informer[S]:
        return Informer(
            self._client,
            wanted.kind,
            wanted.struct,
            lambda *_: self.changed.set(),
            namespace=namespace,
            field_selector=wanted.fields,
            label_selector=wanted.labels,
            optional=wanted.kind != kinds.CGU,
        )

    def rows(self) -> list[CguRow]:
        """Everything as of now."""
        now = dt.datetime.now(dt.UTC)
        cgus = [self._cgus.cache[key] for key in sorted(self._cgus.cache)]
        if self._refused:
            self._watch_where_allowed(cgus)
        return [row_of(cgu, self, now) for cgu in cgus]

    def _watch_where_allowed(self, cgus: list[ClusterGroupUpgrade]) -> None:
        """Where not all may be listed: those of each cluster at work, as long as they are few."""
        for cluster in {c for cgu in cgus for c in telling_clusters(cgu)} - self._views.keys():
            if len(self._views) < MOST_SINGLE_READS:
                self._views[cluster] = self._informer(VIEWS, cluster)
                self._tasks.append(asyncio.ensure_future(self._views[cluster].run()))

    def view(self, cluster: str) -> ManagedClusterView | None:
        informer = self._views.get("") or self._views.get(cluster)
        return informer.get(View.PROGRESS, cluster) if informer is not None else None

    def work(self, cluster: str, name: str) -> ManifestWork | None:
        informer = self._works.get("")
        return informer.get(name, cluster) if informer is not None else None

    def why(self, cluster: str) -> str:
        return self._refused or ("" if self.view(cluster) else self._refused_works)

    @property
    def silence_s(self) -> float:
        """Since when nothing was heard of the API server, which at the least sends a bookmark a minute."""
        return time.monotonic() - self._cgus.last_heard

    async def looks(self, *, every_s: float) -> AsyncIterator[list[CguRow]]:
        """Rows after each change, and `every_s` seconds; ends with the CGU that was named."""
        while True:
            self.changed.clear()
            rows = self.rows()
            yield rows
            if self.name and (not rows or rows[0].told.situation in OVER):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self.changed.wait()
            await asyncio.sleep(_GATHER_S)


def _verdict(rows: list[CguRow]) -> int:
    bad = {Situation.FAILED, Situation.TIMED_OUT}
    return int(any(row.told.situation in bad for row in rows))


async def tell(watched: Watched) -> int:
    """Print a line for each change; returns the exit code."""
    changes = Changes()
    rows: list[CguRow] = []
    async for rows in watched.looks(every_s=_PASSING_S):
        for line in changes.since(rows, dt.datetime.now(dt.UTC)):
            click.echo(line)
        if watched.silence_s > IDLE_S:
            click.echo(_old(watched), err=True)
    return _end(watched, rows)


async def draw(watched: Watched, console: Console, *, everything: bool, wide: bool) -> int:
    """Draw a page again and again, with as many clusters as it has lines for; returns the exit code."""
    from rich.live import Live
    from rich.text import Text

    rows: list[CguRow] = []
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        async for rows in watched.looks(every_s=_AGES_S):
            most = None if everything else max(console.height - _HEAD_LINES, 1)
            lines = _page(rows, watched.name, most=most, wide=wide, width=console.width)
            if watched.silence_s > IDLE_S:
                lines.insert(0, shell.paint()(_old(watched), "red"))
            live.update(Text.from_ansi("\n".join(lines)), refresh=True)
    return _end(watched, rows)


def _old(watched: Watched) -> str:
    return f"nothing heard from the hub for {span(watched.silence_s)}: this may be old"


def _page(rows: list[CguRow], name: str, *, most: int | None, wide: bool, width: int) -> list[str]:
    paint = shell.paint()
    if not name:
        return cgu_lines(rows, width=width, paint=paint)
    return cluster_lines(rows[0], width=width, paint=paint, most=most, wide=wide) if rows else []


def _end(watched: Watched, rows: list[CguRow]) -> int:
    if not rows:
        raise NoSuchObject(f"ClusterGroupUpgrade {watched.name} was deleted")
    return _verdict(rows)
