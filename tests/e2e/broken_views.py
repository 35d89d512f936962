"""The view agent with one rule broken at a time: what the comparison has to notice."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
import pytest

from talm.api.kinds import Kind
from talm.errors import ApiError, Unreachable
from talm.sim.agents import viewagent
from talm.sim.agents.base import Agent
from talm.sim.agents.restmapper import NoMapping, RestMapper
from talm.sim.agents.viewagent import PROCESSING, Refused, ViewAgent
from talm.sim.agents.wire import AgentCondition, Conditions, Scope, find
from talm.sim.links import Link, LinkState
from talm.sim.site import build_site
from talm.sim.spoke.spokes import Served

from . import memory

Patch: TypeAlias = pytest.MonkeyPatch
Read: TypeAlias = Callable[[ViewAgent, Scope], Awaitable[Mapping[str, Any]]]
READ: Final[Read] = ViewAgent._read
RESOLVE: Final = ViewAgent._resolve
RECONCILE: Final = ViewAgent.reconcile
PUT: Final = ViewAgent.put_status


def type_before_name(patch: Patch) -> None:
    """The type is checked before the name."""

    async def read(self: ViewAgent, scope: Scope) -> Mapping[str, Any]:
        if not scope.resource and not (scope.kind and scope.version):
            raise Refused("ResourceTypeInvalid", "invalid resource type")
        return await READ(self, scope)

    patch.setattr(ViewAgent, "_read", read)


def kind_suffices(patch: Patch) -> None:
    """A kind without a version is looked up."""

    async def read(self: ViewAgent, scope: Scope) -> Mapping[str, Any]:
        if scope.kind and not scope.version:
            scope = msgspec.structs.replace(scope, version="v1")
        return await READ(self, scope)

    patch.setattr(ViewAgent, "_read", read)


def one_reason_for_types(patch: Patch) -> None:
    """A kind that is not served is an invalid type, as a resource is."""

    async def resolve(self: ViewAgent, scope: Scope) -> Served:
        try:
            return await RESOLVE(self, scope)
        except Refused as exc:
            exc.reason = "ResourceTypeInvalid"
            raise

    patch.setattr(ViewAgent, "_resolve", resolve)


def mapper_speaks_for_resources(patch: Patch) -> None:
    """An unknown resource is reported in the mapper's words."""

    async def resolve(self: ViewAgent, scope: Scope) -> Served:
        try:
            return await RESOLVE(self, scope)
        except Refused as exc:
            exc.message = f"failed to get resource with err: no matches for {scope.resource}"
            raise

    patch.setattr(ViewAgent, "_resolve", resolve)


def secrets_are_shown(patch: Patch) -> None:
    """Secrets are read as anything else."""

    async def read(self: ViewAgent, scope: Scope) -> Mapping[str, Any]:
        try:
            return await READ(self, scope)
        except Refused as exc:
            if "secrets" not in exc.message:
                raise
        served = await self._resolve(scope)
        return await self.post.spoke.get(served.kind, scope.namespace, scope.name)

    patch.setattr(ViewAgent, "_read", read)


def absent_is_success(patch: Patch) -> None:
    """What is not there is shown as nothing."""

    async def read(self: ViewAgent, scope: Scope) -> Mapping[str, Any]:
        try:
            return await READ(self, scope)
        except Refused as exc:
            if "not found" not in exc.message:
                raise
            return {}

    patch.setattr(ViewAgent, "_read", read)


def forbidden_has_its_own_reason(patch: Patch) -> None:
    """403 is told apart."""

    async def read(self: ViewAgent, scope: Scope) -> Mapping[str, Any]:
        try:
            return await READ(self, scope)
        except Refused as exc:
            if "forbidden" in exc.message:
                exc.reason = "Forbidden"
            raise

    patch.setattr(ViewAgent, "_read", read)


