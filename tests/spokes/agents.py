"""One spoke with its view agent, its action agent and the hub's collector of actions.

The flaws are those of the real ones: a view is blind for its interval after a flip, actions are
serial, a failed one runs twice, the answer to a success may get lost, a relist sorts by name.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from functools import partial

from talm.api.kinds import ACTION, VIEW
from tests.spokes.hub import Clock, MemoryHub, Object

CLUSTER = "spoke1"

_RESOURCES = {
    "namespace": "namespaces",
    "serviceaccount": "serviceaccounts",
    "clusterrolebinding": "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterrole": "clusterroles.rbac.authorization.k8s.io",
    "configmap": "configmaps",
    "role": "roles.rbac.authorization.k8s.io",
    "rolebinding": "rolebindings.rbac.authorization.k8s.io",
    "job": "jobs.batch",
}
_CLUSTER_SCOPED = ("namespace", "clusterrole", "clusterrolebinding")


class Refused(Exception):
    """The spoke's API server says no, in its words."""


@dataclass
class SpokeApi:
    """Objects of the spoke by (singular resource, name); one namespace is in play."""

    clock: Clock
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    deletion_s: float = 5.0
    job_s: float | None = 20.0  # None: the Job's status is written by the test
    jobs_made: int = 0
    uids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def create(self, template: Object) -> None:
        kind, meta = template["kind"].lower(), template["metadata"]
        key, full = (kind, meta["name"]), f'{_RESOURCES[kind]} "{meta["name"]}"'
        if kind not in _CLUSTER_SCOPED:
            self._need_namespace(full, meta["namespace"])
        if key in self.objects:
            going = "deletionTimestamp" in self.objects[key]["metadata"]
            raise Refused(("object is being deleted: " if going else "") + f"{full} already exists")
        obj = copy.deepcopy(template)
        obj["metadata"] |= {"uid": f"s{next(self.uids)}", "creationTimestamp": self.clock.stamp()}
        self.objects[key] = obj
        if kind == "job":
            self._start_job(obj)

    def delete(self, kind: str, name: str) -> None:
        obj = self.get(kind, name)
        if kind != "namespace":
            del self.objects[kind, name]
        elif "deletionTimestamp" not in obj["metadata"]:
            obj["metadata"]["deletionTimestamp"] = self.clock.stamp()
            self.clock.after(self.deletion_s, self._end_namespace)

    def get(self, kind: str, name: str) -> Object:
        if (kind, name) not in self.objects:
            raise Refused(f'{_RESOURCES[kind]} "{name}" not found')
        return self.objects[kind, name]

    def set_job(self, status: Object) -> None:
        self.objects["job", "pre-cache"]["status"] = status

    def _need_namespace(self, full: str, name: str) -> None:
        namespace = self.get("namespace", name)
        if "deletionTimestamp" in namespace["metadata"]:
            raise Refused(
                f"{full} is forbidden: unable to create new content in namespace {name} "
                "because it is being terminated"
            )

    def _end_namespace(self) -> None:
        outside = ("clusterrole", "clusterrolebinding")
        keep = {key: o for key, o in self.objects.items() if key[0] in outside}
        self.objects = keep

    def _start_job(self, job: Object) -> None:
        self.jobs_made += 1
        job["status"] = {}
        if self.job_s is None:
            return
        states: list[tuple[float, Object]] = [
            (0.1, {"active": 1, "ready": 0, "terminating": 0}),
            (1.0, {"active": 1, "ready": 1, "terminating": 0}),
            (self.job_s, {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}),
        ]
        for delay, status in states:
            self.clock.after(delay, partial(job.update, status=status))


@dataclass
class Agents:
    """The agents of one spoke.

    `view_s` and `answer_s`: from a view's creation to the read, from the read to the answer's
    arrival.  `action_s`: one action.  `lost`: actions whose end never arrives.  `failing`: texts of
    the next tries of an action.
    """

    hub: MemoryHub
    spoke: SpokeApi
    view_s: float = 0.02
    answer_s: float = 0.01
    action_s: float = 0.03
    lost: set[str] = field(default_factory=set)
    failing: dict[str, list[str]] = field(default_factory=dict)
    online: bool = True
    queue: list[Object] = field(default_factory=list)
    busy: bool = False

    def __post_init__(self) -> None:
        self.hub.hooks[VIEW].append(self._view_made)
        self.hub.hooks[ACTION].append(self._action_made)

    def come_back(self) -> None:
        """Reconnect after an outage: everything is listed anew, by name."""
        self.online = True
        for name in self.hub.names(VIEW):
            view = self.hub.find(VIEW, name)
            assert view is not None
            self._view_made(view)
        for name in self.hub.names(ACTION):
            action = self.hub.find(ACTION, name)
            assert action is not None
            if _status_of(action, "Completed") != "True":
                self._action_made(action)

    # ---- views ---------------------------------------------------------------------------------

    def _view_made(self, view: Object) -> None:
        if self.online:
            self.hub.clock.after(self.view_s, lambda: self._read(view))

    def _read(self, view: Object) -> None:
        if not (self.online and self.hub.is_current(VIEW, view)):
            return
        scope = view["spec"]["scope"]
        kind = scope["resource"].rstrip("s")
        try:
            found: Object | None = copy.deepcopy(self.spoke.get(kind, scope["name"]))
            words = "Watching resources successfully"
        except Refused as exc:
            found, words = None, f"failed to get resource with err: {exc}"
        self.hub.clock.after(self.answer_s, lambda: self._answer(view, found, words))
        interval = scope.get("updateIntervalSeconds") or 30
        self.hub.clock.after(interval, lambda: self._read(view))

    def _answer(self, view: Object, found: Object | None, words: str) -> None:
        if not (self.online and self.hub.is_current(VIEW, view)):
            return
        name = view["metadata"]["name"]
        kept = (self.hub.find(VIEW, name) or {}).get("status", {}).get("result")
        status: Object = {"conditions": [_condition("Processing", found is not None, words)]}
        if found is not None or kept is not None:
            status["result"] = found if found is not None else kept
        self.hub.put_status(VIEW, name, status)

    # ---- actions -------------------------------------------------------------------------------

    def _action_made(self, action: Object) -> None:
        if self.online:
            self.queue.append(action)
            self._next()

    def _next(self) -> None:
        if self.queue and not self.busy:
            self.busy = True
            action = self.queue.pop(0)
            self.hub.clock.after(self.action_s, lambda: self._perform(action))

    def _perform(self, action: Object) -> None:
        self.busy = False
        if self.online and self.hub.is_current(ACTION, action):
            words = self._try(action)
            if words:
                words = self._try(action, again=True)  # its own status write is news to the agent
            self._report(action, words)
        self._next()

    def _try(self, action: Object, *, again: bool = False) -> str:
        spec, name = action["spec"], action["metadata"]["name"]
        texts = self.failing.get(name, [])
        if texts:
            text = texts.pop(0) if again else texts[0]
            return f"failed to handle {spec['actionType']} action with err: {text}"
        try:
            if spec["actionType"] == "Create":
                self.spoke.create(spec["kube"]["template"])
            else:
                self.spoke.delete(spec["kube"]["resource"], spec["kube"]["name"])
        except Refused as exc:
            return f"failed to handle {spec['actionType']} action with err: {exc}"
        return ""

    def _report(self, action: Object, words: str) -> None:
        name = action["metadata"]["name"]
        if name in self.lost:
            if words:  # whoever cannot report a failure tries again
                self.hub.clock.after(1, lambda: self._action_made(action))
            return
        text = words or "Resource action is done."
        self.hub.put_status(
            ACTION, name, {"conditions": [_condition("Completed", not words, text)]}
        )
        self.hub.clock.after(60, lambda: self._collect(action))

    def _collect(self, action: Object) -> None:
        if self.hub.is_current(ACTION, action):
            meta = action["metadata"]
            self.hub.vanish(ACTION, meta["namespace"], meta["name"])


def _condition(kind: str, ok: bool, words: str) -> Object:
    # A time long before the view: nobody may order answers by it.
    return {
        "type": kind,
        "status": "True" if ok else "False",
        "message": words,
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }


def _status_of(obj: Object, kind: str) -> str:
    for condition in (obj.get("status") or {}).get("conditions", []):
        if condition["type"] == kind:
            return str(condition["status"])
    return ""
