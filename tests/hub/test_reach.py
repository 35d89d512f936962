"""Which way leads to a cluster: by the setting, by what the hub serves, by the cluster's agents."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from talm.api.meta import Condition
from talm.api.ocm import (
    ConditionedStatus,
    ManagedCluster,
    ManagedClusterAddOn,
    ManagedClusterStatus,
)
from talm.api.words import AVAILABLE_CONDITION, JOINED_CONDITION, VIEW_ADD_ON
from talm.hub.reach import answers_views, choose_way
from talm.hub.settings import Settings
from talm.hub.store import Store
from talm.spokes.bycluster import Way

CLUSTER = "c1"


class Kind:
    """A cache as far as is asked here; `present`: the hub serves the kind."""

    def __init__(self, *, present: bool = True, objects: dict[str, object] | None = None) -> None:
        self.present = present
        self._objects = objects or {}

    def get(self, name: str, namespace: str = "") -> object:
        return self._objects.get(f"{namespace}/{name}")


def add_ons(*, says: str = "True") -> Kind:
    """The add-on for views and actions on the cluster; `says`: whether its lease is renewed."""
    condition = Condition(type="Available", status=says)
    found = ManagedClusterAddOn(status=ConditionedStatus(conditions=(condition,)))
    return Kind(objects={f"{CLUSTER}/{VIEW_ADD_ON}": found})


def clusters(**says: str) -> Kind:
    conditions = tuple(Condition(type=kind, status=status) for kind, status in says.items())
    found = ManagedCluster(status=ManagedClusterStatus(conditions=conditions))
    return Kind(objects={f"/{CLUSTER}": found})


LIVES = clusters(**{JOINED_CONDITION: "True", AVAILABLE_CONDITION: "True"})
AWAY = clusters(**{JOINED_CONDITION: "True", AVAILABLE_CONDITION: "Unknown"})
NOT_JOINED = clusters(HubAcceptedManagedCluster="True")
NO_ADD_ON = Kind()


def hub(
    *, views: bool = True, works: bool = True, cluster: Kind = LIVES, add_on: Kind | None = None
) -> Store:
    """A hub that serves everything, whose cluster's agents all live, unless said otherwise."""
    served = SimpleNamespace(
        views=Kind(present=views),
        actions=Kind(present=views),
        works=Kind(present=works),
        managed_clusters=cluster,
        add_ons=add_on if add_on is not None else add_ons(),
    )
    return cast(Store, served)


def way(store: Store, *, transport: str = "auto", profile: str = "talm") -> Way:
    settings = Settings(workload_image="w", transport=transport, profile=profile)
    return choose_way(store, settings, CLUSTER)


def test_a_cluster_whose_work_agent_lives_is_reached_by_works() -> None:
    assert way(hub()) is Way.MANIFEST_WORK
    assert way(hub(add_on=NO_ADD_ON)) is Way.MANIFEST_WORK
    assert way(hub(views=False)) is Way.MANIFEST_WORK


@pytest.mark.parametrize("cluster", [AWAY, NOT_JOINED, Kind()], ids=["away", "not-joined", "gone"])
def test_one_whose_work_agent_does_not_is_reached_by_views_and_actions_if_their_agent_lives(
    cluster: Kind,
) -> None:
    assert way(hub(cluster=cluster)) is Way.VIEW_ACTION


@pytest.mark.parametrize(
    "add_on",
    [NO_ADD_ON, add_ons(says="False"), add_ons(says="Unknown"), Kind(present=False)],
    ids=["none", "False", "Unknown", "unserved"],
)
def test_where_neither_agent_is_said_to_live_a_work_waits(add_on: Kind) -> None:
    assert way(hub(cluster=AWAY, add_on=add_on)) is Way.MANIFEST_WORK


def test_where_the_hub_serves_no_views_nobody_answers_them_whatever_an_add_on_says() -> None:
    assert way(hub(views=False, cluster=AWAY)) is Way.MANIFEST_WORK


def test_without_works_and_in_the_existing_profile_it_is_views_and_actions() -> None:
    assert way(hub(views=False, works=False)) is Way.VIEW_ACTION
    assert way(hub(views=False), profile="existing") is Way.VIEW_ACTION
    assert way(hub(), profile="existing") is Way.VIEW_ACTION


@pytest.mark.parametrize("wanted", list(Way))
def test_a_setting_that_names_a_way_is_obeyed(wanted: Way) -> None:
    assert way(hub(), transport=wanted.value) is wanted
    assert way(hub(views=False, cluster=AWAY, add_on=NO_ADD_ON), transport=wanted.value) is wanted


def test_views_are_asked_only_where_somebody_answers_them() -> None:
    assert answers_views(hub(), CLUSTER)
    assert answers_views(hub(add_on=add_ons(says="False")), CLUSTER)  # it is away, and will be back
    assert not answers_views(hub(add_on=NO_ADD_ON), CLUSTER)
    assert not answers_views(hub(views=False), CLUSTER)
    assert answers_views(hub(add_on=Kind(present=False)), CLUSTER)
