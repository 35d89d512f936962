"""Reaching spokes through ManagedClusterViews and ManagedClusterActions.

    caches of views and actions ──► Desk (with our own writes) ──► facts.judge ──► Sight
    Effect ──► effects.EFFECTS ──► create and delete, one after the other

The hub owns the informers and tells this transport what they have heard.  Nothing is polled, and in
the ordinary course nothing is read from the API server.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

from talm.api.meta import ObjectMeta
from talm.api.ocm import ManagedClusterAction, ManagedClusterView
from talm.api.words import RUN_LABEL, Action, View
from talm.core.model import Effect, Sight
from talm.spokes.answers import deed, outcome
from talm.spokes.base import Order, PodTerms
from talm.spokes.desk import Cache, Desk, Hub, Office
from talm.spokes.diagnosis import Stalls
from talm.spokes.effects import EFFECTS, make_way
from talm.spokes.facts import judge
from talm.spokes.ledger import Ledger
from talm.spokes.manifests import check_spoke_namespace
from talm.spokes.profile import DELETES, Profile
from talm.spokes.viewdiagnosis import diagnosed

_VIEWS: Final = frozenset(View)
_ACTIONS: Final[dict[str, Action]] = {action.value: action for action in Action}

Key = tuple[str, str]  # (namespace = cluster, name)


class ViewActionTransport:
    """A `Transport`.  `namespace` is the workload's on every spoke; BadSpec when it may not be used.

    `terms` is asked for a cluster's pod each time when something is created there.
    """

    def __init__(  # noqa: PLR0913 (what all clusters share)
        self,
        client: Hub,
        views: Cache[ManagedClusterView],
        actions: Cache[ManagedClusterAction],
        *,
        profile: Profile,
        namespace: str,
        now: Callable[[], dt.datetime],
        terms: Callable[[str], PodTerms] = lambda _: PodTerms(),
    ) -> None:
        self._office = Office(
            hub=client,
            views=views,
            actions=actions,
            profile=profile,
            namespace=check_spoke_namespace(namespace),
            now=now,
            ledger=Ledger(),
            old_jobs={},
            terms=terms,
        )
        self._stalls = Stalls()
        self._listeners: list[Callable[[str], None]] = []

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """Tell what the caches know of this cluster; no request is made."""
        desk = Desk(self._office, cluster, order, now)
        return diagnosed(judge(desk, desk.profile, order), desk, self._stalls)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        """Carry the effects out in order.  Raises `ApiError` at the first request that fails."""
        for effect in effects:
            await EFFECTS[effect](Desk(self._office, cluster, order, self._office.now()))

    async def make_way(self, cluster: str, order: Order) -> None:
        """Take back all that could meddle with what another transport is about to make there."""
        await make_way(Desk(self._office, cluster, order, self._office.now()))

    def watch(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change(cluster)` whenever a view or action of pre-caching has changed."""
        self._listeners.append(on_change)

    def view_changed(
        self, key: Key, old: ManagedClusterView | None, new: ManagedClusterView | None
    ) -> None:
        """Take in what the hub's informer of views has heard; others' views are passed over."""
        cluster, name = key
        if name in _VIEWS:
            self._heard(cluster, name, old.metadata if old else None, new.metadata if new else None)
            self._tell(cluster)

    def action_changed(
        self, key: Key, old: ManagedClusterAction | None, new: ManagedClusterAction | None
    ) -> None:
        """Take in what the hub's informer of actions has heard.

        How an action ended is remembered, since the hub's collector deletes it a minute later.
        """
        cluster, name = key
        action = _ACTIONS.get(name)
        if action is None:
            return
        if old is not None and new is None:
            self._note_end(cluster, action, old)
        self._heard(cluster, name, old.metadata if old else None, new.metadata if new else None)
        self._tell(cluster)

    def _heard(
        self, cluster: str, name: str, old: ObjectMeta | None, new: ObjectMeta | None
    ) -> None:
        self._office.ledger.heard(cluster, name, old=old, new=new, at=self._office.now())

    def _note_end(self, cluster: str, action: Action, last: ManagedClusterAction) -> None:
        now = self._office.now()
        found = self._office.ledger.find(cluster, action, last, now)
        if found is None or found.cached is None:
            return  # it was us who deleted or replaced it
        labelled = self._office.profile.labelled
        run = (last.metadata.labels or {}).get(RUN_LABEL, "") if labelled else ""
        ended = outcome(deed(found, deletes=action in DELETES, now=now), run, now)
        if ended is not None:
            self._office.ledger.ended(cluster, action, ended)

    def _tell(self, cluster: str) -> None:
        for on_change in self._listeners:
            on_change(cluster)
