"""Since when a cluster's agent is away: by our own clock, whatever the condition says."""

from __future__ import annotations

import datetime as dt

import pytest

from talm.api.meta import Condition
from talm.api.ocm import ConditionedStatus, ManagedClusterAddOn
from talm.hub.addons import AddOns

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Clock:
    now = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now


def saying(status: str, kind: str = "Available") -> ManagedClusterAddOn:
    condition = Condition(type=kind, status=status, last_transition_time=LONG_AGO)
    return ManagedClusterAddOn(status=ConditionedStatus(conditions=(condition,)))


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_an_add_on_is_away_from_when_we_hear_of_it_until_it_is_back(status: str) -> None:
    clock = Clock()
    add_ons, began = AddOns(clock), clock.now
    assert not add_ons.changed("c1", saying("True"))
    assert add_ons.away_since("c1") is None
    assert add_ons.changed("c1", saying(status))
    clock.now += dt.timedelta(minutes=5)
    assert not add_ons.changed("c1", saying("Unknown"))
    assert add_ons.away_since("c1") == began
    assert add_ons.away_since("c2") is None
    assert add_ons.changed("c1", saying("True"))
    assert add_ons.away_since("c1") is None


@pytest.mark.parametrize(
    "add_on",
    [None, ManagedClusterAddOn(), saying("False", "Progressing")],
    ids=["gone", "new", "?"],
)
def test_one_that_says_nothing_of_its_lease_is_not_away(add_on: ManagedClusterAddOn | None) -> None:
    add_ons = AddOns(Clock())
    assert not add_ons.changed("c1", add_on)
    add_ons.changed("c1", saying("False"))
    assert add_ons.changed("c1", add_on)
    assert add_ons.away_since("c1") is None
