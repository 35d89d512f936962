"""The script's world in memory: simulated agents, a simulated spoke, virtual time.

A row takes milliseconds here, whatever its rule says about minutes.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import ApiError, Forbidden, Unreachable
from talm.sim.agents.policyagent import not_yet_compliant
from talm.sim.agents.wire import Action, View
from talm.sim.clock import Clock
from talm.sim.hubside.actiongc import ActionCollector
from talm.sim.hubside.feed import Feed
from talm.sim.site import ACTIONS, VIEWS, Site, build_site
from talm.sim.spoke.memoryspoke import ADDRESS, MemorySpoke
from talm.sim.spoke.spokejobs import SpokeTimes
from talm.sim.spoke.spokes import Served
from tests.sim.fakehub import FakeHub
from tests.sim.virtual import VirtualLoop

from .journal import Change, Faults, Journal, Request, Side
from .script import Row, perform

T = TypeVar("T")
CLUSTER: Final = "cnfdb1"
START: Final = dt.datetime(2024, 5, 1, 12, 0, 0, 300_000, dt.UTC)
CREATED: Final = 201
OK: Final = 200


def perform_in_memory(row: Row) -> str:
    """Play one row in a world of its own; its transcript."""

    async def main() -> str:
        lane = MemoryLane()
        try:
            return await perform(row, lane)
        finally:
            lane.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class MemoryLane:
    """Implements Lane."""

    cluster = CLUSTER
    patience_s = 600.0

    def __init__(self) -> None:
        self.journal = Journal()
        self.faults = Faults()
        self._clock = Clock(start=START)
        self._hub = FakeHub()
        self._spoke = MemorySpoke(CLUSTER, self._clock, times=SpokeTimes(call_s=0.002))
        self._watched = _WatchedSpoke(self._spoke, self)
        self._collector = ActionCollector(self._hub, self._clock)
        self._site = self._build_site()

    @property
    def hub(self) -> HubHand:
        return HubHand(self._hub)

    @property
    def spoke(self) -> _SpokeHand:
        return _SpokeHand(self._spoke)

    def now(self) -> dt.datetime:
        return self._clock.now()

    async def hold_namespace(self, name: str) -> None:
        self._spoke.hold_namespaces = True

    async def cut_hub(self) -> None:
        self._site.link.down()

    async def mend_hub(self, *, expired: bool = False) -> None:
        self._site.link.up(relist=expired)

    async def freeze_watches(self) -> None:
        self._site.link.half_dead()

    async def thaw_watches(self) -> None:
        self._site.link.up()

    async def stop_spoke(self) -> None:
        self._watched.down = True

    async def start_spoke(self) -> None:
        self._watched.down = False

    async def stop_agents(self) -> None:
        self._site.link.down()
        for agent in self._site.agents:
            agent.crash()

    async def start_agents(self) -> None:
        self._site.restart_agents()
        self._site.link.up()

    def close(self) -> None:
        """End everything."""
        self._site.stop()
        self._collector.stop()
        self._spoke.close()

    def log(
        self, side: Side, verb: str, where: tuple[str, str, str], code: int, **more: str
    ) -> None:
        """Note a request: (plural, namespace, name)."""
        self.journal.request(Request(side, verb, *where, code=code, moment=self.now(), **more))

    def _build_site(self) -> Site:
        feeds: dict[int, Feed[Any]] = {}
        site = build_site(
            CLUSTER,
            self._watched,
            self._clock,
            _WatchedHub(self._hub, self),
            listing=lambda number: feeds[number].of(CLUSTER) if number in feeds else [],
            policies=not_yet_compliant,
        )
        links = {CLUSTER: site.link}
        rows: tuple[tuple[int, Kind, type[Any], Any], ...] = (
            (VIEWS, kinds.VIEW, View, None),
            (ACTIONS, kinds.ACTION, Action, self._collector.deliver),
        )
        for number, kind, struct, also in rows:
            self._hub.watch(kind, dict, _changes(self.journal, kind))
            feed = feeds[number] = Feed(links, number, also=also)
            self._hub.watch(kind, struct, _news(feed))
        return site


def _changes(journal: Journal, kind: Kind) -> Callable[[str, str, Any], None]:
    return lambda _, name, obj: journal.change(Change(kind, name, obj))


def _news(feed: Feed[Any]) -> Callable[[str, str, Any], None]:
    return lambda namespace, name, new: feed.on_change((namespace, name), None, new)


class _WatchedHub:
    """The hub as the agents write to it: every status write is noted, some get lost."""

    def __init__(self, hub: FakeHub, lane: MemoryLane) -> None:
        self._hub = hub
        self._lane = lane
        self.create = hub.create
        self.merge_patch = hub.merge_patch
        self.delete = hub.delete

    async def replace(
        self, kind: Kind, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        meta = body["metadata"]
        where = (kind.plural, meta["namespace"], meta["name"])
        if self._lane.faults.loses(meta["name"]):
            self._lane.log(Side.HUB, "PUT", where, 0)
            raise Unreachable("PUT", meta["name"], 0, "EOF")
        try:
            stored = await self._hub.replace(kind, body, subresource=subresource)
        except ApiError as exc:
            self._lane.log(Side.HUB, "PUT", where, exc.status)
            raise
        self._lane.log(Side.HUB, "PUT", where, OK)
        return stored


class _WatchedSpoke:
    """The spoke as the agents ask it: every request is noted, some are refused."""

    def __init__(self, spoke: MemorySpoke, lane: MemoryLane) -> None:
        self.down = False
        self._spoke = spoke
        self._lane = lane

    async def discover(self) -> Sequence[Served]:
        return await self._ask("GET", ("", "", ""), "/api", self._spoke.discover())

    async def discover_version(self, group: str, version: str) -> Sequence[Served]:
        answer = self._spoke.discover_version(group, version)
        return await self._ask("GET", ("", "", ""), "/api", answer)

    async def get(self, kind: Kind, namespace: str, name: str) -> Mapping[str, Any]:
        where = (kind.plural, namespace, name)
        answer = self._spoke.get(kind, namespace, name)
        return await self._ask("GET", where, kind.path(namespace, name), answer)

    async def create(self, kind: Kind, namespace: str, body: Mapping[str, Any]) -> None:
        where = (kind.plural, namespace, (body.get("metadata") or {}).get("name", ""))
        answer = self._spoke.create(kind, namespace, body)
        await self._ask("POST", where, kind.path(namespace), answer)

    async def merge_patch(
        self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> None:
        where = (kind.plural, namespace, name)
        answer = self._spoke.merge_patch(kind, namespace, name, patch)
        await self._ask("PATCH", where, kind.path(namespace, name), answer)

    async def delete(self, kind: Kind, namespace: str, name: str, propagation: str) -> None:
        where = (kind.plural, namespace, name)
        answer = self._spoke.delete(kind, namespace, name, propagation)
        path = kind.path(namespace, name)
        await self._ask("DELETE", where, path, answer, propagation=propagation)

    def follow(
        self, kind: Kind, namespace: str, on_change: Callable[[str], None]
    ) -> Callable[[], None]:
        return self._spoke.follow(kind, namespace, on_change)

    async def _ask(
        self, verb: str, where: tuple[str, str, str], path: str, answer: Awaitable[T], **more: str
    ) -> T:
        try:
            self._fail(verb, where[-1], path)
            result = await answer
        except ApiError as exc:
            if exc.status:  # else it never left the agent, or never arrived
                self._lane.log(Side.SPOKE, verb, where, exc.status, **more)
            raise
        finally:
            getattr(answer, "close", lambda: None)()  # not asked, when it failed before
        self._lane.log(Side.SPOKE, verb, where, CREATED if verb == "POST" else OK, **more)
        return result

    def _fail(self, verb: str, name: str, path: str) -> None:
        if self.down:
            text = f'{verb.title()} "https://{ADDRESS}{path}": dial tcp {ADDRESS}: connect: '
            raise Unreachable(verb, path, 0, f"{text}connection refused")
        if refusal := self._lane.faults.refusal(name):
            raise Forbidden(verb, path, 403, refusal, reason="Forbidden")


class HubHand:
    """The script's own hand on the hub; implements Place."""

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub
        self.create = hub.create
        self.merge_patch = hub.merge_patch
        self.delete = hub.delete

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        return self._hub.get(kind, name, namespace)

    async def list(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
        return self._hub.list(kind, namespace)


class _SpokeHand:
    """The script's own hand on the spoke; implements Place."""

    def __init__(self, spoke: MemorySpoke) -> None:
        self._spoke = spoke

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        return dict(await self._spoke.get(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str = "") -> list[dict[str, Any]]:
        objects = self._spoke.store.all(kind)
        return [o for o in objects if namespace in ("", o["metadata"].get("namespace"))]

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        meta = body["metadata"]
        await self._spoke.create(kind, meta.get("namespace", ""), body)
        return await self.get(kind, meta["name"], meta.get("namespace", ""))

    async def merge_patch(
        self,
        kind: Kind,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> dict[str, Any]:
        await self._spoke.merge_patch(kind, namespace, name, patch)
        return await self.get(kind, name, namespace)

    async def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        await self._spoke.delete(kind, namespace, name, "Background")
