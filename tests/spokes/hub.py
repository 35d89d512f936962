"""A hub in memory: views and actions with uids and resourceVersions, and caches that may lag.

It behaves like an API server as far as this transport can tell; time is virtual.
"""

from __future__ import annotations

import copy
import datetime as dt
import heapq
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from talm.api.kinds import ACTION, VIEW, Kind
from talm.api.ocm import ManagedClusterAction, ManagedClusterView
from talm.errors import AlreadyExists, Conflict, NotFound, Unreachable

T = TypeVar("T")
Key = tuple[str, str]
Object = dict[str, Any]
News = Callable[[Key, Any, Any], None]

LOST_ANSWER = "the request was done, its answer got lost"
START = dt.datetime(2026, 3, 1, 12, 0, 0, tzinfo=dt.UTC)


class Clock:
    """Virtual time: things happen when they are due, in order."""

    def __init__(self) -> None:
        self.now = START
        self._due: list[tuple[dt.datetime, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        when = self.now + dt.timedelta(seconds=seconds)
        heapq.heappush(self._due, (when, next(self._count), what))

    def run_until(self, when: dt.datetime) -> bool:
        """Let the next due thing happen if it is due by `when`; else it is `when` now."""
        if self._due and self._due[0][0] <= when:
            due, _, what = heapq.heappop(self._due)
            self.now = max(self.now, due)
            what()
            return True
        self.now = max(self.now, when)
        return False

    def stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


class Mirror(Generic[T]):
    """One informer's cache; news waits until it is delivered."""

    def __init__(self, struct: type[T]) -> None:
        self.struct = struct
        self.objects: dict[Key, T] = {}
        self.listeners: list[News] = []
        self.waiting: list[tuple[Key, Object | None]] = []

    def get(self, name: str, namespace: str = "") -> T | None:
        return self.objects.get((namespace, name))

    def deliver(self) -> None:
        """Show everything that has been written so far."""
        while self.waiting:
            key, body = self.waiting.pop(0)
            old = self.objects.pop(key, None)
            new = None
            if body is not None:
                new = msgspec.json.decode(msgspec.json.encode(body), type=self.struct)
                self.objects[key] = new
            if old is not None or new is not None:
                for listener in self.listeners:
                    listener(key, old, new)


class MemoryHub:
    """The API server.  `trace` is its audit log; `outages` are the errors of the next requests ("": none)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[tuple[Kind, str, str], Object] = {}
        self.views: Mirror[ManagedClusterView] = Mirror(ManagedClusterView)
        self.actions: Mirror[ManagedClusterAction] = Mirror(ManagedClusterAction)
        self.trace: list[str] = []
        self.outages: list[str] = []
        self.hooks: dict[Kind, list[Callable[[Object], None]]] = {VIEW: [], ACTION: []}
        self._versions = itertools.count(1000)
        self._uids = itertools.count(1)

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> Object:
        meta = body["metadata"]
        self._log("create", meta["name"])
        key = (kind, meta["namespace"], meta["name"])
        if key in self.objects:
            raise AlreadyExists("POST", meta["name"], 409, "already exists", reason="AlreadyExists")
        obj = copy.deepcopy(dict(body))
        obj["metadata"] |= {"uid": f"u{next(self._uids)}", "creationTimestamp": self.clock.stamp()}
        self._store(key, obj)
        for hook in self.hooks[kind]:
            hook(obj)
        self._lose_answer("create", meta["name"])
        return copy.deepcopy(self.objects[key])

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        self._log("get", name)
        if (kind, namespace, name) not in self.objects:
            raise NotFound("GET", name, 404, "not found")
        return copy.deepcopy(self.objects[kind, namespace, name])

    async def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        self._log("delete", name)
        obj = self.objects.get((kind, namespace, name))
        if obj is None:
            raise NotFound("DELETE", name, 404, "not found")
        if uid and obj["metadata"]["uid"] != uid:
            raise Conflict("DELETE", name, 409, "the UID in the precondition differs")
        self.vanish(kind, namespace, name)
        self._lose_answer("delete", name)

    def is_current(self, kind: Kind, obj: Object) -> bool:
        """Whether this very object is still there."""
        meta = obj["metadata"]
        there = self.objects.get((kind, meta["namespace"], meta["name"]))
        return there is not None and there["metadata"]["uid"] == meta["uid"]

    def find(self, kind: Kind, name: str, cluster: str = "spoke1") -> Object | None:
        return self.objects.get((kind, cluster, name))

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for found, _, name in self.objects if found is kind)

    def put_status(self, kind: Kind, name: str, status: Object, cluster: str = "spoke1") -> None:
        """What an agent does; a status that does not change is no news."""
        key = (kind, cluster, name)
        obj = self.objects[key]
        if obj.get("status") != status:
            self._store(key, obj | {"status": copy.deepcopy(status)})

    def plant(self, kind: Kind, body: Object) -> None:
        """Put an object there that somebody else has written."""
        meta = body["metadata"]
        self._store((kind, meta["namespace"], meta["name"]), copy.deepcopy(body))

    def vanish(self, kind: Kind, cluster: str, name: str) -> None:
        """Take an object away, whoever does it."""
        self.objects.pop((kind, cluster, name), None)
        next(self._versions)
        self._mirror(kind).waiting.append(((cluster, name), None))

    def deliver(self) -> None:
        self.views.deliver()
        self.actions.deliver()

    @property
    def writes(self) -> int:
        return sum(not line.startswith("get ") for line in self.trace)

    @property
    def reads(self) -> int:
        return sum(line.startswith("get ") for line in self.trace)

    def _store(self, key: tuple[Kind, str, str], obj: Object) -> None:
        meta = obj["metadata"] | {"resourceVersion": str(next(self._versions))}
        self.objects[key] = obj | {"metadata": meta}
        kind, cluster, name = key
        self._mirror(kind).waiting.append(((cluster, name), copy.deepcopy(self.objects[key])))

    def _mirror(self, kind: Kind) -> Mirror[Any]:
        return self.views if kind is VIEW else self.actions

    def _log(self, verb: str, name: str) -> None:
        self.trace.append(f"{verb} {name}")
        if self.outages and self.outages[0] != LOST_ANSWER and (failure := self.outages.pop(0)):
            raise Unreachable(verb, name, 0, failure)

    def _lose_answer(self, verb: str, name: str) -> None:
        if self.outages and self.outages[0] == LOST_ANSWER:
            raise Unreachable(verb, name, 0, self.outages.pop(0))
