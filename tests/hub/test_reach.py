"""Which way leads to a cluster: by the setting, by what the hub serves, by the cluster's agents."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from talm.api.words import VIEW_ADD_ON
from talm.hub.reach import answers_views, choose_way
from talm.hub.settings import Settings
from talm.hub.store import Store
from talm.spokes.bycluster import Way


class Kind:
    """A cache as far as is asked here; `present`: the hub serves the kind."""

    def __init__(self, *clusters: str, present: bool = True) -> None:
        self.present = present
        self._clusters = clusters

    def get(self, name: str, namespace: str = "") -> object:
        return object() if name == VIEW_ADD_ON and namespace in self._clusters else None


def hub(*, views: bool = True, works: bool = True, add_ons: Kind | None = None) -> Store:
    """A hub whose cluster c1 has the add-on for views and actions, unless said otherwise."""
    served = SimpleNamespace(
        views=Kind(present=views),
        actions=Kind(present=views),
        works=Kind(present=works),
        add_ons=add_ons or Kind("c1"),
    )
    return cast(Store, served)


def way(
    store: Store, cluster: str = "c1", *, transport: str = "auto", profile: str = "talm"
) -> Way:
    settings = Settings(workload_image="w", transport=transport, profile=profile)
    return choose_way(store, settings, cluster)


def test_a_cluster_with_the_agents_for_views_and_actions_is_reached_by_them() -> None:
    assert way(hub()) is Way.VIEW_ACTION
    assert way(hub(add_ons=Kind(present=False))) is Way.VIEW_ACTION


def test_a_cluster_without_them_is_reached_by_works() -> None:
    assert way(hub(), "c2") is Way.MANIFEST_WORK
    assert way(hub(views=False)) is Way.MANIFEST_WORK


def test_without_works_and_in_the_existing_profile_it_is_views_and_actions() -> None:
    assert way(hub(views=False, works=False)) is Way.VIEW_ACTION
    assert way(hub(views=False), profile="existing") is Way.VIEW_ACTION


@pytest.mark.parametrize("wanted", list(Way))
def test_a_setting_that_names_a_way_is_obeyed(wanted: Way) -> None:
    assert way(hub(), transport=wanted.value) is wanted
    assert way(hub(views=False), "c2", transport=wanted.value) is wanted


def test_views_are_asked_only_where_somebody_answers_them() -> None:
    assert answers_views(hub(), "c1")
    assert not answers_views(hub(), "c2")
    assert not answers_views(hub(views=False), "c1")
    assert answers_views(hub(add_ons=Kind(present=False)), "c2")
