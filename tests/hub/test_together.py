"""The parts of the shell together, in any weather: late news, refused requests, shared clusters.

Nothing here looks again by the clock before half an hour has passed, so a change that wakes nobody up, or
a pass that acts on what it has itself overwritten, shows as a test that does not end.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import pytest

from talm.api import kinds
from talm.api.words import Phase
from talm.core.model import Effect, Fact, GraphAnswer, GraphQuery, Rules, Sight
from talm.core.removal import Removal
from talm.hub.app import utc_now
from talm.hub.apply import Applier
from talm.hub.graph import UpdateGraph
from talm.hub.lookout import Lookout
from talm.hub.metrics import Metrics
from talm.hub.notify import EventNotifier
from talm.hub.observe import Observer
from talm.hub.persist import Persister
from talm.hub.placements import Placements
from talm.hub.reconcile import Reconciler
from talm.hub.routes import Routes
from talm.hub.store import Key, Store
from talm.hub.throttle import Throttle
from talm.kube.events import EventRecorder
from talm.kube.queue import Gap, WorkQueue, run_workers
from talm.spokes.base import Order
from tests.hub.fakehub import FakeHub, followed, refusal
from tests.hub.given import put_cgu, put_cluster, put_policy
from tests.kube.waiting import until_true

CLUSTERS = [f"c{number}" for number in range(8)]
VIEW = "view-precache-job"
JOB = [Fact.JOB_PENDING, Fact.JOB_ACTIVE, Fact.JOB_SUCCEEDED]


class Spokes:
    """A transport whose agents answer in one view per cluster, some while later.

    As the real one it knows of its own writes before the cache shows them.
    """

    def __init__(self, hub: FakeHub, rng: random.Random) -> None:
        self.hub = hub
        self.rng = rng
        self.store: Store | None = None
        self.jobs: Counter[tuple[str, str]] = Counter()
        self.refused = 0.05
        self._own: dict[str, tuple[str, int, Fact]] = {}
        self._agents: dict[str, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        assert self.store is not None
        run, version, fact = self._own.get(cluster, ("", 0, Fact.UNASKED))
        view = self.store.views.get(VIEW, cluster)
        if view is not None and int(view.metadata.resource_version) > version:
            labels = view.metadata.labels or {}
            run, fact = labels["run"], Fact[labels["fact"]]
        return Sight(fact if run == order.run else Fact.UNASKED)

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None:
        for effect in effects:
            await self._turns()
            if self.rng.random() < self.refused:
                raise refusal()
            match effect:
                case Effect.CLEAN_UP:
                    self._order(cluster, order.run, Fact.UNANSWERED, [Fact.CLEAN])
                case Effect.PREPARE | Effect.START_JOB:
                    self.jobs[order.run, cluster] += 1
                    self._order(cluster, order.run, Fact.SETTING_UP, JOB)
                case Effect.REMOVE:
                    # A success is remembered: it may not be stored yet.
                    seen = self.look(cluster, order, utc_now()).fact
                    kept = seen if seen is Fact.JOB_SUCCEEDED else Fact.UNASKED
                    self._order(cluster, order.run, kept, [])
                case _:
                    pass

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        return {}

    def watch(self, on_change: Callable[[str], None]) -> None:
        self._listeners.append(on_change)

    def heard(self, cluster: str) -> None:
        for listener in self._listeners:
            listener(cluster)

    async def end(self) -> None:
        for task in self._agents.values():
            task.cancel()
        await asyncio.gather(*self._agents.values(), return_exceptions=True)

    def _order(self, cluster: str, run: str, meanwhile: Fact, answers: list[Fact]) -> None:
        if (agent := self._agents.pop(cluster, None)) is not None:
            agent.cancel()
        self._own[cluster] = (run, self.hub.version, meanwhile)
        self._agents[cluster] = asyncio.create_task(self._answer(cluster, run, answers))

    async def _answer(self, cluster: str, run: str, answers: list[Fact]) -> None:
        for fact in answers:
            await self._before(fact)
            meta = {"labels": {"run": run, "fact": fact.name}}
            self.hub.put(kinds.VIEW, VIEW, cluster, metadata=meta)

    async def _before(self, fact: Fact) -> None:
        """Let time pass before an agent says so."""
        await self._turns()

    async def _turns(self) -> None:
        for _ in range(self.rng.randrange(30)):
            await asyncio.sleep(0)


class Graph:
    def ask(self, query: GraphQuery) -> GraphAnswer:
        raise AssertionError(f"nobody names a version: {query}")


class Shell:
    """What `Operator` puts together, over a hub in memory."""

    def __init__(self, seed: int, spokes: type[Spokes] = Spokes) -> None:
        self.rng = random.Random(seed)
        self.hub = FakeHub()
        self.spokes = spokes(self.hub, self.rng)
        self.queue: WorkQueue[Key] = WorkQueue(gap=Gap(0.0, 0.005), longest_backoff_s=0.2)
        self.routes = Routes()
        self.store = self.spokes.store = Store(self.hub.client, self.heard)
        lookout = Lookout(self.spokes)
        observer = Observer(
            self.store,
            self.routes,
            cast(UpdateGraph, Graph()),
            lookout,
            rules=Rules(),
            image="workload:1",
            now=utc_now,
        )
        client = self.hub.client
        self.throttle = Throttle(3)
        applier = Applier(
            client, lookout, Placements(client, self.store), self.store.records, self.throttle
        )
        self.recorder = EventRecorder(client, controller="talm", instance="0")
        self.persister = Persister(client, self.store)
        self.metrics = Metrics()
        self.metrics.follow(self.store, lambda: 0, lambda: 0)
        self.reconciler = Reconciler(
            observer,
            applier,
            self.persister,
            EventNotifier(self.recorder),
            witness=self.metrics,
            hold=self.queue.hold,
        )

    def heard(self, name: str, key: Key, old: Any, new: Any) -> None:
        if name == kinds.VIEW.plural:
            self.spokes.heard(key[0])
        for cgu in tuple(self.routes.heard(name, key, old, new)):
            self.queue.add(cgu)

    async def weather(self) -> None:
        """News that come late, and statuses that are refused now and then."""
        while True:
            for _ in range(self.rng.randrange(60)):
                await asyncio.sleep(0)
            if self.rng.random() < 0.5:
                self.hub.news_flow.clear()
            else:
                self.hub.news_flow.set()
            if self.rng.random() < 0.1:
                self.hub.refusals["status", self.rng.choice("abc")] = refusal()
            else:
                self.hub.refusals.clear()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with followed(self.hub, self.store):
            working = asyncio.create_task(run_workers(self.queue, self.reconciler.reconcile, 3))
            weather = asyncio.create_task(self.weather())
            try:
                yield
            finally:
                self.queue.shut_down()
                weather.cancel()
                await asyncio.gather(weather, return_exceptions=True)
                self.hub.news_flow.set()
                await working
                await self.spokes.end()

    def create(self, name: str, clusters: list[str], created: str) -> None:
        put_cgu(
            self.hub,
            name,
            clusters=clusters,
            created=created,
            finalizers=(),
            preCaching=True,
            enable=False,
            managedPolicies=["upgrade"],
        )

    def phases(self, name: str) -> dict[str, str]:
        body = self.hub.truth(kinds.CGU, name, "ztp")
        found: dict[str, str] = body["status"].get("precaching", {}).get("status", {})
        return found

    def delete(self, name: str) -> None:
        body = self.hub.truth(kinds.CGU, name, "ztp")
        meta = body["metadata"] | {"deletionTimestamp": "2030-01-01T00:00:00Z"}
        self.hub.put(
            kinds.CGU, name, "ztp", metadata=meta, spec=body["spec"], status=body["status"]
        )


def put_upgrade(hub: FakeHub) -> None:
    version = {
        "kind": "ClusterVersion",
        "apiVersion": "config.openshift.io/v1",
        "spec": {"desiredUpdate": {"image": "quay.io/release@sha256:" + "1" * 64}},
    }
    entries = [{"complianceType": "musthave", "objectDefinition": version}]
    definition = {"kind": "ConfigurationPolicy", "spec": {"object-templates": entries}}
    spec = {"policy-templates": [{"objectDefinition": definition}]}
    put_policy(hub, "upgrade", CLUSTERS)
    status = hub.truth(kinds.POLICY, "upgrade", "pol")["status"]
    hub.put(kinds.POLICY, "upgrade", "pol", spec=spec, status=status)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_comes_late_or_is_refused_all_clusters_are_pre_cached(seed: int) -> None:
    shell = Shell(seed)
    for cluster in CLUSTERS:
        put_cluster(shell.hub, cluster)
    put_upgrade(shell.hub)
    plans = {"a": CLUSTERS[:5], "b": CLUSTERS[3:], "c": CLUSTERS[4:6]}
    async with shell.running():
        for number, (name, clusters) in enumerate(plans.items()):
            shell.create(name, clusters, f"2022-01-27T19:00:0{number}Z")
        done = str(Phase.SUCCEEDED)
        await until_true(
            lambda: all(
                shell.phases(name) == dict.fromkeys(clusters, done)
                for name, clusters in plans.items()
            )
        )
        shell.spokes.refused = 0.0
        for name in plans:
            shell.delete(name)
        await until_true(lambda: shell.hub.names(kinds.CGU) == [])
        await until_true(lambda: not shell.store.cgus.cache)
        await until_true(lambda: not shell.queue._entries)
    assert len(shell.spokes.jobs) == sum(len(clusters) for clusters in plans.values())
    assert set(shell.spokes.jobs.values()) == {1}, "no Job is asked for twice"
    assert shell.throttle.in_flight == 0
    leftovers = (shell.routes, shell.reconciler, shell.persister, shell.metrics._durations)
    kept = {name: value for part in leftovers for name, value in vars(part).items()}
    assert not [name for name, value in kept.items() if isinstance(value, dict | set) and value]
    assert not shell.store._own
