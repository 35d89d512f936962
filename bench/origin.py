"""What stands between the link and the registry: counts the bytes of blobs, and breaks transfers.

Whether a transfer breaks is drawn from the blob and from how often it was asked for, so that every
contender meets the same faults.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
from aiohttp import web

_PASSED_ON: Final = frozenset({"content-type", "content-range", "docker-content-digest", "etag"})
_CHUNK: Final = 64 << 10
_RETRY_AFTER_S: Final = 1


@dataclasses.dataclass(frozen=True)
class Faults:
    """Shares of the requests for blobs: answers 503 and 429, broken off, silent, another content.

    A silent one is closed after `silence_s`: some programs would wait for ever.
    """

    unavailable: float = 0.0
    too_many: float = 0.0
    cut: float = 0.0
    stalled: float = 0.0
    corrupt: float = 0.0
    silence_s: float = 60.0

    def draw(self, digest: str, attempt: int) -> str:
        """Return the name of what happens to this request; "": nothing does."""
        point = random.Random(f"{digest} {attempt}").random()  # noqa: S311
        for name in ("unavailable", "too_many", "cut", "stalled", "corrupt"):
            share: float = getattr(self, name)
            if point < share:
                return name
            point -= share
        return ""


SOME_FAULTS: Final = Faults(unavailable=0.05, too_many=0.05, cut=0.15, stalled=0.02, corrupt=0.02)


class Origin:
    """A proxy in front of the registry at `upstream` (a URL).

    `blob_bytes` were sent, `spoiled_bytes` of them with another content than asked for.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession
        self.url = ""  # where it serves
        self.reset(Faults())

    def reset(self, faults: Faults) -> None:
        """Forget what was counted."""
        self.faults = faults
        self.blob_bytes = self.spoiled_bytes = 0
        self._asked: Counter[str] = Counter()

    @asynccontextmanager
    async def serve(self, host: str, port: int) -> AsyncIterator[None]:
        """Serve at this address; port 0 is any free one."""
        application = web.Application()
        application.router.add_get("/v2/{path:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        # No time limit: the far end of a slow link takes what it takes.
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as self._session:
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            self.url = f"http://{host}:{runner.addresses[0][1]}"
            try:
                yield
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        is_blob = "/blobs/" in request.path and request.method == "GET"
        fault = ""
        if is_blob:
            digest = request.path.rpartition("/")[2]
            self._asked[digest] += 1
            fault = self.faults.draw(digest, self._asked[digest])
        if fault == "unavailable":
            return web.Response(status=503)
        if fault == "too_many":
            return web.Response(status=429, headers={"Retry-After": str(_RETRY_AFTER_S)})
        names = [name for name in ("Accept", "Range") if name in request.headers]
        headers = {name: request.headers[name] for name in names}
        url = f"{self._upstream}{request.path_qs}"
        async with self._session.request(request.method, url, headers=headers) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() in _PASSED_ON}
            response = web.StreamResponse(status=answer.status, headers=kept)
            response.content_length = answer.content_length
            with suppress(ConnectionError):  # the far end has hung up
                await response.prepare(request)
                await self._pass(request, answer, response, fault, counted=is_blob and answer.ok)
        return response

    async def _pass(
        self,
        request: web.Request,
        answer: aiohttp.ClientResponse,
        response: web.StreamResponse,
        fault: str,
        *,
        counted: bool,
    ) -> None:
        left = answer.content_length or 0
        if fault in ("cut", "stalled"):
            left //= 2
        async for chunk in answer.content.iter_chunked(_CHUNK):
            part = chunk[:left] if fault in ("cut", "stalled") else chunk
            left -= len(part)
            await response.write(bytes(len(part)) if fault == "corrupt" else part)
            if counted:
                self.blob_bytes += len(part)
                self.spoiled_bytes += len(part) if fault == "corrupt" else 0
            if fault in ("cut", "stalled") and not left:
                break
        if fault == "stalled":
            await asyncio.sleep(self.faults.silence_s)
        if fault in ("cut", "stalled") and request.transport:
            request.transport.close()  # flushes what was written, then ends
            return
        await response.write_eof()


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What one run has moved: at the registry, and over the link, in bytes."""

    blobs: int
    spoiled: int
    link: int

    def refetch(self, unique: int) -> float:
        """Blob bytes per unique byte; what came spoiled has to come again and is left out."""
        return (self.blobs - self.spoiled) / unique
