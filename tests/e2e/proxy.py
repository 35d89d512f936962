"""A gate between one cluster's agents and an API server: it notes what is asked, and fails it as
the script wants.

Plain HTTP on the agents' side, so that requests can be read; TLS with the agents' identity on
the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
from aiohttp import web

from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.identities import ADMIN, Authority
from talm.sim.plane.listen import LOOPBACK, ReservedPort

from .journal import Faults, Journal, Request, Side

_DROPPED: Final = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}
_WRITES_STATUS: Final = "status"


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What a URL of the Kubernetes API is about; `plural` "" is discovery."""

    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def asked(path: str) -> Asked:
    """Take a path apart."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[0] not in ("api", "apis") or not rest:
        return Asked()
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    else:
        namespace = ""
    return Asked(rest[0], namespace, *rest[1:3])


def now() -> dt.datetime:
    """The machine's time."""
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)


class _Watch:
    """A watch that is passed on; frozen, nothing of it arrives any more."""

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        self.frozen = False


class Gate:
    """Serves `server`; `open` and `close` it as often as needed, always on the same port."""

    def __init__(self, side: Side, plane: ControlPlane, journal: Journal, faults: Faults) -> None:
        self._side = side
        self._upstream = plane.server
        self._context = _identity(plane)
        self._journal = journal
        self._faults = faults
        self._port = ReservedPort()
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._watches: set[_Watch] = set()
        self.expired = 0
        """How many watches are yet to be told that they come too late to go on."""

    @property
    def server(self) -> str:
        """Its base URL."""
        return f"http://{LOOPBACK}:{self._port.number}"

    async def open(self) -> None:
        """Let requests through."""
        connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        )
        # a watch ends with whoever watches, not with its next event
        server = web.Server(self._serve, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, self._port.number, reuse_port=True)
        await site.start()

    async def close(self) -> None:
        """End every connection; new ones are refused."""
        if self._runner is not None:
            for watch in list(self._watches):
                _hang_up(watch.request)
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        self._runner = self._session = None

    async def release(self) -> None:
        """End for good."""
        await self.close()
        self._port.release()

    async def watched(self, count: int) -> None:
        """Wait until exactly so many watches are open."""
        async with asyncio.timeout(60.0):
            while len(self._watches) != count:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.02)

    def freeze_watches(self) -> None:
        """What is watched now brings nothing any more."""
        for watch in self._watches:
            watch.frozen = True

    def thaw_watches(self) -> None:
        """Hang the frozen ones up."""
        for watch in list(self._watches):
            if watch.frozen:
                _hang_up(watch.request)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        what, body = asked(request.path), await request.read()
        if request.query.get("watch"):
            return await self._follow(request)
        if request.method == "POST":
            name = (json.loads(body).get("metadata") or {}).get("name", "")
            what = dataclasses.replace(what, name=name)
        moment = now()
        if what.subresource == _WRITES_STATUS and self._faults.loses(what.name):
            self._note(request, what, 0, moment, body)
            return _failure(504, "Timeout", "the server was unable to return a response in time")
        text = self._faults.refusal(what.name) if self._side is Side.SPOKE else None
        refusal = _failure(403, "Forbidden", text) if text else None
        answer = refusal or await self._pass_on(request, body)
        self._note(request, what, answer.status, moment, body)
        return answer

    async def _pass_on(self, request: web.BaseRequest, body: bytes) -> web.Response:
        async with self._ask(request, body) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers=_kept(answer.headers)
            )

    async def _follow(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.expired:
            self.expired -= 1
            return _failure(410, "Expired", "too old resource version")
        watch = _Watch(request)
        self._watches.add(watch)
        try:
            async with self._ask(request, b"") as answer:
                stream = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
                await stream.prepare(request)
                async for chunk in answer.content.iter_any():
                    if not watch.frozen:
                        await stream.write(chunk)
                return stream
        finally:
            self._watches.discard(watch)

    @contextlib.asynccontextmanager
    async def _ask(
        self, request: web.BaseRequest, body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None
        async with self._session.request(
            request.method,
            self._upstream + request.raw_path,
            data=body or None,
            headers=_kept(request.headers),
            skip_auto_headers=("User-Agent", "Content-Type", "Accept-Encoding"),
        ) as answer:
            yield answer

    def _note(
        self, request: web.BaseRequest, what: Asked, code: int, moment: dt.datetime, body: bytes
    ) -> None:
        propagation = ""
        if request.method == "DELETE" and body:
            propagation = json.loads(body).get("propagationPolicy", "")
        self._journal.request(
            Request(
                self._side,
                request.method,
                what.plural,
                what.namespace,
                what.name,
                code,
                moment,
                propagation,
            )
        )


def _identity(plane: ControlPlane) -> ssl.SSLContext:
    """The agents' own credentials: both may do everything."""
    authority = Authority(plane.directory / "pki")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(*authority.client_pair(ADMIN))
    return context


def _kept(headers: Any) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in _DROPPED}


def _failure(code: int, reason: str, text: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return web.json_response({**status, "reason": reason, "message": text}, status=code)


def _hang_up(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