def no_answer_is_no_news(patch: Patch) -> None:
    """A spoke that does not answer is asked again instead of being reported."""

    async def read(self: ViewAgent, scope: Scope) -> Mapping[str, Any]:
        try:
            return await READ(self, scope)
        except Refused as exc:
            if "refused" in exc.message:
                raise Unreachable("GET", scope.name, 0, exc.message) from exc
            raise

    patch.setattr(ViewAgent, "_read", read)


def managed_fields_are_left_out(patch: Patch) -> None:
    """The result is tidied up."""

    async def read(self: ViewAgent, scope: Scope) -> Mapping[str, Any]:
        found = await READ(self, scope)
        meta = {key: found["metadata"][key] for key in found["metadata"] if key != "managedFields"}
        return {**found, "metadata": meta}

    patch.setattr(ViewAgent, "_read", read)


def kind_wins(patch: Patch) -> None:
    """Kind, group and version go before the resource."""

    async def resolve(self: ViewAgent, scope: Scope) -> Served:
        if scope.kind and scope.version:
            scope = msgspec.structs.replace(scope, resource="")
        return await RESOLVE(self, scope)

    patch.setattr(ViewAgent, "_resolve", resolve)


def case_matters(patch: Patch) -> None:
    """Resources are matched as they are written."""
    original = RestMapper.for_resource

    async def for_resource(self: RestMapper, argument: str) -> Served:
        if argument != argument.lower():
            raise NoMapping(f'the server doesn\'t have a resource type "{argument}"')
        return await original(self, argument)

    patch.setattr(RestMapper, "for_resource", for_resource)


def reading_is_remembered(patch: Patch) -> None:
    """What a word means is looked up once."""
    original = RestMapper.for_resource
    known: dict[str, Served] = {}

    async def for_resource(self: RestMapper, argument: str) -> Served:
        if argument not in known:
            known[argument] = await original(self, argument)
        return known[argument]

    patch.setattr(RestMapper, "for_resource", for_resource)


def polls_twice_as_often(patch: Patch) -> None:
    """The timer runs at half the interval."""

    async def reconcile(self: ViewAgent, name: str) -> float | None:
        again_s = await RECONCILE(self, name)
        return again_s and again_s / 2

    patch.setattr(ViewAgent, "reconcile", reconcile)


def other_default(patch: Patch) -> None:
    """The default interval is 10 s."""
    patch.setattr(viewagent, "DEFAULT_INTERVAL_S", 10)


def no_gate(patch: Patch) -> None:
    """Any event has the object read."""

    async def reconcile(self: ViewAgent, name: str) -> float | None:
        view = self.cache.get(name)
        if view is None:
            return None
        await self._answer(view)
        return view.spec.scope.update_interval_seconds or 30

    patch.setattr(ViewAgent, "reconcile", reconcile)


def gate_since_the_last_read(patch: Patch) -> None:
    """The interval counts from the last read of this name, not from the last flip."""
    last: dict[str, float] = {}

    async def reconcile(self: ViewAgent, name: str) -> float | None:
        view, now = self.cache.get(name), asyncio.get_running_loop().time()
        if view is None:
            return None
        interval_s = view.spec.scope.update_interval_seconds or 30
        if name in last and now - last[name] < interval_s - 0.001:
            return interval_s - (now - last[name])
        last[name] = now
        await self._answer(view)
        return interval_s

    patch.setattr(ViewAgent, "reconcile", reconcile)


def absent_is_asked_again(patch: Patch) -> None:
    """What was not there is looked for every second."""

    async def reconcile(self: ViewAgent, name: str) -> float | None:
        view = self.cache.get(name)
        last = view and find(view.status.conditions, PROCESSING)
        if view is None or last is None or last.status == "True":
            return await RECONCILE(self, name)
        await self._answer(view)
        return 1.0

    patch.setattr(ViewAgent, "reconcile", reconcile)


