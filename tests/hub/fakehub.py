"""A hub in memory that behaves: it stores, merges, versions, watches, and refuses on request.

It stands in for `talm.kube.client.Client`; what the API server itself does with a request is tested
on the real one (tests/integration).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

import msgspec

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import AlreadyExists, ApiError, Conflict, NotFound
from talm.hub.store import Store
from talm.kube.client import Client, Page
from tests.kube.waiting import PATIENCE_S, until_true

Json = dict[str, Any]
Where = tuple[str, str, str]  # plural, namespace, name


def merge(target: Json, patch: Mapping[str, Any]) -> Json:
    """RFC 7386."""
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            below = target.get(name)
            target[name] = merge(below if isinstance(below, dict) else {}, value)
        else:
            target[name] = value
    return target


class FakeHub:
    """Objects by (plural, namespace, name); `writes` are the requests that changed something."""

    def __init__(self) -> None:
        self.server = "https://fake"
        self.objects: dict[Where, Json] = {}
        self.writes: list[tuple[str, str, str]] = []  # verb, plural, name
        self.refusals: dict[tuple[str, str], Exception] = {}  # (verb, plural or name) -> error
        self.pruned: tuple[str, ...] = ()  # fields of status.precaching that the CRD does not know
        self.version = 100
        self.news_flow = asyncio.Event()  # cleared: watches lag behind
        self.news_flow.set()
        self._history: list[tuple[int, str, str, Json]] = []
        self._changed = asyncio.Event()
        self._positions: dict[object, int] = {}

    @property
    def client(self) -> Client:
        """This hub where a client is asked for."""
        return cast(Client, self)

    # what happens on it

    def put(self, kind: Kind, name: str, namespace: str = "", /, **fields: Any) -> Json:
        """Create or replace an object; `metadata` adds to what it has."""
        meta = {"name": name} | ({"namespace": namespace} if namespace else {})
        meta |= fields.pop("metadata", {})
        return self._store((kind.plural, namespace, name), {"metadata": meta, **fields})

    def remove(self, kind: Kind, name: str, namespace: str = "") -> None:
        self._drop((kind.plural, namespace, name))

    def truth(self, kind: Kind, name: str, namespace: str = "") -> Json:
        return self.objects[kind.plural, namespace, name]

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for plural, _, name in self.objects if plural == kind.plural)

    def _store(self, where: Where, body: Json) -> Json:
        self.version += 1
        old = self.objects.get(where)
        stored = copy.deepcopy(body)
        meta = stored["metadata"]
        meta["uid"] = old["metadata"]["uid"] if old else meta.get("uid", f"uid-{self.version}")
        meta["resourceVersion"] = str(self.version)
        self.objects[where] = stored
        self._record(where[0], "MODIFIED" if old else "ADDED", stored)
        return copy.deepcopy(stored)

    def _drop(self, where: Where) -> None:
        self.version += 1
        gone = self.objects.pop(where)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._record(where[0], "DELETED", gone)

    def _record(self, plural: str, what: str, body: Json) -> None:
        self._history.append((self.version, plural, what, copy.deepcopy(body)))
        self._changed.set()
        self._changed = asyncio.Event()

    # what is asked of it

    def _asked(self, verb: str, kind: Kind, name: str) -> None:
        for refused in (kind.plural, name):
            if (verb, refused) in self.refusals:
                raise self.refusals[verb, refused]
        self.writes.append((verb, kind.plural, name))

    def _existing(self, verb: str, where: Where) -> Json:
        try:
            return copy.deepcopy(self.objects[where])
        except KeyError:
            raise NotFound(verb, "/".join(where), 404, "not found") from None

    async def serves(self, kind: Kind) -> bool:
        return True

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        return self._existing("GET", (kind.plural, namespace, name))

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> Json:
        meta = body["metadata"]
        self._asked("create", kind, meta["name"])
        where = (kind.plural, meta.get("namespace", ""), meta["name"])
        if where in self.objects:
            raise AlreadyExists("POST", "/".join(where), 409, "already exists")
        return self._store(where, dict(body))

    async def apply(self, kind: Kind, body: Mapping[str, Any], *, field_manager: str) -> Json:
        meta = body["metadata"]
        self._asked("apply", kind, meta["name"])
        where = (kind.plural, meta.get("namespace", ""), meta["name"])
        old = self.objects.get(where, {"metadata": {}})
        return self._store(where, merge(copy.deepcopy(old), body))

    async def merge_patch(
        self, kind: Kind, name: str, patch: Mapping[str, Any], namespace: str = ""
    ) -> Json:
        self._asked("patch", kind, name)
        where = (kind.plural, namespace, name)
        old = self._existing("PATCH", where)
        expected = patch.get("metadata", {}).get("resourceVersion")
        if expected is not None and expected != old["metadata"]["resourceVersion"]:
            raise Conflict("PATCH", name, 409, "the object has been modified")
        merge(old, patch)
        if old["metadata"].get("deletionTimestamp") and not old["metadata"].get("finalizers"):
            self._drop(where)
            return old
        return self._store(where, old)

    async def request(
        self, verb: str, path: str, *, body: Mapping[str, Any], content_type: str
    ) -> bytes:
        """The status patch of a CGU, the one request that is sent by its path."""
        assert (verb, content_type) == ("PATCH", "application/merge-patch+json")
        *_, namespace, plural, name, subresource = path.split("/")
        assert (plural, subresource) == (kinds.CGU.plural, "status")
        self._asked("status", kinds.CGU, name)
        where = (plural, namespace, name)
        old = self._existing(verb, where)
        merge(old, {"status": body["status"]})
        for field in self.pruned:
            old["status"].get("precaching", {}).pop(field, None)
        if old == self.objects[where]:
            return json.dumps(old).encode()  # nothing changed: no new version, no event
        return json.dumps(self._store(where, old)).encode()

    async def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        self._asked("delete", kind, name)
        where = (kind.plural, namespace, name)
        self._existing("DELETE", where)
        self._drop(where)

    async def pages(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncIterator[Page]:
        found = [
            msgspec.Raw(json.dumps(o).encode())
            for (plural, _, _), o in self.objects.items()
            if plural == kind.plural and selects(label_selector, field_selector, o)
        ]
        yield Page(found, str(self.version))

    async def watch(
        self,
        kind: Kind,
        resource_version: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        idle_s: float = 90.0,
    ) -> AsyncGenerator[list[bytes], None]:
        me, seen = object(), int(resource_version)
        try:
            while True:
                await self.news_flow.wait()
                changed, until = self._changed, self.version
                news = [
                    json.dumps({"type": what, "object": body}).encode()
                    for version, plural, what, body in self._history
                    if version > seen
                    and plural == kind.plural
                    and selects(label_selector, field_selector, body)
                ]
                seen = until
                if news:
                    yield news
                self._positions[me] = seen
                if seen == self.version:
                    await changed.wait()
        finally:
            self._positions.pop(me, None)

    async def heard(self) -> None:
        """Wait until all watches have told what has happened so far."""
        await until_true(
            lambda: bool(self._positions) and min(self._positions.values()) == self.version
        )


def selects(labels: str, fields: str, obj: Mapping[str, Any]) -> bool:
    """Selectors as the store uses them: a label's presence or absence, and a name."""
    has = obj["metadata"].get("labels") or {}
    if labels and (labels.lstrip("!") in has) is labels.startswith("!"):
        return False
    return not fields or fields == f"metadata.name={obj['metadata']['name']}"


@contextlib.asynccontextmanager
async def followed(hub: FakeHub, store: Store) -> AsyncIterator[Store]:
    """A store that follows this hub; everything that is on it has been listed."""
    running = asyncio.create_task(store.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await store.wait_synced()
        # every list has become a watch
        await until_true(lambda: len(hub._positions) == len(store.informers))
        yield store
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def refusal(status: int = 500, message: str = "etcd is sad") -> ApiError:
    """What a request may be answered with."""
    return ApiError("WRITE", "object", status, message)
