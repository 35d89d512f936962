"""The objects of one in-memory spoke, with the bookkeeping of an API server.

Objects are never changed in place: each change makes a new one with a new resourceVersion, so
what was handed out stays what it was.  No rules here: who may do what is `memoryspoke`'s.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from talm.api.kinds import Kind
from talm.sim.clock import Clock

Object: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]  # namespace ("" for cluster-scoped), name


class ObjectStore:
    """Objects by kind, namespace and name.  `seed` makes the uids repeatable."""

    def __init__(self, clock: Clock, *, seed: str) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._version = 0
        self._objects: dict[Kind, dict[Key, Object]] = {}
        self.followers: list[Callable[[Kind, Object], None]] = []
        """Called with each new version of an object."""

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object as it is now."""
        return self._objects.get(kind, {}).get((namespace, name))

    def add(self, kind: Kind, namespace: str, body: Mapping[str, Any]) -> Object:
        """Store a new object with uid, creationTimestamp and resourceVersion of its own."""
        stamp = self._clock.stamp()
        given = body.get("metadata") or {}
        meta = {
            **{key: given[key] for key in ("labels", "annotations", "finalizers") if key in given},
            "name": given.get("name", ""),
            "uid": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "creationTimestamp": stamp,
            "managedFields": [_managed(kind, stamp)],
        }
        if namespace:
            meta["namespace"] = namespace
        return self.put(kind, {**body, "metadata": meta})

    def put(self, kind: Kind, obj: Object) -> Object:
        """Store the next version of an object."""
        self._version += 1
        meta = {**obj["metadata"], "resourceVersion": str(self._version)}
        stored = {**obj, "metadata": meta}
        key = (meta.get("namespace", ""), meta["name"])
        self._objects.setdefault(kind, {})[key] = stored
        for tell in tuple(self.followers):
            tell(kind, stored)
        return stored

    def put_status(self, kind: Kind, obj: Object, status: Mapping[str, Any]) -> Object | None:
        """Store `status` on the current version of `obj`; None when that very object is gone."""
        meta = obj["metadata"]
        current = self.find(kind, meta.get("namespace", ""), meta["name"])
        if current is None or current["metadata"]["uid"] != meta["uid"]:
            return None
        return self.put(kind, {**current, "status": dict(status)})

    def drop(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Remove the object; returns what was there."""
        return self._objects.get(kind, {}).pop((namespace, name), None)

    def inside(self, namespace: str) -> Iterator[tuple[Kind, Object]]:
        """Everything in a namespace."""
        for kind, objects in list(self._objects.items()):
            for (where, _), obj in list(objects.items()):
                if where == namespace:
                    yield kind, obj

    def all(self, kind: Kind) -> list[Object]:
        """All objects of a kind, oldest key first."""
        return list(self._objects.get(kind, {}).values())


def _managed(kind: Kind, stamp: str) -> Mapping[str, Any]:
    return {
        "manager": "agent",
        "operation": "Update",
        "apiVersion": kind.api_version,
        "time": stamp,
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    }
