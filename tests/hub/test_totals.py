"""Sums over the statuses of all CGUs: whoever adds them up by hand comes to the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from talm.api.cgu import CguStatus, FinishedSums, PrecachingProgress, PrecachingStatus
from talm.api.words import Phase
from talm.hub.totals import add_up

counts = st.integers(0, 10**12)
statuses = st.builds(
    CguStatus,
    precaching=st.none()
    | st.builds(
        PrecachingStatus,
        status=st.none()
        | st.dictionaries(st.text(max_size=3), st.sampled_from([*Phase, "Dancing"]), max_size=5),
        failures_by_class=st.none()
        | st.dictionaries(st.text(max_size=3), st.integers(1, 5000), max_size=5),
        progress=st.none()
        | st.builds(
            PrecachingProgress,
            told=counts,
            images_done=counts,
            images_total=counts,
            bytes_done=counts,
            bytes_total=counts,
            bytes_per_s=counts,
            finished=st.none() | st.builds(FinishedSums, bytes_done=counts),
        ),
        attempt=st.integers(0, 9),
    ),
)


def field(statuses: list[CguStatus], *path: str) -> list[Any]:
    """The values that are there."""
    found: list[Any] = list(statuses)
    for name in path:
        found = [getattr(one, name) for one in found if getattr(one, name) is not None]
    return found


@given(st.lists(statuses, max_size=6))
def test_every_total_is_the_sum_of_what_the_statuses_say(found: list[CguStatus]) -> None:
    totals = add_up(found)
    words = [w for one in field(found, "precaching", "status") for w in one.values()]
    for phase in Phase:
        unknown = words.count("Dancing") if phase is Phase.NOT_STARTED else 0
        assert totals.phases[phase] == words.count(phase.value) + unknown
    assert sum(totals.cgus.values()) == len(found)
    classes = field(found, "precaching", "failures_by_class")
    assert sum(totals.failures.values()) == sum(sum(one.values()) for one in classes)
    for name in ("images_done", "images_total", "bytes_done", "bytes_total", "bytes_per_s", "told"):
        assert getattr(totals, name) == sum(field(found, "precaching", "progress", name))
    assert totals.attempts == sum(field(found, "precaching", "attempt"))


def test_of_no_cgus_every_state_is_there_and_nobody_in_it() -> None:
    totals = add_up([])
    assert totals.phases == dict.fromkeys(Phase, 0)
    assert totals.cgus == {"open": 0, "over": 0}
    assert totals.failures == {}
