"""What was seen stands until there is a reason to look again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import msgspec
import pytest

from talm.api.cgu import PrecachingSpec
from talm.api.progress import RECORD_KEY, ProgressRecord
from talm.core.model import Effect, Fact, Sight
from talm.core.removal import Removal
from talm.errors import Unreachable
from talm.hub.lookout import GOOD_FOR, Lookout
from talm.spokes.base import Order

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ORDER = Order("run", "cgu", "ns", PrecachingSpec(), 60, 2, "image")
SECOND = dt.timedelta(seconds=1)


class Spokes:
    """A transport whose clusters show what they are told to show."""

    def __init__(self) -> None:
        self.shows = Sight(Fact.UNASKED)
        self.looks = 0
        self.fails = False
        self.tell: Callable[[str], None] = lambda _: None

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        self.looks += 1
        return self.shows

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        self.shows = Sight(Fact.UNANSWERED)
        if self.fails:
            raise Unreachable("POST", "view", 0, "reset")

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        return {}

    def watch(self, on_change: Callable[[str], None]) -> None:
        self.tell = on_change


def test_a_cluster_of_which_nothing_was_heard_is_not_looked_at_again() -> None:
    spokes = Spokes()
    lookout = Lookout(spokes)
    for _ in range(3):
        assert lookout.look("a", ORDER, NOW).fact is Fact.UNASKED
    assert spokes.looks == 1


def test_an_event_of_the_cluster_makes_it_be_looked_at() -> None:
    spokes = Spokes()
    lookout = Lookout(spokes)
    lookout.look("a", ORDER, NOW)
    spokes.shows = Sight(Fact.CLEAN)
    spokes.tell("b")
    assert lookout.look("a", ORDER, NOW).fact is Fact.UNASKED
    spokes.tell("a")
    assert lookout.look("a", ORDER, NOW).fact is Fact.CLEAN


@pytest.mark.parametrize("fails", [False, True])
async def test_an_effect_makes_it_be_looked_at_whatever_became_of_it(fails: bool) -> None:
    spokes = Spokes()
    lookout = Lookout(spokes)
    lookout.look("a", ORDER, NOW)
    spokes.fails = fails
    try:
        await lookout.carry_out("a", (Effect.CLEAN_UP,), ORDER)
    except Unreachable:
        assert fails
    assert lookout.look("a", ORDER, NOW).fact is Fact.UNANSWERED


def test_time_alone_makes_it_be_looked_at_when_the_sight_says_so() -> None:
    spokes = Spokes()
    lookout = Lookout(spokes)
    spokes.shows = Sight(Fact.SETTING_UP, recheck=2 * SECOND)
    lookout.look("a", ORDER, NOW)
    spokes.shows = Sight(Fact.JOB_UNASKED)
    assert lookout.look("a", ORDER, NOW + SECOND).fact is Fact.SETTING_UP
    assert lookout.look("a", ORDER, NOW + 2 * SECOND).fact is Fact.JOB_UNASKED


def test_no_sight_is_older_than_the_limit() -> None:
    spokes = Spokes()
    lookout = Lookout(spokes)
    lookout.look("a", ORDER, NOW)
    spokes.shows = Sight(Fact.CLEAN)
    assert lookout.look("a", ORDER, NOW + GOOD_FOR).fact is Fact.CLEAN


def test_another_run_sees_for_itself() -> None:
    spokes = Spokes()
    lookout = Lookout(spokes)
    lookout.look("a", ORDER, NOW)
    spokes.shows = Sight(Fact.LEFTOVERS)
    other = Order("other", "cgu", "ns", PrecachingSpec(), 60, 2, "image")
    assert lookout.look("a", other, NOW).fact is Fact.LEFTOVERS


def test_what_was_to_be_looked_at_again_in_a_while_is_nearer_at_the_next_pass() -> None:
    spokes = Spokes()
    spokes.shows = Sight(Fact.UNASKED, recheck=9 * SECOND)
    lookout = Lookout(spokes)
    assert lookout.look("a", ORDER, NOW).recheck == 9 * SECOND
    assert lookout.look("a", ORDER, NOW + 7 * SECOND).recheck == 2 * SECOND
    assert spokes.looks == 1


def test_the_record_that_came_is_decoded_and_one_that_cannot_be_read_is_none() -> None:
    spokes = Spokes()
    told = ProgressRecord(bytes_done=3, bytes_total=7)
    text = msgspec.json.encode(told).decode()
    spokes.shows = Sight(Fact.JOB_ACTIVE, progress={RECORD_KEY: text})
    lookout = Lookout(spokes)
    assert lookout.look("a", ORDER, NOW).record == told
    assert lookout.look("a", ORDER, NOW).record is lookout.look("a", ORDER, NOW).record
    for odd in ("{cut", '{"bytesDone": "many"}', '{"x":' + "[" * 10_000, "\ud800"):
        spokes.shows = Sight(Fact.JOB_ACTIVE, progress={RECORD_KEY: odd})
        spokes.tell("a")
        assert lookout.look("a", ORDER, NOW).record is None
