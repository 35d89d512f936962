"""A hub without API server: objects with versions and a watch, for agents under test.

Behaves where the agents can tell: uid and resourceVersion guard a PUT, a write that changes
nothing makes no event and no new version, a status write leaves the rest alone;
what has finalizers goes when the last one does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from talm.api.kinds import Kind
from talm.errors import AlreadyExists, Conflict, NotFound, Unreachable
from talm.sim.agents.mergepatch import apply_patch

Key = tuple[str, str]
DELETED_AT = "2024-05-01T12:00:00Z"
Watcher = Callable[[str, str, Any], None]


class FakeHub:
    """Objects by kind and (namespace, name); `watch` decodes to the struct given."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str, str]] = []  # verb, plural, name: what a log would show
        self.unreachable = False
        self._objects: dict[Kind, dict[Key, dict[str, Any]]] = {}
        self._watchers: dict[Kind, list[tuple[type[Any], Watcher]]] = {}
        self._version = 0

    def watch(self, kind: Kind, struct: type[Any], tell: Watcher) -> None:
        self._watchers.setdefault(kind, []).append((struct, tell))

    def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        found = self._objects.get(kind, {}).get((namespace, name))
        if found is None:
            raise NotFound("GET", name, 404, f'{kind.resource} "{name}" not found')
        return found

    def list(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
        objects = self._objects.get(kind, {})
        return [o for (n, _), o in sorted(objects.items()) if namespace in ("", n)]

    def put(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Create or overwrite without a request: the test's own hand."""
        meta = body["metadata"]
        old = self._objects.get(kind, {}).get((meta.get("namespace", ""), meta["name"]))
        self._store(kind, {**body, "metadata": {**(old or {}).get("metadata", {}), **meta}})

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        meta = body["metadata"]
        self._note("POST", kind, meta["name"])
        if (meta.get("namespace", ""), meta["name"]) in self._objects.get(kind, {}):
            text = f'{kind.resource} "{meta["name"]}" already exists'
            raise AlreadyExists("POST", meta["name"], 409, text)
        return self._store(kind, json.loads(msgspec.json.encode(body)))

    async def replace(
        self, kind: Kind, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        meta = body["metadata"]
        self._note("PUT", kind, meta["name"])
        old = self.get(kind, meta["name"], meta.get("namespace", ""))
        for guard in ("uid", "resourceVersion"):
            if meta.get(guard) not in (None, "", old["metadata"][guard]):
                raise Conflict("PUT", meta["name"], 409, "the object has been modified")
        sent = json.loads(msgspec.json.encode(body))
        new = {**old, "status": sent["status"]} if subresource else {**sent}
        return self._store(kind, new) if new != old else old

    async def merge_patch(
        self,
        kind: Kind,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> dict[str, Any]:
        self._note("PATCH", kind, name)
        old = self.get(kind, name, namespace)
        wanted = json.loads(msgspec.json.encode(patch))
        guard = (wanted.get("metadata") or {}).get("resourceVersion")
        if guard not in (None, old["metadata"]["resourceVersion"]):
            raise Conflict("PATCH", name, 409, "the object has been modified")
        new = apply_patch(old, wanted)
        if new == old:
            return old
        if new.get("spec") != old.get("spec"):
            generation = old["metadata"]["generation"] + 1
            new = {**new, "metadata": {**new["metadata"], "generation": generation}}
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            self.remove(kind, name, namespace)
            return dict(new)
        return self._store(kind, new)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        self._note("DELETE", kind, name)
        old = self.get(kind, name, namespace)
        meta = old["metadata"]
        if uid and uid != meta["uid"]:
            raise Conflict("DELETE", name, 409, "the UID in the precondition differs")
        if not meta.get("finalizers"):
            self.remove(kind, name, namespace)
        elif "deletionTimestamp" not in meta:
            self._store(kind, {**old, "metadata": {**meta, "deletionTimestamp": DELETED_AT}})

    def remove(self, kind: Kind, name: str, namespace: str = "") -> None:
        self.get(kind, name, namespace)
        del self._objects[kind][namespace, name]
        for _, tell in self._watchers.get(kind, ()):
            tell(namespace, name, None)

    def _note(self, verb: str, kind: Kind, name: str) -> None:
        if self.unreachable:
            raise Unreachable(verb, name, 0, "connection refused")
        self.writes.append((verb, kind.plural, name))

    def _store(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        self._version += 1
        meta = {"uid": f"uid-{self._version}", "generation": 1, **body["metadata"]}
        obj = {**body, "metadata": {**meta, "resourceVersion": str(self._version)}}
        self._objects.setdefault(kind, {})[meta.get("namespace", ""), meta["name"]] = obj
        for struct, tell in self._watchers.get(kind, ()):
            decoded = msgspec.json.decode(msgspec.json.encode(obj), type=struct)
            tell(meta.get("namespace", ""), meta["name"], decoded)
        return obj
