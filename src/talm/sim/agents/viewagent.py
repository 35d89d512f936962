"""The agent that answers ManagedClusterViews, as OCM's work-manager add-on does.

It polls: a read per interval, and none before a whole interval has passed since the last flip
of `Processing`, whatever happens meanwhile; a failure keeps the earlier result beside it; an
unchanged status has no heartbeat.  Source: OCM agents, view_controller.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from talm.api import kinds
from talm.errors import ApiError
from talm.sim.agents.base import Agent
from talm.sim.agents.restmapper import NoMapping
from talm.sim.agents.wire import AgentCondition, Scope, View, find, set_condition, status_body
from talm.sim.spoke.spokes import Served

PROCESSING: Final = "Processing"
DEFAULT_INTERVAL_S: Final = 30


class Refused(Exception):
    """The view cannot be answered: reason and message of its condition."""

    def __init__(self, reason: str, why: str, *, bare: bool = False) -> None:
        super().__init__(why)
        self.reason = reason
        self.message = why if bare else f"failed to get resource with err: {why}"


class ViewAgent(Agent[View]):
    """One spoke's view agent."""

    async def reconcile(self, name: str) -> float | None:
        """Answer a view, unless its interval has not passed since the last flip."""
        view = self.cache.get(name)
        if view is None:
            return None
        interval_s = view.spec.scope.update_interval_seconds or DEFAULT_INTERVAL_S
        last = find(view.status.conditions, PROCESSING)
        if last is not None and last.last_transition_time is not None:
            passed = self.post.clock.now() - last.last_transition_time
            if passed.total_seconds() < interval_s:
                return interval_s - passed.total_seconds()
        await self._answer(view)
        return interval_s

    async def _answer(self, view: View) -> None:
        result: object = view.status.result
        try:
            result = await self._read(view.spec.scope)
        except Refused as exc:
            condition = self._condition("False", exc.reason, exc.message)
        else:
            condition = self._condition(
                "True", "GetResourceProcessing", "Watching resources successfully"
            )
        conditions = set_condition(view.status.conditions, condition)
        unchanged = conditions == view.status.conditions
        if self.post.quiet and unchanged and _same(view.status.result, result):
            return
        await self.put_status(
            kinds.VIEW, status_body(kinds.VIEW, view.metadata, conditions, result)
        )

    async def _read(self, scope: Scope) -> Mapping[str, Any]:
        if not scope.name:
            raise Refused("ResourceNameInvalid", "invalid resource name")
        if not scope.resource and not (scope.kind and scope.version):
            raise Refused("ResourceTypeInvalid", "invalid resource type")
        served = await self._resolve(scope)
        if served.kind.plural == "secrets":
            why = "viewing secrets is not allowed"
            raise Refused("ResourceTypeInvalid", why, bare=True)
        try:
            return await self.post.spoke.get(served.kind, scope.namespace, scope.name)
        except ApiError as exc:
            raise Refused("GetResourceFailed", exc.message) from exc

    async def _resolve(self, scope: Scope) -> Served:
        if scope.resource:
            try:
                return await self.post.mapper.for_resource(scope.resource)
            except NoMapping as exc:
                raise Refused("ResourceTypeInvalid", str(exc)) from exc
        try:
            return await self.post.mapper.for_kind(scope.api_group, scope.version, scope.kind)
        except NoMapping as exc:
            raise Refused("ResourceGVKInvalid", str(exc)) from exc

    def _condition(self, status: str, reason: str, message: str) -> AgentCondition:
        return AgentCondition(
            type=PROCESSING,
            status=status,
            reason=reason,
            message=message,
            last_transition_time=self.post.clock.now(),
        )


def _same(stored: msgspec.Raw, result: object) -> bool:
    if result is stored:
        return True
    return bool(msgspec.json.decode(stored) == result)
