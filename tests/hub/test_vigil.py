"""Watching begins anew when a gap has ended, and at no other time."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from talm.hub.vigil import DEAF_S, Vigil

BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class Informer:
    present: bool = True
    last_heard: float = 0.0


class Time:
    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> dt.datetime:
        return BEGAN + dt.timedelta(seconds=self.s)

    def clock(self) -> float:
        return self.s


def test_a_hub_that_is_heard_is_watched_since_the_beginning() -> None:
    time, informer = Time(), Informer()
    vigil = Vigil([informer], time.now, time.clock)
    for second in range(0, 1000, 50):
        time.s = informer.last_heard = float(second)
        vigil.look()
    assert vigil.since == BEGAN


def test_a_gap_begins_the_watch_anew_once_it_has_ended() -> None:
    time, informer = Time(), Informer()
    vigil = Vigil([informer], time.now, time.clock)
    time.s = DEAF_S + 1
    vigil.look()
    assert vigil.since == BEGAN, "not before something is heard again"
    time.s = informer.last_heard = 3600.0
    vigil.look()
    assert vigil.since == BEGAN + dt.timedelta(hours=1)
    time.s = informer.last_heard = 3660.0
    vigil.look()
    assert vigil.since == BEGAN + dt.timedelta(hours=1)


def test_a_kind_that_the_hub_does_not_serve_is_no_gap() -> None:
    time = Time()
    vigil = Vigil([Informer(present=False)], time.now, time.clock)
    time.s = 3600.0
    vigil.look()
    vigil.look()
    assert vigil.since == BEGAN
