"""The action agent and the collector with one rule broken at a time."""

from __future__ import annotations

import asyncio
import collections
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
import pytest

from talm.api import kinds
from talm.errors import AlreadyExists, Forbidden, NotFound
from talm.sim.agents import actionagent
from talm.sim.agents.actionagent import COMPLETED, ActionAgent, Failed
from talm.sim.agents.mergepatch import replacing_patch
from talm.sim.agents.restmapper import NoMapping, RestMapper
from talm.sim.agents.wire import Action, KubeWork, find
from talm.sim.agents.workqueue import Panic, SerialQueue
from talm.sim.hubside.actiongc import ActionCollector
from talm.sim.hubside.feed import Feed
from talm.sim.links import Link
from talm.sim.spoke.spokes import Served

from . import memory

Patch: TypeAlias = pytest.MonkeyPatch
CREATE: Final = ActionAgent._create
DELETE: Final = ActionAgent._delete
UPDATE: Final = ActionAgent._update
RECONCILE: Final = ActionAgent.reconcile
NOTHING: Final = msgspec.Raw(b"null")


def result_is_the_object(patch: Patch) -> None:
    """Create reports what was made, uid and all."""

    async def create(self: ActionAgent, action: Action) -> msgspec.Raw:
        template = msgspec.json.decode(await CREATE(self, action))
        meta = template["metadata"]
        served = await self.post.mapper.for_kind("", "v1", template["kind"])
        assert action.spec.kube is not None
        namespace = action.spec.kube.namespace or meta.get("namespace", "")
        made = await self.post.spoke.get(served.kind, namespace, meta["name"])
        return msgspec.Raw(msgspec.json.encode(made))

    patch.setattr(ActionAgent, "_create", create)


def namespace_has_a_default(patch: Patch) -> None:
    """Without a namespace it is `default`."""

    async def create(self: ActionAgent, action: Action) -> msgspec.Raw:
        try:
            return await CREATE(self, action)
        except Failed:
            assert action.spec.kube is not None
            kube = msgspec.structs.replace(action.spec.kube, namespace="default")
            spec = msgspec.structs.replace(action.spec, kube=kube)
            return await CREATE(self, msgspec.structs.replace(action, spec=spec))

    patch.setattr(ActionAgent, "_create", create)


def own_words_for_kinds(patch: Patch) -> None:
    """An unknown kind is reported in words of our own."""
    original = RestMapper.for_kind

    async def for_kind(self: RestMapper, group: str, version: str, kind: str) -> Served:
        try:
            return await original(self, group, version, kind)
        except NoMapping as exc:
            raise NoMapping(f"unknown kind {kind}") from exc

    patch.setattr(RestMapper, "for_kind", for_kind)


def existing_counts_as_created(patch: Patch) -> None:
    """Create of what exists succeeds."""

    async def create(self: ActionAgent, action: Action) -> msgspec.Raw:
        try:
            return await CREATE(self, action)
        except AlreadyExists:
            return NOTHING

    patch.setattr(ActionAgent, "_create", create)


def waits_for_the_namespace(patch: Patch) -> None:
    """Create into a terminating namespace is tried until it can be done."""

    async def create(self: ActionAgent, action: Action) -> msgspec.Raw:
        try:
            return await CREATE(self, action)
        except Forbidden as exc:
            raise Panic(exc.message) from exc

    patch.setattr(ActionAgent, "_create", create)


def deletes_in_the_background(patch: Patch) -> None:
    """Delete leaves dependents to the collector."""

    async def delete(self: ActionAgent, action: Action) -> msgspec.Raw:
        assert action.spec.kube is not None
        kube = action.spec.kube
        served = await self.post.mapper.for_resource(kube.resource)
        await self.post.spoke.delete(served.kind, kube.namespace, kube.name, "Background")
        return NOTHING

    patch.setattr(ActionAgent, "_delete", delete)


