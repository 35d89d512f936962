"""/healthz, /readyz and /metrics, in the operator's own loop so that a stuck loop shows.

Live: the loop turns and the API server was heard of not too long ago.  Ready: every kind was listed.
A replica that waits for the Lease is ready, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from .metrics import Metrics
from .store import Store

# A watch gets a bookmark every minute; three missed ones and the relist that follows them.
SILENT_S: Final = 300.0
# A scrape that hangs must not hold up the end of the process.
SHUTDOWN_S: Final = 1.0


class HealthServer:
    """Serves the probes on one address; `port` is known after `start` (port 0: the system's choice)."""

    def __init__(self, store: Store, metrics: Metrics, is_leading: Callable[[], bool]) -> None:
        self._store = store
        self._metrics = metrics
        self._is_leading = is_leading
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; raises OSError when the address is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(runner, host, port)
        await site.start()
        self.port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        now = time.monotonic()
        silent = [
            name
            for name, informer in self._store.informers.items()
            if informer.present and now - informer.last_heard > SILENT_S
        ]
        if silent:
            text = f"nothing heard for {SILENT_S:g} s of: {', '.join(silent)}\n"
            return web.Response(status=503, text=text)
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        waiting = [n for n, i in self._store.informers.items() if not i.synced.is_set()]
        if waiting:
            return web.Response(status=503, text=f"not yet listed: {', '.join(waiting)}\n")
        return web.Response(text=f"ok, {'leading' if self._is_leading() else 'standing by'}\n")

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )
