"""A proxy before an API server that answers some requests badly: the operator's bad day.

    operator ──plain HTTP──► proxy ──TLS, as the operator──► API server

Decided here: which requests suffer, and how.  Half of the errors come before the request was forwarded,
half after, when it has been carried out and only its answer is lost; watches are also cut.
"""

from __future__ import annotations

import base64
import json
import random
import ssl
from collections import Counter
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from talm.errors import Bug

ERRORS = {
    500: "InternalError",
    409: "Conflict",
    429: "TooManyRequests",
}
HOPS = {"connection", "transfer-encoding", "content-length", "host", "content-encoding"}
CHUNK = 1 << 16


class FaultProxy:
    """`async with FaultProxy(kubeconfig, directory, seed=1) as proxy`; `proxy.kubeconfig` leads here.

    `rate`: the part of all requests that suffers, 0 to 1; it may be changed at any time.
    `struck` counts what was done, by kind.
    """

    def __init__(self, kubeconfig: Path, directory: Path, *, seed: int, rate: float = 0.0) -> None:
        self.kubeconfig = directory / "proxy.kubeconfig"
        self.rate = rate
        self.struck: Counter[str] = Counter()
        self.forwarded = 0
        self._dice = random.Random(seed)
        self._due = 0.0
        config = json.loads(kubeconfig.read_text())
        self._server: str = config["clusters"][0]["cluster"]["server"]
        self._tls = _tls(config, directory)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.kubeconfig.write_text(json.dumps(_plain_kubeconfig(f"http://{host}:{port}")))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.forwarded += 1
        fault = self._fault(request)
        if fault:
            self.struck[fault] += 1
        kind, _, status = fault.partition(" ")
        if kind == "before":
            return _refusal(int(status), self._dice)
        if kind == "reset":
            return _hang_up(request)
        answer = await self._forward(request)
        async with answer:
            if kind == "after":
                await answer.read()
                return _refusal(int(status), self._dice)
            if kind == "lost":
                await answer.read()
                return _hang_up(request)
            return await self._pass_on(request, answer, cut=kind == "cut")

    def _fault(self, request: web.Request) -> str:
        """What happens to this request: "", or a word and the status that goes with it."""
        # Strokes that fall due at random distances keep to the rate in a short run too; a throw of the
        # dice for each request would let one run in thirty of a hundred requests off with half of it.
        self._due += self.rate * self._dice.expovariate(1.0)
        if self._due < 1.0:
            return ""
        self._due -= 1.0
        status = self._dice.choice(list(ERRORS))
        if "watch" in request.query:
            return self._dice.choice([f"before {status}", "reset", "cut"])
        if request.method in {"GET", "HEAD"}:
            return self._dice.choice([f"before {status}", "reset", "lost"])
        # An API server that has written may still fail to say so, but never with "try later".
        return self._dice.choice([f"before {status}", "after 500", "reset", "lost"])

    async def _forward(self, request: web.Request) -> aiohttp.ClientResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOPS}
        return await self._session.request(
            request.method,
            f"{self._server}{request.raw_path}",
            headers=headers,
            data=await request.read(),
            timeout=aiohttp.ClientTimeout(total=None),
            allow_redirects=False,
        )

    async def _pass_on(
        self, request: web.Request, answer: aiohttp.ClientResponse, *, cut: bool
    ) -> web.StreamResponse:
        """Pass an answer on as it comes; `cut`: only its first piece."""
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in HOPS}
        if "Content-Encoding" in answer.headers:
            headers["Content-Encoding"] = answer.headers["Content-Encoding"]
        passed = web.StreamResponse(status=answer.status, headers=headers)
        try:
            await passed.prepare(request)
            async for piece in answer.content.iter_any():
                await passed.write(piece)
                if cut:
                    return _hang_up(request)
        except (aiohttp.ClientError, ConnectionError):
            return _hang_up(request)
        await passed.write_eof()
        return passed


def _hang_up(request: web.Request) -> web.StreamResponse:
    """Reset the connection: no answer, or no end of one."""
    if request.transport is not None:
        request.transport.abort()
    raise web.HTTPInternalServerError  # nobody hears it


def _refusal(status: int, dice: random.Random) -> web.Response:
    """An error as the API server words it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": ERRORS[status],
        "code": status,
        "message": f"the fault proxy says {ERRORS[status]}",
    }
    headers = {"Retry-After": str(dice.choice((0, 1)))} if status == 429 else {}
    return web.json_response(body, status=status, headers=headers)


def _tls(config: dict[str, Any], directory: Path) -> ssl.SSLContext:
    """Who the proxy is to the API server: whoever the kubeconfig is of."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    if "client-certificate-data" not in user:
        raise Bug("the proxy needs a kubeconfig with a client certificate")
    files = {}
    for name in ("client-certificate-data", "client-key-data"):
        files[name] = directory / f"proxy-{name}.pem"
        files[name].write_bytes(base64.b64decode(user[name]))
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.load_cert_chain(files["client-certificate-data"], files["client-key-data"])
    return context


def _plain_kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "proxy",
    }
