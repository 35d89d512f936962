"""The agent that carries out ManagedClusterActions, as OCM's work-manager add-on does.

At least once, in the order in which the hub's watch names them: `Completed=True` is final,
everything else is done again whenever the action is looked at.  So a failed action runs twice
(its own status write is news), and one whose result was lost runs again and then reports
"already exists" or "not found".  Source: OCM agents, action_controller.go, handle_action.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from talm.api import kinds
from talm.errors import ApiError
from talm.sim.agents.base import Agent, Post
from talm.sim.agents.mergepatch import replacing_patch
from talm.sim.agents.restmapper import NoMapping
from talm.sim.agents.wire import Action, AgentCondition, KubeWork, find, set_condition, status_body
from talm.sim.agents.workqueue import Panic

COMPLETED: Final = "Completed"
_NOTHING: Final = msgspec.Raw(b"null")
Handler: TypeAlias = Callable[[Action], Awaitable[msgspec.Raw]]


class Failed(Exception):
    """The action failed; the text is the Go error's."""


class ActionAgent(Agent[Action]):
    """One spoke's action agent."""

    def __init__(self, post: Post, *, name: str = "actions") -> None:
        super().__init__(post, name=name)
        self.busy_s = 0.0
        """How long the worker is busy with something else before each action."""
        self._handlers: Mapping[str, tuple[str, Handler]] = {
            "Create": ("CreateResourceFailed", self._create),
            "Update": ("UpdateResourceFailed", self._update),
            "Delete": ("DeleteResourceFailed", self._delete),
        }

    async def reconcile(self, name: str) -> float | None:
        """Carry out an action that is not known to be completed; raises Panic, ApiError."""
        action = self.cache.get(name)
        if action is None:
            return None
        last = find(action.status.conditions, COMPLETED)
        if last is not None and last.status == "True":
            return None
        if self.busy_s:
            await asyncio.sleep(self.busy_s)
        kind, result = action.spec.action_type, action.status.result
        reason, carry_out = self._handlers.get(kind, ("ActionTypeInvalid", self._unknown))
        try:
            result = await carry_out(action)
        except (Failed, NoMapping, ApiError) as exc:
            why = exc.message if isinstance(exc, ApiError) else str(exc)
            message = f"failed to handle {kind} action with err: {why}"
            condition = self._condition("False", reason, message)
        else:
            condition = self._condition("True", "ActionDone", "Resource action is done.")
        conditions = set_condition(action.status.conditions, condition)
        if self.post.quiet and conditions == action.status.conditions:
            return None
        body = status_body(kinds.ACTION, action.metadata, conditions, result)
        await self.put_status(kinds.ACTION, body, loses=True)
        return None

    async def _unknown(self, action: Action) -> msgspec.Raw:
        raise Failed("invalid action type")

    async def _create(self, action: Action) -> msgspec.Raw:
        kube = _kube(action)
        template = _template(kube)
        group, version, kind = _group_version_kind(template)
        served = await self.post.mapper.for_kind(group, version, kind)
        namespace = kube.namespace or _metadata(template).get("namespace", "")
        if served.kind.namespaced and not namespace:
            raise Failed("namespace must be set")
        await self.post.spoke.create(served.kind, namespace, template)
        return kube.template

    async def _delete(self, action: Action) -> msgspec.Raw:
        kube = _kube(action)
        if not kube.resource:
            raise Panic("Delete without spec.kube.resource: invalid memory address")
        served = await self.post.mapper.for_resource(kube.resource)
        await self.post.spoke.delete(served.kind, kube.namespace, kube.name, "Foreground")
        return _NOTHING

    async def _update(self, action: Action) -> msgspec.Raw:
        kube = _kube(action)
        template = _template(kube)
        group, version, kind = _group_version_kind(template)
        namespace = kube.namespace or _metadata(template).get("namespace", "")
        name = _metadata(template).get("name", "")
        served = await self.post.mapper.for_kind(group, version, kind)
        current = await self.post.spoke.get(served.kind, namespace, name)
        patch = replacing_patch(current, template)
        if not patch:
            return action.status.result
        await self.post.spoke.merge_patch(served.kind, namespace, name, patch)
        return kube.template

    def _condition(self, status: str, reason: str, message: str) -> AgentCondition:
        return AgentCondition(
            type=COMPLETED,
            status=status,
            reason=reason,
            message=message,
            last_transition_time=self.post.clock.now(),
        )


def _kube(action: Action) -> KubeWork:
    if action.spec.kube is None:
        raise Panic("spec.kube is missing: invalid memory address or nil pointer dereference")
    return action.spec.kube


def _template(kube: KubeWork) -> dict[str, Any]:
    template = msgspec.json.decode(kube.template)
    if not isinstance(template, dict):
        raise Failed("unexpected end of JSON input")
    return template


def _metadata(template: Mapping[str, Any]) -> Mapping[str, Any]:
    found = template.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _group_version_kind(template: Mapping[str, Any]) -> tuple[str, str, str]:
    group, _, version = str(template.get("apiVersion", "")).rpartition("/")
    return group, version, str(template.get("kind", ""))