def absent_counts_as_deleted(patch: Patch) -> None:
    """Delete of what is not there succeeds."""

    async def delete(self: ActionAgent, action: Action) -> msgspec.Raw:
        try:
            return await DELETE(self, action)
        except NotFound:
            return NOTHING

    patch.setattr(ActionAgent, "_delete", delete)


def update_merges(patch: Patch) -> None:
    """Update keeps what the template does not mention."""

    def merged(_current: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
        return dict(template)

    patch.setattr(actionagent, "replacing_patch", merged)


def update_is_not_guarded(patch: Patch) -> None:
    """The template's resourceVersion is ignored."""

    def unguarded(current: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(replacing_patch(current, template))
        meta = found.get("metadata") or {}
        return {**found, "metadata": {k: meta[k] for k in meta if k != "resourceVersion"}}

    patch.setattr(actionagent, "replacing_patch", unguarded)


def update_always_patches(patch: Patch) -> None:
    """An empty patch is sent, too."""

    def never_empty(current: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
        return dict(replacing_patch(current, template)) or {"metadata": {}}

    patch.setattr(actionagent, "replacing_patch", never_empty)


def update_creates(patch: Patch) -> None:
    """Update of what is not there creates it."""

    async def update(self: ActionAgent, action: Action) -> msgspec.Raw:
        try:
            return await UPDATE(self, action)
        except NotFound:
            return await CREATE(self, action)

    patch.setattr(ActionAgent, "_update", update)


def case_of_types_does_not_matter(patch: Patch) -> None:
    """`create` is Create."""
    original = ActionAgent.__init__

    def init(self: ActionAgent, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._handlers = {**self._handlers, "create": self._handlers["Create"]}

    patch.setattr(ActionAgent, "__init__", init)


def missing_kube_is_reported(patch: Patch) -> None:
    """Without spec.kube the action fails."""

    def kube(_action: Action) -> KubeWork:
        raise Failed("spec.kube is missing")

    patch.setattr(actionagent, "_kube", kube)


def success_is_not_final(patch: Patch) -> None:
    """An action is carried out whenever it is looked at."""

    async def reconcile(self: ActionAgent, name: str) -> float | None:
        action = self.cache.get(name)
        if action is not None:
            status = msgspec.structs.replace(action.status, conditions=None)
            self.cache[name] = msgspec.structs.replace(action, status=status)
        return await RECONCILE(self, name)

    patch.setattr(ActionAgent, "reconcile", reconcile)


def failure_is_final(patch: Patch) -> None:
    """What has a condition is never carried out again."""

    async def reconcile(self: ActionAgent, name: str) -> float | None:
        action = self.cache.get(name)
        if action is not None and find(action.status.conditions, COMPLETED):
            return None
        return await RECONCILE(self, name)

    patch.setattr(ActionAgent, "reconcile", reconcile)


def restart_leaves_failures(patch: Patch) -> None:
    """A restarted agent carries out only what has no condition yet."""
    original = ActionAgent.relist

    def relist(self: ActionAgent, objects: Iterable[tuple[str, Action]]) -> None:
        original(self, [(name, one) for name, one in objects if not one.status.conditions])

    patch.setattr(ActionAgent, "relist", relist)


def restart_forgets_pending(patch: Patch) -> None:
    """A restarted agent waits for news."""
    patch.setattr(ActionAgent, "relist", lambda *_: None)


class _Backwards(collections.deque[str]):
    def popleft(self) -> str:
        return self.pop()


def last_come_first_served(patch: Patch) -> None:
    """The queue is a stack."""
    original = SerialQueue.__init__

    def init(self: SerialQueue, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._ready = _Backwards()

    patch.setattr(SerialQueue, "__init__", init)


def _always_up_with(relist: bool, patch: Patch) -> None:
    original = Link.up
    patch.setattr(Link, "up", lambda self, **_: original(self, relist=relist))


def short_absence_lists(patch: Patch) -> None:
    """However short an absence was, it ends in a list."""
    _always_up_with(True, patch)


def long_absence_resumes(patch: Patch) -> None:
    """However long an absence was, the watch goes on."""
    _always_up_with(False, patch)


def deletion_undoes(patch: Patch) -> None:
    """A deleted action is taken back on the spoke."""
    original = ActionAgent.deliver

    def deliver(self: ActionAgent, name: str, obj: Action | None) -> None:
        before = self.cache.get(name)
        original(self, name, obj)
        if obj is None and before is not None and before.spec.kube is not None:
            meta = msgspec.json.decode(before.spec.kube.template)["metadata"]
            where = (kinds.CONFIG_MAP, meta["namespace"], meta["name"])
            undoing.append(asyncio.ensure_future(self.post.spoke.delete(*where, "Foreground")))

    undoing: list[asyncio.Future[None]] = []
    patch.setattr(ActionAgent, "deliver", deliver)


def deletions_are_not_listed(patch: Patch) -> None:
    """A list shows what was deleted, too."""
    original = Feed.on_change

    def on_change(self: Feed[Any], key: tuple[str, str], old: Any, new: Any) -> None:
        if new is not None:
            original(self, key, old, new)

    patch.setattr(Feed, "on_change", on_change)


def collects_early(patch: Patch) -> None:
    """Half a minute is enough."""
    patch.setattr(memory, "ActionCollector", functools.partial(ActionCollector, keep_s=30.0))


def collects_at_once(patch: Patch) -> None:
    """Nothing is kept."""
    patch.setattr(memory, "ActionCollector", functools.partial(ActionCollector, keep_s=0.0))


def collects_the_pending(patch: Patch) -> None:
    """What has no condition after a minute goes, too."""
    original = ActionCollector._collect
    seen: dict[str, float] = {}

    async def collect(self: ActionCollector, key: str) -> float | None:
        action, now = self._actions.get(key), asyncio.get_running_loop().time()
        if action is None or action.status.conditions:
            return await original(self, key)
        left_s = seen.setdefault(key, now) + 55.0 - now
        if left_s <= 0:
            await self._hub.delete(kinds.ACTION, action.metadata.name, action.metadata.namespace)
        return left_s

    patch.setattr(ActionCollector, "_collect", collect)


def minute_since_first_sight(patch: Patch) -> None:
    """The minute counts from when the collector first sees the action."""
    original = ActionCollector._collect
    seen: dict[str, float] = {}

    async def collect(self: ActionCollector, key: str) -> float | None:
        now = asyncio.get_running_loop().time()
        left_s = seen.setdefault(key, now) + 60.0 - now
        return left_s if left_s > 0 else await original(self, key)

    patch.setattr(ActionCollector, "_collect", collect)


BROKEN: Final[Mapping[str, Callable[[Patch], None]]] = {
    "create": result_is_the_object,
    "create-misplaced": namespace_has_a_default,
    "create-unknown": own_words_for_kinds,
    "create-refused": existing_counts_as_created,
    "create-terminating": waits_for_the_namespace,
    "delete": deletes_in_the_background,
    "delete-absent": absent_counts_as_deleted,
    "update": update_merges,
    "update-guarded": update_is_not_guarded,
    "update-nothing": update_always_patches,
    "update-absent": update_creates,
    "other-type": case_of_types_does_not_matter,
    "without-kube": missing_kube_is_reported,
    "final": success_is_not_final,
    "twice": failure_is_final,
    "changing-text": failure_is_final,
    "restarted-actions": restart_leaves_failures,
    "lost-create": existing_counts_as_created,
    "lost-delete": absent_counts_as_deleted,
    "in-order": last_come_first_served,
    "in-order-later": short_absence_lists,
    "by-name": long_absence_resumes,
    "in-no-order": restart_forgets_pending,
    "undoes-nothing": deletion_undoes,
    "prevented": deletions_are_not_listed,
    "collected": collects_early,
    "pending": collects_the_pending,
    "skewed": minute_since_first_sight,
    "name-taken": collects_at_once,
}
