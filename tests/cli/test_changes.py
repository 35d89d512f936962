"""The lines of a watch in a pipe."""

from __future__ import annotations

import datetime as dt

from talm.cli.changes import Changes
from talm.cli.rows import CguRow, cgu_row
from talm.cli.told import Told
from tests.cli.fleets import NOW, a_cgu, record, since


def a_row(state: str, told: Told | None = None, *, now: dt.datetime = NOW) -> CguRow:
    cgu = a_cgu("up", {"c": state, "d": "Succeeded"}, waits={"c": since(minutes=1)})
    return cgu_row(cgu, {"c": told} if told else {}, {}, now)


def test_the_first_look_tells_how_everything_is_and_later_ones_what_changed() -> None:
    changes = Changes()
    begin = "2026-01-02T03:30:00Z  ztp-group-du-sno/up  "
    assert changes.since([a_row("Starting")], NOW) == [
        f"{begin}PreCaching: waits for 1 of 2 clusters to be pre-cached",
        f"{begin}c  Starting",
        f"{begin}d  Succeeded",
    ]
    assert changes.since([a_row("Starting")], NOW) == []
    assert changes.since([a_row("Active")], NOW) == [f"{begin}c  Active (was Starting)"]


def test_sums_are_told_once_for_each_percent() -> None:
    changes = Changes()
    changes.since([a_row("Active")], NOW)
    told = [changes.since([a_row("Active", Told(record(n, 1000)))], NOW) for n in (5, 14, 19, 20)]
    assert [len(lines) for lines in told] == [0, 1, 0, 1]
    assert told[1][0].endswith(
        "12 of 183 images, 14.0/1000.0 MiB (1 %), 2.0 MiB/s, 8m13s left on 1 cluster"
    )


def test_a_cause_that_only_counts_on_is_told_once() -> None:
    changes = Changes()
    lines = [
        changes.since([a_row("Starting", now=NOW + dt.timedelta(minutes=m))], NOW)
        for m in (0, 20, 21, 22)
    ]
    assert [len(found) for found in lines] == [3, 1, 0, 0]
    assert "setting up for 21m of 30m" in lines[1][0]


def test_a_cgu_that_is_gone_is_told() -> None:
    changes = Changes()
    changes.since([a_row("Active")], NOW)
    assert changes.since([], NOW) == ["2026-01-02T03:30:00Z  ztp-group-du-sno/up  deleted"]
    assert changes.since([], NOW) == []
