"""How commands look: headings, typed commands, verdicts, a live table; plain lines without a terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_WIDEST: Final = 110
_COLORS: Final = {"Succeeded": "green", "Active": "cyan", "Timeout": "red", "Error": "red"}


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """A cluster in the live table."""

    cluster: str
    state: str
    since: dt.datetime | None
    message: str


Lines = Callable[[], Sequence[ClusterLine]]


class Screen:
    """Prints to a terminal with colors and a live table, elsewhere line by line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0

    @property
    def is_live(self) -> bool:
        """Whether a table can be redrawn."""
        return self._console.is_terminal

    def step(self, text: str) -> None:
        """Begin a part."""
        self._print()
        self._print(f"[bold]{escape(text)}[/]")

    def note(self, text: str) -> None:
        """Say something on the way."""
        self._print(f"[dim]{escape(text)}[/]")

    def command(self, where: str, line: str) -> None:
        """Show what is typed, and on which cluster."""
        self._print()
        self._print(f"[dim]{escape(where)}[/] [bold]$ {escape(line)}[/]")

    def output(self, text: str) -> None:
        """Show what a command has printed."""
        if text.strip():
            self._console.print(Text(text.rstrip()), soft_wrap=True)

    def verdict(self, holds: bool, text: str, seen: str = "") -> None:
        """Show one check; `seen` is what was there instead."""
        mark, color = ("✓", "green") if holds else ("✗", "red")
        but = f"  — seen: {escape(seen)}" if seen else ""
        self._print(f"  [{color}]{mark}[/] {escape(text)}{but}")

    def end(self, holds: bool, text: str) -> None:
        """Say how all of it went."""
        self._print()
        self._print(f"[bold {'green' if holds else 'red'}]{escape(text)}[/]")

    @contextlib.contextmanager
    def live(self, title: str, lines: Lines, journal: Lines) -> Iterator[Callable[[], None]]:
        """Follow the clusters; yields what redraws.

        On a terminal `lines` is a table; elsewhere the new entries of `journal` are printed.
        """
        if not self.is_live:
            self.note(title)
            yield lambda: self._tell(journal())
            self._tell(journal())
            return
        with Live(console=self._console, auto_refresh=False) as live:

            def draw() -> None:
                live.update(_table(title, lines()), refresh=True)

            draw()
            yield draw
            draw()

    def _tell(self, journal: Sequence[ClusterLine]) -> None:
        for line in journal[self._told :]:
            self._print(f"  {_time(line)}  {line.cluster}  {line.state}  {escape(line.message)}")
        self._told = len(journal)

    def _print(self, text: str = "") -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


def _table(title: str, lines: Sequence[ClusterLine]) -> Padding:
    table = Table(title=title, title_justify="left", title_style="dim", box=None, pad_edge=False)
    for header in ("CLUSTER", "STATE", "SINCE"):
        table.add_column(header, no_wrap=True)
    table.add_column("MESSAGE", overflow="ellipsis", no_wrap=True)
    for line in lines:
        color = next((c for end, c in _COLORS.items() if line.state.endswith(end)), "yellow")
        table.add_row(line.cluster, Text(line.state, style=color), _time(line), Text(line.message))
    return Padding(table, (1, 0, 0, 0))


def _time(line: ClusterLine) -> str:
    return f"{line.since:%H:%M:%S}" if line.since else "        "


def readable(output: str) -> str:
    """The output of a command; JSON, which kubectl prints as a single line, with line breaks."""
    if not output.startswith(("{", "[")):
        return output
    try:
        return compact_json(json.loads(output)) + "\n"
    except ValueError:
        return output


def compact_json(value: Any, *, indent: int = 0) -> str:
    """Write JSON with every part on one line that fits there."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(flat) + indent <= _WIDEST:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, list):
        parts = [f"{pad}{compact_json(entry, indent=indent + 2)}" for entry in value]
        return "[\n" + ",\n".join(parts) + f"\n{' ' * indent}]"
    parts = [
        f"{pad}{json.dumps(key)}: {compact_json(entry, indent=indent + 2)}"
        for key, entry in value.items()
    ]
    return "{\n" + ",\n".join(parts) + f"\n{' ' * indent}}}"
