"""Reaching spokes through ManagedClusterViews and ManagedClusterActions.

    caches of views and actions ──► Desk (with our own writes) ──► facts.judge ──► Sight
    Effect ──► effects.EFFECTS ──► create and delete, one after the other

The hub owns the informers and tells this transport what they have heard.  Nothing is polled, and in
the ordinary course nothing is read from the API server.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from talm.api.meta import ObjectMeta
from talm.api.ocm import (
    ConditionedStatus,
    ManagedClusterAction,
    ManagedClusterView,
    ViewStatus,
)
from talm.api.progress import RECORD_KEY
from talm.api.words import RUN_LABEL, Action, View
from talm.core.due import Due, Voice
from talm.core.model import Effect, Sight
from talm.core.removal import Removal
from talm.spokes.answers import State, deed, outcome
from talm.spokes.base import NothingRemembered, Order, PodTerms, Successes
from talm.spokes.desk import Cache, Desk, Hub, Office
from talm.spokes.diagnosis import Stalls
from talm.spokes.dues import due_in_views
from talm.spokes.effects import EFFECTS, make_way
from talm.spokes.facts import judge
from talm.spokes.hearing import Hearing
from talm.spokes.jobs import ENDS
from talm.spokes.ledger import Ledger
from talm.spokes.manifests import check_spoke_namespace
from talm.spokes.patience import DEFAULT, Patience
from talm.spokes.profile import DELETES, Profile
from talm.spokes.removing import finish_removal, has_traces, removal
from talm.spokes.viewdiagnosis import diagnosed

_VIEWS: Final = frozenset(View)
_ACTIONS: Final[dict[str, Action]] = {action.value: action for action in Action}

_EFFECTS: Final[Mapping[Effect, Callable[[Desk], Awaitable[None]]]] = MappingProxyType(
    {**EFFECTS, Effect.FINISH_REMOVAL: finish_removal}
)
_NOTHING: Final = NothingRemembered()
_LAST_WORD: Final = dt.timedelta(seconds=30)
_REPEATED_WITHIN: Final = dt.timedelta(seconds=5)
_ENDED: Final = dt.timedelta()

Key = tuple[str, str]  # (namespace = cluster, name)


class ViewActionTransport:
    """A `Transport`.  `namespace` is the workload's on every spoke; BadSpec when it may not be used.

    `terms` is asked for a cluster's pod each time when something is created there.  `away`: since when
    the hub calls the cluster's agent unavailable, by our own clock (None: it does not).
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
        successes: Successes = _NOTHING,
        patience: Patience = DEFAULT,
        away: Callable[[str], dt.datetime | None] = lambda _: None,
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
            successes=successes,
        )
        self._stalls = Stalls()
        self._hearing = Hearing()
        self._patience = patience
        self._away = away
        self._listeners: list[Callable[[str], None]] = []
        # Clusters where something was heard that may be about a removal; few outside of setups.
        self._removing: set[str] = set()

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        """Tell what the caches know of this cluster; no request is made."""
        desk = Desk(self._office, cluster, order, now)
        sight = diagnosed(judge(desk, desk.profile, order), desk, self._stalls)
        return self._with_due(desk, sight)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        """Carry the effects out in order.  Raises `ApiError` at the first request that fails."""
        for effect in effects:
            await _EFFECTS[effect](Desk(self._office, cluster, order, self._office.now()))

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        """See Transport.  A cluster is looked at only after something was heard of a deletion there."""
        found = {}
        for cluster in [cluster for cluster in self._removing if asks(cluster)]:
            desk = Desk(self._office, cluster, order, now)
            stands = removal(desk)
            if stands is not None:
                found[cluster] = stands
            elif not has_traces(desk):
                self._removing.discard(cluster)
        return found

    def deletes_for(self, cluster: str, order: Order, now: dt.datetime) -> dt.timedelta:
        """How long a deletion of the namespace may yet be carried out once more; zero: it has ended.

        An agent repeats a deletion whose end it could not tell, and at once one that found nothing to
        delete.  Whoever says nothing for so long has lost the word for good.
        """
        deletion = Desk(self._office, cluster, order, now).action(Action.NS_DELETE)
        if deletion.state is State.PENDING:
            return max(dt.timedelta(), _LAST_WORD - deletion.age)
        return max(dt.timedelta(), _REPEATED_WITHIN - deletion.age) if deletion.moot else _ENDED

    async def make_way(self, cluster: str, order: Order) -> bool:
        """Take back all that could meddle with what another transport is about to make there.

        True: a deletion was among it that an agent may be carrying out at this moment.
        """
        return await make_way(Desk(self._office, cluster, order, self._office.now()))

    def watch(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change(cluster)` whenever a view or action of pre-caching has changed."""
        self._listeners.append(on_change)

    def view_changed(
        self, key: Key, old: ManagedClusterView | None, new: ManagedClusterView | None
    ) -> None:
        """Take in what the hub's informer of views has heard; others' views are passed over."""
        cluster, name = key
        if name in _VIEWS:
            if new is not None and _tells(old.status if old else None, new.status):
                record = _record(new) if name == View.PROGRESS else None
                self._hearing.news((cluster, ""), self._office.now(), record=record)
            if name == View.NAMESPACE:
                self._removing.add(cluster)
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
        if new is not None and _tells(old.status if old else None, new.status):
            self._hearing.news((cluster, ""), self._office.now())
        if old is not None and new is None:
            self._note_end(cluster, action, old)
        if action in DELETES:
            self._removing.add(cluster)
        self._heard(cluster, name, old.metadata if old else None, new.metadata if new else None)
        self._tell(cluster)

    def agent_changed(self, cluster: str) -> None:
        """What `away` says of the cluster has changed."""
        self._tell(cluster)

    def _with_due(self, desk: Desk, sight: Sight) -> Sight:
        if sight.fact in ENDS:
            return sight
        away = self._away(desk.cluster)
        if away is not None:
            return replace(sight, due=Due(Voice.ADD_ON, away, dt.timedelta(0)))
        heard = self._hearing.of((desk.cluster, ""))
        due = due_in_views(desk, sight, heard, self._patience)
        return replace(sight, due=due) if due is not None else sight

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


def _tells(
    old: ViewStatus | ConditionedStatus | None, new: ViewStatus | ConditionedStatus | None
) -> bool:
    """Whether an agent has written something: what has no status is as we have made it."""
    return new is not None and new != old


def _record(view: ManagedClusterView) -> str:
    """The record that the view shows; "" while it shows none."""
    result = view.status.result if view.status is not None else None
    return (result.data or {}).get(RECORD_KEY, "") if result is not None else ""
