"""A cluster stays with the way by which its run was begun."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

from talm.core.model import Effect, Fact, Sight
from talm.core.removal import Removal
from talm.spokes.base import Order
from talm.spokes.bycluster import ByCluster, Way
from tests.sim.oneworld import CLUSTER
from tests.sim.virtual import virtual
from tests.spokes.workworld import WorkWorld
from tests.spokes.world import ORDER, other

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
BY_VIEWS = "by views"


class Hub:
    """What the hub says of clusters' agents; `asked` counts."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.asked = 0

    def choose(self, _cluster: str) -> Way:
        self.asked += 1
        return self.way


class Views:
    """The other way: it sees one thing and does nothing."""

    def __init__(self, fact: Fact = Fact.UNASKED) -> None:
        self.fact = fact

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        return Sight(self.fact, BY_VIEWS)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        return

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        return {}

    def watch(self, on_change: Callable[[str], None]) -> None:
        return


def goes_by_views(ways: ByCluster, order: Order = ORDER, cluster: str = CLUSTER) -> bool:
    return ways.look(cluster, order, NOW).note == BY_VIEWS


@virtual
async def test_the_hub_is_asked_when_a_run_begins_and_not_again() -> None:
    hub = Hub(Way.VIEW_ACTION)
    ways = ByCluster(Views(), WorkWorld().working, hub.choose)
    await ways.carry_out(CLUSTER, (Effect.CLEAN_UP,), ORDER)
    hub.way = Way.MANIFEST_WORK
    assert goes_by_views(ways)
    await ways.carry_out(CLUSTER, (Effect.PREPARE,), ORDER)
    assert goes_by_views(ways)
    assert hub.asked == 1


@virtual
async def test_another_run_may_go_another_way_and_so_may_the_same_when_it_begins_anew() -> None:
    hub = Hub(Way.VIEW_ACTION)
    ways = ByCluster(Views(), WorkWorld().working, hub.choose)
    assert goes_by_views(ways)
    hub.way = Way.MANIFEST_WORK
    assert not goes_by_views(ways, other(run="run-2"))
    hub.way = Way.VIEW_ACTION
    await ways.carry_out(CLUSTER, (Effect.CLEAN_UP,), other(run="run-2"))
    assert goes_by_views(ways, other(run="run-2"))


@virtual
async def test_a_run_that_has_a_work_goes_on_by_it_whatever_the_hub_says_by_now() -> None:
    world = WorkWorld()
    world.plant_work(ORDER.run)
    ways = ByCluster(Views(), world.working, Hub(Way.VIEW_ACTION).choose)
    assert not goes_by_views(ways)


@virtual
async def test_a_run_that_views_tell_of_goes_on_by_them_whatever_the_hub_says_by_now() -> None:
    for fact in (Fact.SETTING_UP, Fact.JOB_ACTIVE, Fact.JOB_SUCCEEDED):
        ways = ByCluster(Views(fact), WorkWorld().working, Hub(Way.MANIFEST_WORK).choose)
        assert goes_by_views(ways)
    for fact in (Fact.UNASKED, Fact.CLEAN, Fact.LEFTOVERS):
        ways = ByCluster(Views(fact), WorkWorld().working, Hub(Way.MANIFEST_WORK).choose)
        assert not goes_by_views(ways)


@virtual
async def test_after_a_restart_a_success_that_is_only_remembered_goes_the_way_that_is_chosen() -> (
    None
):
    for way in Way:
        world = WorkWorld()
        world.successes.runs[CLUSTER] = ORDER.run
        ways = ByCluster(Views(Fact.JOB_SUCCEEDED), world.working, Hub(way).choose)
        assert goes_by_views(ways) is (way is Way.VIEW_ACTION)
        assert ways.look(CLUSTER, ORDER, NOW).fact is Fact.JOB_SUCCEEDED
