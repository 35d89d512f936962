"""A small API server that behaves: storage, versions, watches, and faults on request.

It knows what the tests of talm.kube need and nothing of kinds; what Kubernetes itself does is
tested on the real one (tests/integration).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from talm.api.kinds import Kind

Hook = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
Fault = Callable[["ApiServer", web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Target:
    """What a URL path names."""

    collection: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Entry:
    """One change in the history."""

    version: int
    collection: str
    type: str
    object: dict[str, Any]

    @property
    def line(self) -> bytes:
        return json.dumps({"type": self.type, "object": self.object}).encode() + b"\n"


def parse(path: str) -> Target:
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return Target(parts[0], namespace, parts[1] if len(parts) > 1 else "")


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def refuse(code: int, reason: str, message: str = "", **headers: str) -> web.Response:
    body = failure(code, reason, message or reason)
    return web.json_response(body, status=code, headers=headers)


def merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = value


class ApiServer:
    """Objects by (collection, namespace, name); every change has a version of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.version = 100
        self.history: list[Entry] = []
        self.oldest = 0  # changes up to this version are forgotten
        self.missing: set[str] = set()  # collections that are not served
        self.watch_faults: deque[Fault] = deque()
        self.watched_from: list[str] = []  # the resourceVersion of each watch, in order
        self.lists = 0
        self.hook: Hook | None = None  # sees every request first
        self._unread: dict[str, tuple[int, list[dict[str, Any]]]] = {}  # lists by continue token
        self._generation = 0
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self, **site: Any) -> AsyncIterator[ApiServer]:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, **site).start()
        scheme = "https" if site.get("ssl_context") else "http"
        self.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    # what happens on the server

    def put(self, kind: Kind, name: str, namespace: str = "ns", **fields: Any) -> dict[str, Any]:
        """Create or change an object."""
        key = (kind.plural, namespace, name)
        body: dict[str, Any] = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": namespace},
            **fields,
        }
        return self._store(key, body)

    def delete(self, kind: Kind, name: str, namespace: str = "ns") -> None:
        self._drop((kind.plural, namespace, name))

    def compact(self) -> None:
        """Forget the past: who resumes from there is told 410."""
        self.version += 1
        self.oldest = self.version
        self.history.clear()
        self._unread.clear()

    def end_watches(self) -> None:
        """Close every watch, as a restart or the end of its kind does."""
        self._generation += 1
        self._wake()

    def truth(self, kind: Kind) -> dict[tuple[str, str], dict[str, Any]]:
        return {(k[1], k[2]): o for k, o in self.objects.items() if k[0] == kind.plural}

    def _store(self, key: tuple[str, str, str], body: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        stored = copy.deepcopy(dict(body))
        old = self.objects.get(key)
        meta = stored.setdefault("metadata", {})
        meta["uid"] = old["metadata"]["uid"] if old else f"uid-{self.version}"
        meta["resourceVersion"] = str(self.version)
        self.objects[key] = stored
        self._record(key[0], "MODIFIED" if old else "ADDED", stored)
        return stored

    def _drop(self, key: tuple[str, str, str]) -> None:
        self.version += 1
        gone = copy.deepcopy(self.objects.pop(key))
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._record(key[0], "DELETED", gone)

    def _record(self, collection: str, what: str, body: dict[str, Any]) -> None:
        self.history.append(Entry(self.version, collection, what, copy.deepcopy(body)))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # what is asked of it

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.hook is not None:
            answer = await self.hook(request)
            if answer is not None:
                return answer
        target = parse(request.path)
        if target.collection in self.missing:
            return refuse(404, "NotFound", "the server could not find the requested resource")
        if request.query.get("watch") == "true":
            self.watched_from.append(request.query["resourceVersion"])
            if self.watch_faults:
                return await self.watch_faults.popleft()(self, request)
            return await self.stream(request)
        if request.method == "GET" and not target.name:
            return self._list(request, target)
        return await self._one(request, target)

    def _list(self, request: web.Request, target: Target) -> web.Response:
        token = request.query.get("continue", "")
        if token:
            if token not in self._unread:
                return refuse(410, "Expired", "The provided continue parameter is too old")
            version, found = self._unread.pop(token)
        else:
            self.lists += 1
            version, found = self.version, self._snapshot(target)
        meta = {"resourceVersion": str(version)}
        limit = int(request.query.get("limit", "0")) or len(found)
        if len(found) > limit:
            meta["continue"] = f"{version}-{len(found)}-{self.lists}"
            self._unread[meta["continue"]] = version, found[limit:]
        return web.json_response({"metadata": meta, "items": found[:limit]})

    def _snapshot(self, target: Target) -> list[dict[str, Any]]:
        return [
            copy.deepcopy(o)
            for k, o in sorted(self.objects.items())
            if k[0] == target.collection and target.namespace in ("", k[1])
        ]

    async def _one(self, request: web.Request, target: Target) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        name = target.name or body["metadata"]["name"]
        key = (target.collection, target.namespace, name)
        old = self.objects.get(key)
        if request.method == "POST":
            if old is not None:
                return refuse(409, "AlreadyExists", f"{name} already exists")
            return web.json_response(self._store(key, body), status=201)
        if old is None:
            return refuse(404, "NotFound", f"{name} not found")
        return self._existing(request.method, key, old, body)

    def _existing(
        self, method: str, key: tuple[str, str, str], old: dict[str, Any], body: dict[str, Any]
    ) -> web.Response:
        now = old["metadata"]["resourceVersion"]
        match method:
            case "GET":
                return web.json_response(old)
            case "DELETE":
                self._drop(key)
                return web.json_response({"kind": "Status", "status": "Success"})
            case "PUT" if body["metadata"].get("resourceVersion", now) != now:
                return refuse(409, "Conflict", "the object has been modified")
            case "PUT":
                return web.json_response(self._store(key, body))
            case _:
                changed = copy.deepcopy(old)
                merge(changed, body)
                return web.json_response(self._store(key, changed))

    async def stream(self, request: web.Request, events: int | None = None) -> web.StreamResponse:
        """Answer a watch; return after so many events (None: never), the stream still open."""
        target = parse(request.path)
        seen = int(request.query["resourceVersion"])
        if seen < self.oldest:
            return refuse(410, "Expired", "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        generation = self._generation
        while (events is None or events > 0) and generation == self._generation:
            changed = self._changed
            news = [e for e in self.history if e.version > seen]
            for entry in news[:events]:
                seen = entry.version
                if entry.collection == target.collection:
                    await response.write(entry.line)
                    events = None if events is None else events - 1
            if not news:
                await changed.wait()
        return response


def write_kubeconfig(path: Path, server: str, user: Mapping[str, Any], **cluster: Any) -> Path:
    """A kubeconfig with one context."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "hub", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": dict(user)}],
        "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": "me"}}],
        "current-context": "hub",
    }
    path.write_text(yaml.safe_dump(config))
    return path
