"""A registry on loopback that serves what it was given, but for the faults that a test scripts.

A fault takes the place of one answer to a path that contains its key; the bytes of blobs that it
has sent are counted, since that is what a thin link costs.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from aiohttp import web

from talm.sim.images import SyntheticImage

TOKEN = "t0ken"  # noqa: S105
USER = "spoke:secret"


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """An answer without the content: a status and headers."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Cuts:
    """The connection is lost after so many bytes of the body; not `ranged`: of the whole blob."""

    after: int
    ranged: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Stalls:
    """After so many bytes nothing more comes."""

    after: int


@dataclasses.dataclass(frozen=True, slots=True)
class IgnoresRange:
    """A range request is answered with 200 and all of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class MovesRange:
    """A range request is answered with 206 and another range."""


@dataclasses.dataclass(frozen=True, slots=True)
class Changes:
    """The body is another one: of the same length when `body` is None."""

    body: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Expires:
    """At this request every token given so far has expired."""


Fault = Expires | Answers | Cuts | Stalls | IgnoresRange | MovesRange | Changes


class FaultyRegistry:
    def __init__(self) -> None:
        self.host = ""
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[tuple[str, deque[Fault]]] = []
        self.challenge = ""
        self.asked: list[str] = []
        self.sent: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.queries: list[str] = []
        self.scopes: list[str] = []
        self.blob_bytes = 0
        self._tokens = 0
        self._token = ""

    def add(self, image: SyntheticImage, *, tag: str = "") -> str:
        """Serve an image; returns its pull spec by digest (by tag when one is given)."""
        served = ("application/vnd.oci.image.manifest.v1+json", image.manifest)
        self.manifests[image.digest] = served
        self.blobs.update(image.blobs)
        if tag:
            self.manifests[tag] = served
            return f"{self.host}/{image.repository}:{tag}"
        return f"{self.host}/{image.repository}@{image.digest}"

    def fails(self, key: str, *faults: Fault) -> None:
        """Answer the next requests whose path contains `key` with `faults`, one each."""
        self.faults.append((key, deque(faults)))

    def wants_tokens(self) -> None:
        """From now on only a bearer token opens a repository, and the token only `USER` gets."""
        realm = f"http://{self.host}/token"
        self.challenge = f'Bearer realm="{realm}",service="faulty",scope="repository:x:pull"'
        self.forget_tokens()

    def wants_passwords(self) -> None:
        """From now on every request needs Basic credentials of `USER`."""
        self.challenge = 'Basic realm="faulty"'
        self._token = f"Basic {base64.b64encode(USER.encode()).decode()}"

    def forget_tokens(self) -> None:
        """Every token given so far has expired."""
        self._tokens += 1
        self._token = f"Bearer {TOKEN}{self._tokens}"

    async def token(self, request: web.Request) -> web.Response:
        self.scopes.append(request.query["scope"])
        fault = self._next_fault(request.path)
        if isinstance(fault, Answers):
            return web.Response(status=fault.status, headers=dict(fault.headers))
        if isinstance(fault, Changes):
            return web.Response(body=fault.body)
        expected = f"Basic {base64.b64encode(USER.encode()).decode()}"
        if request.headers.get("Authorization") != expected:
            return web.Response(status=HTTPStatus.UNAUTHORIZED)
        return web.json_response({"token": f"{TOKEN}{self._tokens}"})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.sent.append((request.host, request.headers.get("Authorization", "")))
        self.queries += [request.rel_url.raw_query_string] if request.query_string else []
        fault = self._next_fault(request.path)
        if isinstance(fault, Expires):
            self.forget_tokens()
        if self.challenge and request.headers.get("Authorization") != self._token:
            headers = {"WWW-Authenticate": self.challenge}
            return web.Response(status=HTTPStatus.UNAUTHORIZED, headers=headers)
        if isinstance(fault, Answers):
            return web.Response(status=fault.status, headers=dict(fault.headers))
        what, _, name = request.path.rpartition("/")
        if what.endswith("/manifests"):
            media_type, body = self.manifests.get(name, ("", b""))
            return self._manifest(media_type, body, fault)
        return await self._blob(request, self.blobs.get(name), fault)

    def _manifest(self, media_type: str, body: bytes, fault: Fault | None) -> web.Response:
        if not media_type:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        if isinstance(fault, Changes):
            body = fault.body if fault.body is not None else body + b" "
        return web.Response(body=body, headers={"Content-Type": media_type})

    async def _blob(
        self, request: web.Request, body: bytes | None, fault: Fault | None
    ) -> web.StreamResponse:
        if body is None:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN"}]}, status=404)
        if isinstance(fault, Changes):
            body = fault.body if fault.body is not None else bytes(len(body))
        start, headers = 0, {}
        end = len(body)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if asked:
            self.ranges.append(asked[0])
        ignored = isinstance(fault, IgnoresRange) or (isinstance(fault, Cuts) and not fault.ranged)
        if asked and not ignored:
            start = int(asked[1])
            end = min(end, int(asked[2]) + 1) if asked[2] else end
            if start >= len(body):
                return web.Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            said = start + 1 if isinstance(fault, MovesRange) else start
            headers["Content-Range"] = f"bytes {said}-{end - 1}/{len(body)}"
        response = web.StreamResponse(status=206 if headers else 200, headers=headers)
        response.content_length = end - start
        await response.prepare(request)
        await self._send(request, response, body[start:end], fault)
        return response

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        body: bytes,
        fault: Fault | None,
    ) -> None:
        if not isinstance(fault, Cuts | Stalls):
            self.blob_bytes += len(body)
            await response.write(body)
            await response.write_eof()
            return
        self.blob_bytes += fault.after
        await response.write(body[: fault.after])
        assert request.transport
        if isinstance(fault, Cuts):
            request.transport.close()  # flushes what was written, then ends
            return
        # The client hangs up without an event.
        while request.transport and not request.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _next_fault(self, path: str) -> Fault | None:
        for key, faults in self.faults:
            if key in path and faults:
                return faults.popleft()
        return None


@asynccontextmanager
async def serve(tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultyRegistry]:
    registry = FaultyRegistry()
    application = web.Application()
    application.router.add_get("/token", registry.token)
    application.router.add_get("/v2/{path:.+}", registry.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    registry.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()
