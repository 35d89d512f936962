"""An update graph on loopback (the Cincinnati protocol), with faults that a test scripts.

`GET /graph?channel=stable-4.10` answers the versions of a channel and how one leads to another.
Each fault in `faults` takes the place of one answer, in order; then the server is healthy again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from aiohttp import web

# The path that the real service is reached at; a ClusterVersion's `upstream` names it in full.
LONG_PATH: Final = "/api/upgrades_info/v1/graph"
_GARBAGE: Final = '{"nodes": [{"version": "4.1'


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """One node: a version, its release image, the channels that offer it."""

    version: str
    payload: str
    channels: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Fails:
    """The answer is an HTTP error."""

    status: int = 503


@dataclasses.dataclass(frozen=True, slots=True)
class Hangs:
    """The answer comes after `seconds`; None: not while the server lives."""

    seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Garbles:
    """The answer is a 200 whose body breaks off in the middle."""


Fault = Fails | Hangs | Garbles


class GraphServer:
    """The server; `async with` starts and stops it.

    `edges` are pairs of versions, from and to.  Both tables may be changed while it runs.
    """

    def __init__(
        self, releases: Sequence[Release] = (), edges: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.releases = list(releases)
        self.edges = list(edges)
        self.faults: deque[Fault] = deque()
        self.served = 0
        self._port = 0
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """What `spec.upstream` of a ClusterVersion says."""
        return f"http://127.0.0.1:{self._port}/graph"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; port 0: a free one."""
        application = web.Application()
        application.router.add_get("/graph", self._answer)
        application.router.add_get(LONG_PATH, self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Let hanging answers go, then close."""
        self._closing.set()
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.served += 1
        fault = self.faults.popleft() if self.faults else None
        match fault:
            case Fails(status):
                return web.json_response({"kind": "scripted"}, status=status)
            case Garbles():
                return web.Response(text=_GARBAGE, content_type="application/json")
            case Hangs(seconds):
                await self._wait(seconds)
        channel = request.query.get("channel", "")
        if not channel:
            missing = {"kind": "missing_params", "value": "mandatory client parameters: channel"}
            return web.json_response(missing, status=400)
        return web.json_response(graph_of(self.releases, self.edges, channel))

    async def _wait(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return


def graph_of(
    releases: Sequence[Release], edges: Sequence[tuple[str, str]], channel: str
) -> Mapping[str, Any]:
    """Return the graph of one channel; an unknown channel has an empty one, as the service says.

    Edges are pairs of positions in `nodes`; one that leaves the channel is left out.
    """
    nodes = [release for release in releases if channel in release.channels]
    places = {release.version: place for place, release in enumerate(nodes)}
    return {
        "version": 1,
        "nodes": [
            {
                "version": release.version,
                "payload": release.payload,
                "metadata": {
                    "io.openshift.upgrades.graph.release.channels": ",".join(release.channels)
                },
            }
            for release in nodes
        ],
        "edges": [[places[a], places[b]] for a, b in edges if a in places and b in places],
        "conditionalEdges": [],
    }
