"""The informer on random walks: whatever happens in whatever order, the end is the truth.

The API server here is a few lists in memory, so that thousands of steps take seconds.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from talm.api.kinds import VIEW, Kind
from talm.api.meta import ObjectMeta, Wire
from talm.errors import ApiError, CredentialError, Gone, NotFound, TooBusy, Unreachable
from talm.kube.cache import Key
from talm.kube.client import Page
from talm.kube.watch import Informer, Pace
from tests.kube.waiting import PATIENCE_S

UNREADABLE = "seven"  # where a number belongs
FAILURES = st.sampled_from(
    [
        Unreachable("GET", "views", 0, "connection reset"),
        TooBusy("GET", "views", 429, "slow down", retry_after_s=0.0001),
        ApiError("GET", "views", 500, "leader changed"),
        Gone("GET", "views", 410, "too old"),
        CredentialError("the plugin failed"),
    ]
)


class View(Wire, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    tick: int = 0


class Memory:
    """What an informer may ask of an API server, and what can go wrong there."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 1
        self.oldest = 0
        self.served = True
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.failures: deque[Exception] = deque()  # of the next requests
        self.injected: deque[bytes | Exception] = deque()  # into the open watch
        self.epoch = 0  # a watch of an older one has ended

    def write(self, name: str, tick: object) -> None:
        self.version += 1
        what = "MODIFIED" if name in self.objects else "ADDED"
        meta = {"name": name, "namespace": "ns", "resourceVersion": str(self.version)}
        self.objects[name] = {"metadata": meta, "tick": tick}
        self.history.append((self.version, what, self.objects[name]))

    def delete(self, name: str) -> None:
        self.version += 1
        gone = self.objects.pop(name)
        meta = {**gone["metadata"], "resourceVersion": str(self.version)}
        self.history.append((self.version, "DELETED", {**gone, "metadata": meta}))

    def compact(self) -> None:
        self.version += 1
        self.oldest = self.version
        self.history.clear()

    def answer(self) -> None:
        if self.failures:
            raise self.failures.popleft()
        if not self.served:
            raise NotFound("GET", "views", 404, "no such kind")

    async def pages(
        self, kind: Kind, namespace: str = "", *, limit: int = 0, **_: str
    ) -> AsyncIterator[Page]:
        self.answer()
        version, found = self.version, [json.dumps(o).encode() for o in self.objects.values()]
        limit = limit or len(found) + 1
        for start in range(0, max(1, len(found)), limit):
            if start and version < self.oldest:
                raise Gone("GET", "views", 410, "continue token expired")
            if start:
                self.answer()
            yield Page([msgspec.Raw(i) for i in found[start : start + limit]], str(version))
            await asyncio.sleep(0)

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str = "", **_: object
    ) -> AsyncGenerator[list[bytes], None]:
        self.answer()
        seen = int(resource_version)
        if seen < self.oldest:
            raise Gone("WATCH", "views", 410, "too old")
        epoch = self.epoch
        while epoch == self.epoch and self.served:
            news = [(t, o) for v, t, o in self.history if v > seen]
            seen = max([seen, *(int(o["metadata"]["resourceVersion"]) for _, o in news)])
            if news:
                yield [json.dumps({"type": t, "object": o}).encode() for t, o in news]
            if self.injected:
                extra = self.injected.popleft()
                if isinstance(extra, Exception):
                    raise extra
                yield [extra.replace(b"$VERSION", str(seen).encode())]
            await asyncio.sleep(0)


BOOKMARK = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"$VERSION"}}}'
ERROR_410 = b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}'
ERROR_500 = b'{"type":"ERROR","object":{"code":500,"reason":"InternalError","message":"etcd"}}'
GARBLED = b'{"type":"MODIF'

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


class RandomWalk(RuleBasedStateMachine):
    @initialize(optional=st.booleans())
    def begin(self, optional: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.server = Memory()
        self.optional = optional
        self.replayed: dict[Key, View] = {}
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        pace = Pace(absent_s=0.0002, first_s=0.0001, longest_s=0.0002, page_limit=2)
        self.informer = Informer(
            self.server, VIEW, View, self.replay, optional=self.optional, pace=pace
        )
        self.task = asyncio.create_task(self.informer.run())

    def replay(self, key: Key, old: View | None, new: View | None) -> None:
        assert self.replayed.get(key) == old
        assert old != new
        if new is None:
            del self.replayed[key]
        else:
            self.replayed[key] = new

    @rule(name=NAMES, tick=st.one_of(st.integers(0, 9), st.just(UNREADABLE)))
    def write(self, name: str, tick: object) -> None:
        self.server.write(name, tick)

    @precondition(lambda self: self.server.objects)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.server.delete(data.draw(st.sampled_from(sorted(self.server.objects))))

    @rule()
    def compact_while_the_watch_is_away(self) -> None:
        self.server.epoch += 1
        self.server.compact()

    @rule()
    def close_watch(self) -> None:
        self.server.epoch += 1

    @rule(failure=FAILURES)
    def break_watch(self, failure: Exception) -> None:
        self.server.injected.append(failure)

    @rule(line=st.sampled_from([BOOKMARK, ERROR_410, ERROR_500, GARBLED]))
    def inject(self, line: bytes) -> None:
        self.server.injected.append(line)

    @rule(failure=FAILURES, times=st.integers(1, 3))
    def refuse(self, failure: Exception, times: int) -> None:
        self.server.failures.extend([failure] * times)

    @precondition(lambda self: self.optional)
    @rule()
    def remove_kind(self) -> None:
        self.server.served = False
        self.server.objects.clear()
        self.server.epoch += 1
        self.server.compact()

    @rule()
    def serve_kind(self) -> None:
        self.server.served = True

    @rule(steps=st.integers(1, 30))
    def go_on(self, steps: int) -> None:
        async def spin() -> None:
            for _ in range(steps):
                await asyncio.sleep(0)

        self.loop.run_until_complete(spin())

    @invariant()
    def what_was_reported_is_what_is_cached(self) -> None:
        if hasattr(self, "informer"):
            assert self.replayed == self.informer.cache
            assert not self.task.done()
            assert not self.informer.callback_errors

    def is_true(self) -> bool:
        readable = {
            ("ns", name): (o["tick"], o["metadata"]["resourceVersion"])
            for name, o in self.server.objects.items()
            if o["tick"] != UNREADABLE
        }
        unreadable = {("ns", n) for n in self.server.objects} - readable.keys()
        cached = {
            key: (view.tick, view.metadata.resource_version)
            for key, view in self.informer.cache.items()
            if key not in unreadable  # these keep their last readable value, or none
        }
        return cached == readable and self.informer.quarantined.keys() == unreadable

    def teardown(self) -> None:
        if not hasattr(self, "informer"):
            return
        self.server.served = True
        self.server.write("last", 1)

        async def settle() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not self.is_true():  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.0001)
            self.task.cancel()
            await asyncio.wait({self.task})

        self.loop.run_until_complete(settle())
        assert self.replayed == self.informer.cache
        assert self.informer.synced.is_set()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


TestRandomWalk = RandomWalk.TestCase
TestRandomWalk.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
