"""One cluster's views and actions, to look at and to change: reads from caches and ledger, writes
through the API server, one after the other.

Decided here: what "already there" and "already gone" mean for a write.  Not here: which writes an
effect consists of (effects.py).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from talm.api.kinds import ACTION, VIEW, Kind
from talm.api.meta import ObjectMeta
from talm.api.ocm import ManagedClusterAction, ManagedClusterView
from talm.api.words import RUN_LABEL, Action, View
from talm.errors import AlreadyExists, NotFound
from talm.spokes.answers import NO_DEED, NO_QUESTION, Deed, Question, deed, question, remembered
from talm.spokes.base import Order, PodTerms, Successes
from talm.spokes.ledger import Created, Ledger, Present, number
from talm.spokes.manifests import node_reader
from talm.spokes.profile import DELETES, FIRST, Profile, Try

T_co = TypeVar("T_co", covariant=True)


class Cache(Protocol[T_co]):
    """What an informer knows; `namespace` is the cluster."""

    def get(self, name: str, namespace: str = "") -> T_co | None: ...


class Hub(Protocol):
    """The three requests that this transport makes (`talm.kube.client.Client` has them)."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]: ...

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]: ...

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", *, uid: str = ""
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What all clusters share."""

    hub: Hub
    views: Cache[ManagedClusterView]
    actions: Cache[ManagedClusterAction]
    profile: Profile
    namespace: str  # of the workload on every spoke
    now: Callable[[], dt.datetime]
    ledger: Ledger
    old_jobs: dict[str, tuple[str, ...]]  # cluster -> uids of Jobs seen in earlier runs
    terms: Callable[[str], PodTerms]  # of a cluster
    successes: Successes


@dataclass(frozen=True, slots=True)
class Desk:
    """One cluster for one order, as of `now`; a `Seen`."""

    office: Office
    cluster: str
    order: Order
    now: dt.datetime

    @property
    def profile(self) -> Profile:
        """The office's profile as this order wants it."""
        return self.office.profile.for_nodes(self.order.pod.nodes)

    # ---- looking -------------------------------------------------------------------------------

    def view(self, view: View) -> Question:
        """The question that a view of this run asks."""
        found = self.find_view(view)
        if found is None or not self._is_ours(found.cached.metadata if found.cached else None):
            return NO_QUESTION
        return question(found, self.now)

    def action(self, action: Action) -> Deed:
        """What an action of this run has come to, or had before it went.

        Deletions are the same whoever asked for them, as long as they are about our namespace.
        """
        deletes = action in DELETES
        found = self.find_action(action)
        if found is not None:
            meta = found.cached.metadata if found.cached else None
            counts = not self._is_astray(action, found) if deletes else self._is_ours(meta)
            return deed(found, deletes=deletes, now=self.now) if counts else NO_DEED
        ended = self.office.ledger.outcome(self.cluster, action)
        run = self.order.run if self.office.profile.labelled else ""
        if ended is None or (ended.run != run and not deletes):
            return NO_DEED
        return remembered(ended, self.now)

    def is_old_job(self, uid: str) -> bool:
        """Whether this Job was seen in an earlier run."""
        return uid in self.office.old_jobs.get(self.cluster, ())

    def has_succeeded(self) -> bool:
        """Whether it is remembered that the Job of this run had succeeded."""
        return self.office.successes.has_succeeded(self.cluster, self.order.run)

    def find_view(self, view: View) -> Present[ManagedClusterView] | None:
        """The view on the hub, whosever it is."""
        cached = self.office.views.get(view, self.cluster)
        return self.office.ledger.find(self.cluster, view, cached, self.now)

    def find_action(self, action: Action) -> Present[ManagedClusterAction] | None:
        """The action on the hub, whosever it is."""
        cached = self.office.actions.get(action, self.cluster)
        return self.office.ledger.find(self.cluster, action, cached, self.now)

    def _is_ours(self, meta: ObjectMeta | None) -> bool:
        """An object that the cache does not show yet was created by us just now."""
        return meta is None or self.office.profile.is_ours(meta, self.order.run)

    def _is_astray(self, action: Action, found: Present[ManagedClusterAction]) -> bool:
        """Whether a deletion is about another namespace: the setting has changed since."""
        if action is Action.CRB_DELETE or found.cached is None:
            return False
        namespace = self.office.namespace
        wanted = namespace if action is Action.NS_DELETE else node_reader(namespace)
        return found.cached.spec.kube.name != wanted

    # ---- writing -------------------------------------------------------------------------------

    async def drop_view(self, view: View) -> None:
        """Delete the view when there is one."""
        found = self.find_view(view)
        if found is not None:
            await self._delete(VIEW, view, found.uid)

    async def drop_action(self, action: Action) -> None:
        """Delete the action when there is one."""
        found = self.find_action(action)
        if found is not None:
            await self._delete(ACTION, action, found.uid)

    async def ask(self, view: View) -> None:
        """Create the view; one of this run stays as it is."""
        found = self.find_view(view)
        if found is not None and self._is_ours(found.cached.metadata if found.cached else None):
            return
        await self.drop_view(view)
        office = self.office
        body = office.profile.view(view, self.cluster, self.order, namespace=office.namespace)
        await self._create(VIEW, body, FIRST)

    async def ask_again(self, view: View) -> None:
        """Delete and create the view: the only way to get a read before its interval is over."""
        await self.drop_view(view)
        await self.ask(view)

    async def order_action(self, action: Action, attempt: Try = FIRST) -> None:
        """Create the action; whatever has its name goes first."""
        await self.drop_action(action)
        office = self.office
        pod = replace(office.terms(self.cluster), nodes=self.order.pod.nodes)
        order = replace(self.order, pod=pod)
        body = office.profile.action(
            action, self.cluster, order, namespace=office.namespace, attempt=attempt
        )
        await self._create(ACTION, body, attempt)

    async def _delete(self, kind: Kind, name: str, uid: str) -> None:
        with contextlib.suppress(NotFound):  # the collector or somebody else was first
            await self.office.hub.delete(kind, name, self.cluster, uid=uid)
        self.office.ledger.deleted(self.cluster, name, uid, self.office.now())

    async def _create(self, kind: Kind, body: dict[str, Any], attempt: Try) -> None:
        try:
            made = await self.office.hub.create(kind, body)
        except AlreadyExists:
            made = await self._settle_clash(kind, body)
        meta = made["metadata"]
        entry = Created(
            meta.get("uid", ""),
            number(meta.get("resourceVersion", "")),
            self.office.now(),
            attempt.number,
            self.order.run if attempt.succeeded else "",
        )
        self.office.ledger.created(self.cluster, body["metadata"]["name"], entry)

    async def _settle_clash(self, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
        """Somebody was first, and the cache does not show it: ours stays unless it has ended.

        An action that has ended would swallow the new one; any other run's object goes.
        """
        name = body["metadata"]["name"]
        try:
            there = await self.office.hub.get(kind, name, self.cluster)
        except NotFound:
            return await self.office.hub.create(kind, body)
        if self._is_usable(kind, there):
            return there
        await self._delete(kind, name, there["metadata"].get("uid", ""))
        return await self.office.hub.create(kind, body)

    def _is_usable(self, kind: Kind, there: dict[str, Any]) -> bool:
        labels = there["metadata"].get("labels") or {}
        if self.office.profile.labelled and labels.get(RUN_LABEL) != self.order.run:
            return False
        return kind is VIEW or not (there.get("status") or {}).get("conditions")