def heartbeat(patch: Patch) -> None:
    """Each read moves the time of the flip."""

    def set_condition(conditions: Conditions | None, new: AgentCondition) -> Conditions:
        return (new,)

    patch.setattr(viewagent, "set_condition", set_condition)


def failure_drops_the_result(patch: Patch) -> None:
    """There is no result beside Processing=False."""

    async def put(
        self: Agent[Any], kind: Kind, body: Mapping[str, Any], *, loses: bool = False
    ) -> None:
        status = body["status"]
        if status["conditions"][0]["status"] == "False":
            body = {**body, "status": {**status, "result": None}}
        await PUT(self, kind, body, loses=loses)

    patch.setattr(ViewAgent, "put_status", put)


def new_scope_opens_the_gate(patch: Patch) -> None:
    """A changed scope is read at once."""
    last: dict[str, Scope] = {}

    async def reconcile(self: ViewAgent, name: str) -> float | None:
        view = self.cache.get(name)
        if view is not None and last.get(name, view.spec.scope) != view.spec.scope:
            last[name] = view.spec.scope
            await self._answer(view)
            return float(view.spec.scope.update_interval_seconds or 30)
        if view is not None:
            last[name] = view.spec.scope
        return await RECONCILE(self, name)

    patch.setattr(ViewAgent, "reconcile", reconcile)


def writes_only_changes(patch: Patch) -> None:
    """A status that stays the same is not put."""
    patch.setattr(memory, "build_site", functools.partial(build_site, quiet=True))


def deletion_is_missed(patch: Patch) -> None:
    """A deleted view is looked after as before."""
    original = ViewAgent.deliver

    def deliver(self: ViewAgent, name: str, obj: Any) -> None:
        if obj is not None:
            original(self, name, obj)

    patch.setattr(ViewAgent, "deliver", deliver)


def write_is_repeated(patch: Patch) -> None:
    """A lost write is sent again as it was."""

    async def put(
        self: Agent[Any], kind: Kind, body: Mapping[str, Any], *, loses: bool = False
    ) -> None:
        while True:
            try:
                return await PUT(self, kind, body, loses=loses)
            except ApiError:
                await asyncio.sleep(0.1)

    patch.setattr(ViewAgent, "put_status", put)


def absence_loses_events(patch: Patch) -> None:
    """What happens while the link is down is never heard of."""
    original = Link.offer

    def offer(self: Link, number: int, name: str, obj: Any) -> None:
        if self.state is LinkState.UP:
            original(self, number, name, obj)

    patch.setattr(Link, "offer", offer)


def dead_watch_is_noticed(patch: Patch) -> None:
    """A watch does not die silently."""
    patch.setattr(Link, "half_dead", lambda _: None)


BROKEN: Final[Mapping[str, Callable[[Patch], None]]] = {
    "no-name": type_before_name,
    "no-type": kind_suffices,
    "unknown-kind": one_reason_for_types,
    "unknown-resource": mapper_speaks_for_resources,
    "secrets": secrets_are_shown,
    "not-found": absent_is_success,
    "forbidden": forbidden_has_its_own_reason,
    "spoke-down": no_answer_is_no_news,
    "success": managed_fields_are_left_out,
    "resource-wins": kind_wins,
    "words": case_matters,
    "misread-group": reading_is_remembered,
    "polls": polls_twice_as_often,
    "default-interval": other_default,
    "gate": no_gate,
    "pokes": gate_since_the_last_read,
    "blind": absent_is_asked_again,
    "made-anew": gate_since_the_last_read,
    "no-heartbeat": heartbeat,
    "kept-result": failure_drops_the_result,
    "scope-changed": new_scope_opens_the_gate,
    "always-written": writes_only_changes,
    "forgotten": deletion_is_missed,
    "lost-view-write": write_is_repeated,
    "offline-views": absence_loses_events,
    "restarted-views": no_gate,
    "dead-watch": dead_watch_is_noticed,
}
