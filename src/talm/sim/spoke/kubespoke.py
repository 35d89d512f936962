"""A spoke with a real API server, behind the same seam as the in-memory one.

Job status and namespace deletion are Kubernetes' own there.  Decided here: only how our
client's errors are worded, because client-go words two of them itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlsplit

import msgspec

from talm.api.kinds import Kind
from talm.api.meta import Object
from talm.errors import ApiError, NotFound, Unreachable
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.sim.spoke import spokes
from talm.sim.spoke.spokes import Served

MERGE_PATCH: Final = "application/merge-patch+json"
_VERBS: Final = {"GET": "Get", "POST": "Post", "PATCH": "Patch", "DELETE": "Delete"}


class _Resource(msgspec.Struct, rename="camel"):
    name: str
    kind: str
    singular_name: str = ""
    namespaced: bool = False


class _Resources(msgspec.Struct):
    resources: list[_Resource] = []


class _Version(msgspec.Struct):
    version: str


class _Group(msgspec.Struct, rename="camel"):
    name: str
    versions: list[_Version]
    preferred_version: _Version


class _Groups(msgspec.Struct):
    groups: list[_Group] = []


class KubeSpoke:
    """Implements SpokeApi over a client that is connected to the spoke."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def discover(self) -> Sequence[Served]:
        """See SpokeApi.  One request per group version."""
        found = list(await self.discover_version("", "v1"))
        answer = await self._request("GET", "/apis")
        for group in msgspec.json.decode(answer, type=_Groups).groups:
            preferred = group.preferred_version.version
            others = [v.version for v in group.versions if v.version != preferred]
            for version in (preferred, *others):
                found.extend(await self.discover_version(group.name, version))
        return found

    async def discover_version(self, group: str, version: str) -> Sequence[Served]:
        """See SpokeApi."""
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            answer = await self._request("GET", path)
        except NotFound:
            return []
        return [
            Served(Kind(group, version, one.kind, one.name, one.namespaced), _singular(one))
            for one in msgspec.json.decode(answer, type=_Resources).resources
            if "/" not in one.name
        ]

    async def get(self, kind: Kind, namespace: str, name: str) -> Mapping[str, Any]:
        """See SpokeApi."""
        spokes.check_segments(namespace, name)
        answer = await self._request("GET", _path(kind, namespace, name))
        found: dict[str, Any] = msgspec.json.decode(answer)
        return found

    async def create(self, kind: Kind, namespace: str, body: Mapping[str, Any]) -> None:
        """See SpokeApi."""
        spokes.check_segments(namespace, None)
        await self._request("POST", _path(kind, namespace), body)

    async def merge_patch(
        self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> None:
        """See SpokeApi."""
        spokes.check_segments(namespace, name)
        await self._request("PATCH", _path(kind, namespace, name), patch)

    async def delete(self, kind: Kind, namespace: str, name: str, propagation: str) -> None:
        """See SpokeApi."""
        spokes.check_segments(namespace, name)
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        await self._request("DELETE", _path(kind, namespace, name), options)

    def follow(
        self, kind: Kind, namespace: str, on_change: Callable[[str], None]
    ) -> Callable[[], None]:
        """See SpokeApi."""

        def tell(key: tuple[str, str], _old: Object | None, new: Object | None) -> None:
            if new is not None:
                on_change(key[1])

        informer = Informer(self._client, kind, Object, tell, namespace=namespace)
        following = asyncio.get_running_loop().create_task(informer.run())
        return lambda: _end(following)

    async def _request(self, verb: str, path: str, body: object = None) -> bytes:
        content = MERGE_PATCH if verb == "PATCH" else "application/json"
        try:
            return await self._client.request(verb, path, body=body, content_type=content)
        except ApiError as exc:
            self._reword(verb, path, exc)

    def _reword(self, verb: str, path: str, exc: ApiError) -> NoReturn:
        if isinstance(exc, Unreachable):
            host = urlsplit(self._client.server).netloc
            text = f'{_VERBS[verb]} "{self._client.server}{path}": dial tcp {host}: connect: '
            raise Unreachable(verb, path, 0, text + "connection refused") from exc
        if isinstance(exc, NotFound) and not exc.reason:
            # a URL without a handler is answered in plain text
            raise NotFound(verb, path, 404, spokes.NO_ROUTE, reason="NotFound") from exc
        raise exc


def _end(task: asyncio.Task[None]) -> None:
    task.cancel()


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    parts = [f"/apis/{kind.group}" if kind.group else "/api", kind.version]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    return "/".join([*parts, kind.plural, *([quote(name, safe="")] if name else [])])


def _singular(one: _Resource) -> str:
    return one.singular_name or one.kind.lower()
