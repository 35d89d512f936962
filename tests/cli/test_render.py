"""How output looks, on a terminal and without one."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import pytest
from rich.console import Console

from talm.cli.render import ClusterLine, Screen, compact_json, readable

AT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def line(state: str, message: str = "") -> ClusterLine:
    return ClusterLine("cnfdb1", state, AT, message)


def a_screen(*, terminal: bool) -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    return Screen(Console(file=file, force_terminal=terminal, width=100, color_system=None)), file


def test_without_a_terminal_each_change_is_a_line_and_is_told_once() -> None:
    screen, file = a_screen(terminal=False)
    journal = [line("PrecacheStarting", "soon")]
    with screen.live("Waiting", list, lambda: journal) as draw:
        draw()
        journal.append(line("PrecacheActive"))
        draw()
        draw()
    with screen.live("Waiting again", list, lambda: journal):
        journal.append(line("PrecacheSucceeded"))
    assert [text.split() for text in file.getvalue().splitlines()] == [
        ["Waiting"],
        ["03:04:05", "cnfdb1", "PrecacheStarting", "soon"],
        ["03:04:05", "cnfdb1", "PrecacheActive"],
        ["Waiting", "again"],
        ["03:04:05", "cnfdb1", "PrecacheSucceeded"],
    ]


def test_on_a_terminal_a_table_shows_the_clusters_as_they_are() -> None:
    screen, file = a_screen(terminal=True)
    now = [line("PrecacheActive", "2.0 of 8.0 MiB [downloaded]")]
    with screen.live("Waiting", lambda: now, list) as draw:
        now[0] = line("PrecacheSucceeded")
        draw()
    text = file.getvalue()
    assert "CLUSTER" in text and "MESSAGE" in text and "03:04:05" in text
    assert "2.0 of 8.0 MiB [downloaded]" in text
    assert text.rindex("PrecacheSucceeded") > text.rindex("PrecacheActive")


def test_verdicts_and_commands_are_printed_as_they_are() -> None:
    screen, file = a_screen(terminal=False)
    screen.command("hub", "kubectl get cgu -o jsonpath='{.items[0]}'")
    screen.output("[bold]no markup[/]\n")
    screen.output("")
    screen.verdict(True, "it holds")
    screen.verdict(False, "it does not", "[x] instead")
    assert file.getvalue().splitlines() == [
        "",
        "hub $ kubectl get cgu -o jsonpath='{.items[0]}'",
        "[bold]no markup[/]",
        "  ✓ it holds",
        "  ✗ it does not  — seen: [x] instead",
    ]


@pytest.mark.parametrize(
    "value", [{}, [], "text", {"a": [1, 2]}, {"a": {"b": "c" * 90, "d": ["e" * 90, {"f": None}]}}]
)
def test_compact_json_is_the_same_value(value: Any) -> None:
    assert json.loads(compact_json(value)) == value


def test_compact_json_breaks_only_what_does_not_fit() -> None:
    value = {"short": {"a": 1}, "long": ["b" * 60, "c" * 60]}
    lines = compact_json(value).splitlines()
    assert lines[1] == '  "short": {"a": 1},'
    assert lines[2] == '  "long": ['
    assert len(lines) == 7


@pytest.mark.parametrize("text", ["NAME  AGE\n", "{no JSON}\n", ""])
def test_what_is_no_json_is_shown_as_it_is(text: str) -> None:
    assert readable(text) == text


def test_json_gets_line_breaks() -> None:
    assert readable('{"a":1}') == '{"a": 1}\n'
