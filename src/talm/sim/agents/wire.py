"""Hub objects as the agents read them: enough to answer, and to put the status back whole.

Parts that are only passed on (`template`, an earlier `result`) stay raw bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from talm.api.kinds import Kind
from talm.api.meta import ObjectMeta, Wire
from talm.sim.clock import format_time


class AgentCondition(Wire, frozen=True, kw_only=True):
    """metav1.Condition, complete, since a status is written back whole."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: dt.datetime | None = None
    observed_generation: int = 0

    def body(self) -> dict[str, Any]:
        """As Go writes it."""
        moment = self.last_transition_time
        body: dict[str, Any] = {
            "lastTransitionTime": None if moment is None else format_time(moment),
            "message": self.message,
            "reason": self.reason,
            "status": self.status,
            "type": self.type,
        }
        if self.observed_generation:
            body["observedGeneration"] = self.observed_generation
        return body


Conditions: TypeAlias = tuple[AgentCondition, ...]


def find(conditions: Sequence[AgentCondition] | None, kind: str) -> AgentCondition | None:
    """The condition of type `kind`, if it is there."""
    return next((c for c in conditions or () if c.type == kind), None)


def set_condition(conditions: Conditions | None, new: AgentCondition) -> Conditions:
    """Put `new` in its place; an unchanged status keeps its lastTransitionTime.

    As apimachinery's SetStatusCondition: reason and message may change without it.
    """
    old = find(conditions, new.type)
    if old is None:
        return (*(conditions or ()), new)
    if old.status == new.status:
        new = msgspec.structs.replace(new, last_transition_time=old.last_transition_time)
    return tuple(new if c is old else c for c in conditions or ())


class Scope(Wire, frozen=True, kw_only=True):
    api_group: str = ""
    version: str = ""
    kind: str = ""
    resource: str = ""
    name: str = ""
    namespace: str = ""
    update_interval_seconds: int = 0


class ViewSpec(Wire, frozen=True, kw_only=True):
    scope: Scope = Scope()


class AgentStatus(Wire, frozen=True, kw_only=True):
    """Status of a view or an action: conditions, and a result that is not looked into."""

    conditions: Conditions | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")


class View(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: ViewSpec = ViewSpec()
    status: AgentStatus = AgentStatus()


class KubeWork(Wire, frozen=True, kw_only=True):
    resource: str = ""
    name: str = ""
    namespace: str = ""
    template: msgspec.Raw = msgspec.Raw(b"null")


class ActionSpec(Wire, frozen=True, kw_only=True):
    action_type: str = ""
    kube: KubeWork | None = None


class Action(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: ActionSpec = ActionSpec()
    status: AgentStatus = AgentStatus()


def status_body(
    kind: Kind, meta: ObjectMeta, conditions: Conditions, result: object
) -> dict[str, Any]:
    """The body of `PUT .../status`: guarded by uid and resourceVersion, as an agent's is.

    Labels, annotations and the like go along, as an agent sends them: the API server takes none
    of them from here, but what lacks them gives up their fields in `managedFields`, which is a
    change of the object and an event more.
    """
    kept = {
        "labels": meta.labels,
        "annotations": meta.annotations,
        "finalizers": meta.finalizers,
        "ownerReferences": meta.owner_references,
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            **{key: value for key, value in kept.items() if value},
        },
        "status": {"conditions": [c.body() for c in conditions], "result": result},
    }


def own_bytes(view: View) -> View:
    """Cut a view's result loose from the watch's buffer that it was decoded from."""
    status = msgspec.structs.replace(view.status, result=view.status.result.copy())
    return msgspec.structs.replace(view, status=status)
