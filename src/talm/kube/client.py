"""The API server's verbs on the kinds of api/kinds.py: plain dicts to write, bytes to watch.

Decided here: URL, content type and meaning of each verb.
Not here: how a request is sent (transport.py), retries (the callers), caches (watch.py).
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import aiohttp
import msgspec

from talm.api.kinds import Kind
from talm.errors import ApiError, Bug, Gone, NotFound
from talm.kube.credentials import Credentials
from talm.kube.kubeconfig import find_source
from talm.kube.transport import CONNECT_TIMEOUT_S, Call, Transport

PAGE_LIMIT: Final = 500
# A watch is ended by the API server after 4 to 5 minutes: spread, so that the watches of a
# process that lost its API server once do not come back in step for ever.
WATCH_TIMEOUT_S: Final = (240, 300)
REQUEST_TIMEOUT_S: Final = 30.0
# The API server sends a bookmark every 60 s (measured: 60.2 s); half as much again is silence.
IDLE_S: Final = 90.0

# Client has a method `list`, so the type needs other names inside it.
Objects = list[dict[str, Any]]
Lines = list[bytes]

D = TypeVar("D")

_MERGE_PATCH: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class Page(msgspec.Struct):
    """One page of a list.  An item pins the whole page in memory: decode it, do not keep it."""

    items: list[msgspec.Raw]
    resource_version: str


class Client(Transport):
    """One API server.  Every method raises ApiError and CredentialError; none repeats a write."""

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None = None, *, user_agent: str, context: str | None = None
    ) -> Self:
        """Find the API server; nothing is sent and no credential plugin runs yet.

        Looks at `kubeconfig`, else $KUBECONFIG, ~/.kube/config, the pod's service account.
        Raises CredentialError.
        """
        source = find_source(kubeconfig, context)
        return cls(Credentials(source), server=source.server(), user_agent=user_agent)

    async def get(
        self, kind: Kind, name: str, namespace: str = "", *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> dict[str, Any]:
        """Read one object; raises NotFound."""
        path = _object_path(kind, namespace, name)
        return await self._object("GET", path, timeout_s=timeout_s)

    async def list(
        self, kind: Kind, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Objects:
        """Read all objects, page by page; namespace "" means all namespaces."""
        try:
            return await self._list(kind, namespace, label_selector, field_selector, PAGE_LIMIT)
        except Gone:
            # The list is older than what etcd keeps; client-go's pager also asks for all then.
            return await self._list(kind, namespace, label_selector, field_selector, 0)

    async def _list(
        self, kind: Kind, namespace: str, labels: str, fields: str, limit: int
    ) -> Objects:
        found = self.pages(
            kind, namespace, label_selector=labels, field_selector=fields, limit=limit
        )
        path = kind.path(namespace)
        return [_decode(i, dict[str, Any], path) async for page in found for i in page.items]

    async def create(
        self, kind: Kind, body: Mapping[str, Any], *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> dict[str, Any]:
        """Create an object in the namespace that it names; raises AlreadyExists."""
        path = _object_path(kind, body["metadata"].get("namespace", ""))
        full = _with_type(kind, body)
        return await self._object("POST", path, body=full, timeout_s=timeout_s)

    async def replace(
        self, kind: Kind, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        """Write an object as a whole; raises Conflict when its resourceVersion is not the last."""
        path = _path_of(kind, body, subresource)
        return await self._object("PUT", path, body=_with_type(kind, body))

    async def merge_patch(
        self,
        kind: Kind,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> dict[str, Any]:
        """Change the fields in `patch` (None removes one; a list is replaced as a whole)."""
        path = _object_path(kind, namespace, name, subresource)
        return await self._object("PATCH", path, body=patch, content_type=_MERGE_PATCH)

    async def apply(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> dict[str, Any]:
        """Server-side apply: own exactly the fields in `body`.

        `force` takes fields from other managers; without it they are a Conflict.
        """
        return await self._object(
            "PATCH",
            _path_of(kind, body, subresource),
            params={"fieldManager": field_manager, "force": "true" if force else "false"},
            body=_with_type(kind, body),
            content_type=_APPLY,
        )

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """Ask for the deletion of an object; finalizers may keep it for a while.

        With `uid` only that very object: another of the same name is a Conflict.
        Raises NotFound.
        """
        options = _delete_options(propagation)
        if uid:
            options["preconditions"] = {"uid": uid}
        await self.request("DELETE", _object_path(kind, namespace, name), body=options)

    async def delete_collection(
        self, kind: Kind, namespace: str = "", *, label_selector: str
    ) -> None:
        """Ask for the deletion of all objects with these labels, in one namespace.

        The API server does not do this over all namespaces.
        """
        if not label_selector:
            raise Bug(f"delete_collection of {kind} without a selector would delete all")
        await self.request(
            "DELETE",
            _object_path(kind, namespace),
            params={"labelSelector": label_selector},
            body=_delete_options("Background"),
        )

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server serves this kind now (discovery; not cached)."""
        path = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        try:
            found = await self._object("GET", path)
        except NotFound:
            return False
        return any(r.get("name") == kind.plural for r in found.get("resources") or ())

    async def _object(self, verb: str, path: str, **options: Any) -> dict[str, Any]:
        return _decode(await self.request(verb, path, **options), dict[str, Any], path)

    async def pages(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE_LIMIT,
    ) -> AsyncIterator[Page]:
        """Read a list page by page (`limit` 0: all at once); all pages show one moment.

        Raises Gone when that moment is older than what the API server keeps: begin again.
        """
        params = _selectors(label_selector, field_selector)
        if limit:
            params["limit"] = str(limit)
        path = kind.path(namespace)
        while True:
            answer = await self.request("GET", path, params=params)
            found = _decode(answer, _List, path)
            yield Page(found.items or [], found.metadata.resource_version)
            if not found.metadata.continue_:
                return
            params["continue"] = found.metadata.continue_

    async def watch(
        self,
        kind: Kind,
        resource_version: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        idle_s: float = IDLE_S,
    ) -> AsyncGenerator[Lines, None]:
        """Follow changes after `resource_version`: batches of JSON lines, whole ones, of any size.

        The first batch is empty: the API server has taken the watch up, nothing was missed so far.
        Ends when the API server ends it (every few minutes).  Raises Unreachable when nothing,
        not even a bookmark, is heard for `idle_s`, and Gone at the start; an ERROR line later is
        the caller's to read.
        """
        params = _selectors(label_selector, field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*WATCH_TIMEOUT_S)),  # noqa: S311 - spreads load
        }
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=idle_s
        )
        path = kind.path(namespace)
        async with self.open(Call("GET", path, timeout, params)) as response:
            yield []
            unfinished: list[bytes] = []
            async for data in response.content.iter_any():
                head, newline, rest = data.rpartition(b"\n")
                if not newline:
                    unfinished.append(data)
                    continue
                lines = b"".join((*unfinished, head)).split(b"\n")
                unfinished = [rest] if rest else []
                yield [line for line in lines if line]


def _object_path(kind: Kind, namespace: str, name: str = "", subresource: str = "") -> str:
    if kind.namespaced and not namespace:
        raise Bug(f"{kind} {name}: a namespace is needed")
    return kind.path(namespace, name, subresource)


def _path_of(kind: Kind, body: Mapping[str, Any], subresource: str) -> str:
    metadata = body["metadata"]
    return _object_path(kind, metadata.get("namespace", ""), metadata["name"], subresource)


def _with_type(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **body}


def _decode(answer: bytes | msgspec.Raw, kind: type[D], path: str) -> D:
    try:
        return msgspec.json.decode(answer, type=kind)
    except ValueError as exc:  # msgspec.DecodeError is one, as bytes that are no UTF-8 are
        shown = bytes(answer[:200]).decode("utf-8", "replace")
        why = f"the answer is not the API server's: {exc}: {shown!r}; is a proxy in between?"
        raise ApiError("READ", path, 200, why) from exc


def _delete_options(propagation: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}


def _selectors(labels: str, fields: str) -> dict[str, str]:
    selectors = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in selectors.items() if value}
