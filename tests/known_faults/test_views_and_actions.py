"""Views that are read too often, and deletions that nobody carries out."""

from __future__ import annotations

import math
from typing import cast

from talm.api.words import MANUAL_NAMESPACE, Action, View
from talm.core.model import Effect, Rules
from talm.hub.app import utc_now
from talm.hub.graph import UpdateGraph
from talm.hub.lookout import Lookout
from talm.hub.observe import Observer
from talm.hub.routes import Routes
from talm.hub.store import Store
from talm.spokes.base import Order
from talm.spokes.existing import EXISTING
from talm.spokes.own import TALM
from talm.spokes.profile import Profile
from tests.hub.fakehub import FakeHub
from tests.hub.given import cgu
from tests.spokes.test_viewaction import complete
from tests.spokes.world import World, other

from .mutant import Mutation
from .registry import known_fault

FLEET = 3500


def order_of_a_large_fleet() -> Order:
    """Of a CGU whose `status.precaching.clusters` nobody has written, as with the existing operator."""
    found = cgu(phases={f"c{number}": "Active" for number in range(FLEET)})
    stored = found.status.precaching
    assert stored is not None
    bare = {"precaching": {"status": stored.status}}
    hub = FakeHub()
    observer = Observer(
        Store(hub.client, lambda *_: None),
        Routes(),
        cast(UpdateGraph, None),
        cast(Lookout, None),
        rules=Rules(),
        image="workload:1",
        now=utc_now,
    )
    return observer.order(cgu(status=bare))


def interval_s(profile: Profile, view: View, order: Order) -> int:
    body = profile.view(view, "c0", order, namespace=MANUAL_NAMESPACE)
    found = body["spec"]["scope"]["updateIntervalSeconds"]
    assert isinstance(found, int)
    return found


@known_fault(
    "The Job's view is read every 30 s however many clusters there are: its interval goes by a list that "
    "is no longer written.",
    here="The interval grows with the clusters that have a state: at most 50 writes a second to the hub.",
    mutation=Mutation(
        "talm.hub.observe",
        "clusters=len(stored_phases(cgu.status)),",
        "clusters=len(getattr(cgu.status.precaching, 'clusters', None) or ()),",
    ),
)
def test_the_jobs_view_of_a_large_fleet_is_not_read_every_30_seconds() -> None:
    order = order_of_a_large_fleet()
    assert interval_s(TALM, View.JOB, order) == math.ceil(FLEET / 50)
    assert interval_s(EXISTING, View.JOB, order) == 300


@known_fault(
    "A deletion of the namespace that is requested within a minute of one that is done does nothing.",
    here="The one that is done makes way for the new one.",
    mutation=Mutation(
        "talm.spokes.effects",
        "stands = deed.state is State.PENDING or (deed.state is State.DONE and told)",
        "stands = deed.state in (State.PENDING, State.DONE)",
    ),
)
async def test_a_deletion_that_is_done_does_not_swallow_the_next_one() -> None:
    world = World(TALM)
    world.spoke.objects["namespace", MANUAL_NAMESPACE] = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": MANUAL_NAMESPACE},
    }
    world.agents.online = False
    await world.do(Effect.CLEAN_UP)
    complete(world, Action.NS_DELETE)  # of another run, a moment ago
    world.order = other(run="run-2")
    world.restart()
    world.agents.come_back()
    await world.run(within_s=40)
    assert world.spoke.jobs_made == 1
