"""The clocks of many clusters come back from the status as they were put there, in little room."""

from __future__ import annotations

import msgspec
from hypothesis import given as over
from hypothesis import strategies as st

from talm.api.cgu import CguStatus, PrecachingStatus, Wait
from talm.core.clock import Clock
from talm.core.deadlines import stored_clocks, to_wire

from .given import NOW, later

moments = st.none() | st.integers(0, 3).map(lambda s: later(seconds=s))
clocks = st.builds(Clock, st.integers(0, 2), moments)


def with_waits(waits: tuple[Wait, ...]) -> CguStatus:
    return CguStatus(precaching=PrecachingStatus(waits=waits or None))


@over(st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), clocks))
def test_what_is_stored_comes_back_whatever_order_it_was_in(of: dict[str, Clock]) -> None:
    waits = to_wire(of)
    over_the_wire = msgspec.json.decode(msgspec.json.encode(waits), type=tuple[Wait, ...])
    assert over_the_wire == waits
    assert stored_clocks(with_waits(over_the_wire)) == of
    assert to_wire(dict(reversed(of.items()))) == waits


def test_a_moment_is_named_once_however_many_clusters_came_at_it() -> None:
    of = {f"spoke-{n}": Clock(since=later(seconds=n % 3)) for n in range(300)} | {
        "late": Clock(30), "later": Clock(30, NOW),
    }  # fmt: skip
    assert [(w.spent, w.since, len(w.clusters)) for w in to_wire(of)] == [
        (30, None, 1),
        (0, NOW, 100),
        (30, NOW, 1),
        (0, later(seconds=1), 100),
        (0, later(seconds=2), 100),
    ]


def test_a_status_without_clocks_has_none() -> None:
    assert stored_clocks(CguStatus()) == {}
    assert stored_clocks(with_waits(())) == {}


def test_each_status_has_its_own_clocks_although_several_are_remembered() -> None:
    many = [with_waits((Wait(spent=n, clusters=("a",)),)) for n in range(9)]
    for _ in range(2):
        assert [stored_clocks(status)["a"].spent for status in many] == list(range(9))
