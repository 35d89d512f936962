"""Hub, simulated spoke with its agents, both transports and the real table of the core, in virtual
time: a cluster that is reached by ManifestWorks."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.ocm import ManagedCluster, ManagedClusterAction, ManagedClusterView, ManifestWork
from talm.api.words import FINAL_PHASES, MANUAL_NAMESPACE, POKE_ANNOTATION, RUN_LABEL, Phase
from talm.core.model import Effect, Fact, Sight
from talm.core.precache import advance
from talm.errors import ApiError
from talm.sim.agents.workagent import WorkHabits
from talm.sim.spoke.memoryspoke import always_succeeds
from talm.sim.spoke.spokejobs import Scenario, SpokeTimes
from talm.spokes.base import Order
from talm.spokes.bycluster import ByCluster, Way
from talm.spokes.manifestwork import ManifestWorkTransport
from talm.spokes.own import TALM
from talm.spokes.viewaction import ViewActionTransport
from talm.spokes.workmanifests import work_name
from tests.sim.fakehub import FakeHub
from tests.sim.oneworld import CLUSTER, World
from tests.spokes.world import ORDER, Remembered

T = TypeVar("T", ManagedCluster, ManagedClusterAction, ManagedClusterView, ManifestWork)
STEP_S = 0.05
NEWER_FIELDS = frozenset({"feedbackScrapeType", "conditionRules"})
TIMES = SpokeTimes(
    call_s=0.002, job_sync_s=0.1, pod_start_s=0.5, pod_grace_s=1.0, collect_s=0.05, namespace_s=2.0
)


class Mirror(Generic[T]):
    """An informer's cache of a kind; it is never behind."""

    def __init__(self, hub: FakeHub, kind: Kind, struct: type[T]) -> None:
        self.objects: dict[tuple[str, str], T] = {}
        self.listeners: list[Callable[[tuple[str, str], T | None, T | None], None]] = []
        hub.watch(kind, struct, self._heard)

    def get(self, name: str, namespace: str = "") -> T | None:
        return self.objects.get((namespace, name))

    def by(self, _index: str, value: str) -> list[T]:
        return [obj for (namespace, _), obj in self.objects.items() if namespace == value]

    def tell_alone(self, listener: Callable[[tuple[str, str], T | None, T | None], None]) -> None:
        """A new process listens: it is told what is there, then of every change."""
        self.listeners = [listener]
        for key, obj in self.objects.items():
            listener(key, None, obj)

    def _heard(self, namespace: str, name: str, new: T | None) -> None:
        key = (namespace, name)
        old = self.objects.pop(key, None)
        if new is not None:
            self.objects[key] = new
        for listener in tuple(self.listeners):
            listener(key, old, new)


class HubClient:
    """What transports and pokes ask of the hub, with `get` as a request.

    `old_crd`: works have neither rules for conditions nor feedback by events, and are cut to that.
    """

    def __init__(self, hub: FakeHub, *, old_crd: bool) -> None:
        self._hub = hub
        self._old_crd = old_crd
        self.merge_patch = hub.merge_patch
        self.delete = hub.delete

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._old_crd and kind is kinds.MANIFEST_WORK:
            configs = [
                {key: config[key] for key in config if key not in NEWER_FIELDS}
                for config in body["spec"]["manifestConfigs"]
            ]
            body = {**body, "spec": {**body["spec"], "manifestConfigs": configs}}
        return await self._hub.create(kind, body)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> dict[str, Any]:
        return self._hub.get(kind, name, namespace)


class WorkWorld:
    """`diary` has every phase and what was asked for.  Made inside a virtual loop."""

    def __init__(
        self,
        *,
        habits: WorkHabits | None = None,
        views: bool = False,
        old_crd: bool = False,
        way: Way = Way.MANIFEST_WORK,
        scenario: Scenario = always_succeeds,
        order: Order = ORDER,
    ) -> None:
        self.world = World(times=TIMES, scenario=scenario, habits=habits)
        self.hub = self.world.hub
        self.views = views
        self.away: dt.datetime | None = None  # since when the add-on is
        self.old_crd = old_crd
        self.default_way = way
        self.order = order
        self.phase = Phase.NOT_STARTED
        self.diary: list[str] = []
        self.hub.put(kinds.MANAGED_CLUSTER, {"metadata": {"name": CLUSTER}})
        self.works = Mirror(self.hub, kinds.MANIFEST_WORK, ManifestWork)
        self.clusters = Mirror(self.hub, kinds.MANAGED_CLUSTER, ManagedCluster)
        self.pokes: set[str] = set()
        self.successes = Remembered()
        self.hub.watch(kinds.MANIFEST_WORK, ManifestWork, self._count_pokes)
        self._views = Mirror(self.hub, kinds.VIEW, ManagedClusterView)
        self._actions = Mirror(self.hub, kinds.ACTION, ManagedClusterAction)
        self.restart()

    def restart(self) -> None:
        """A new operator process: no memory."""
        client = HubClient(self.hub, old_crd=self.old_crd)
        viewing = ViewActionTransport(
            client,
            self._views,
            self._actions,
            profile=TALM,
            namespace=MANUAL_NAMESPACE,
            now=self.now,
            away=lambda _: self.away,
            successes=self.successes,
        )
        self.working = ManifestWorkTransport(
            client,
            self.works,
            self.clusters,
            successes=self.successes,
            check=viewing,
            checked=lambda _: self.views,
            namespace=MANUAL_NAMESPACE,
            now=self.now,
        )
        self.works.tell_alone(self.working.work_changed)
        self._views.tell_alone(viewing.view_changed)
        self._actions.tell_alone(viewing.action_changed)
        self.transport = ByCluster(viewing, self.working, lambda _: self.default_way)

    def now(self) -> dt.datetime:
        return self.world.clock.now()

    def look(self) -> Sight:
        return self.transport.look(CLUSTER, self.order, self.now())

    async def do(self, *effects: Effect) -> None:
        await self.transport.carry_out(CLUSTER, effects, self.order)

    async def step(self) -> bool:
        """One pass; False: nothing to do but wait."""
        sight = self.look()
        rule = advance(self.phase, sight.fact)
        if rule.goto is self.phase and not rule.effects:
            return False
        asked = " ".join(effect.name for effect in rule.effects)
        self.diary.append(f"{self.phase.value}: {sight.fact.name} -> {asked}".rstrip(" ->"))
        if rule.goto is Phase.SUCCEEDED:  # as the hub does before it carries out an end
            self.successes.runs[CLUSTER] = self.order.run
        try:
            await self.do(*rule.effects)
        except ApiError as exc:
            self.diary.append(f"failed: {exc.message}")
            return False
        moved = rule.goto is not self.phase
        self.phase = rule.goto
        return moved

    async def run(self, until: Phase = Phase.SUCCEEDED, *, within_s: float = 900.0) -> None:
        """Pass again and again, as time goes by, until the cluster is in `until`."""
        end = self.now() + dt.timedelta(seconds=within_s)
        while self.phase is not until:
            assert self.now() < end, f"still {self.phase}, {self.look()}, after {self.diary[-12:]}"
            if self.phase in FINAL_PHASES or not await self.step():
                await asyncio.sleep(STEP_S)

    async def until(self, fact: Fact, *, within_s: float = 900.0) -> Sight:
        """Let time go by without a pass until this is seen."""
        end = self.now() + dt.timedelta(seconds=within_s)
        while (sight := self.look()).fact is not fact:
            assert self.now() < end, f"still {sight}"
            await asyncio.sleep(STEP_S)
        return sight

    async def clean(self, *, within_s: float = 120.0) -> None:
        """Let time go by until the spoke is as it was, and the hub has the proof of it."""
        end = self.now() + dt.timedelta(seconds=within_s)
        while left := [*self.world.spoke.leftovers(), *self.works.objects]:
            assert self.now() < end, left
            await asyncio.sleep(STEP_S)

    def work(self, run: str = ORDER.run) -> dict[str, Any]:
        """The run's work on the hub."""
        return self.hub.get(kinds.MANIFEST_WORK, work_name(run), CLUSTER)

    def names(self) -> list[str]:
        """All that is on the hub of pre-caching."""
        found = (kinds.MANIFEST_WORK, kinds.VIEW, kinds.ACTION)
        return sorted(o["metadata"]["name"] for kind in found for o in self.hub.list(kind))

    def writes(self, verb: str, kind: Kind) -> int:
        """How many requests of the operator or of an agent reached the hub."""
        return sum(write[:2] == (verb, kind.plural) for write in self.hub.writes)

    def jobs(self) -> int:
        """How many Jobs were ever created."""
        return sum(len(uids) for uids in self.world.spoke.job_uids().values())

    def _count_pokes(self, _namespace: str, _name: str, work: ManifestWork | None) -> None:
        poke = ((work.metadata.annotations or {}) if work else {}).get(POKE_ANNOTATION)
        if poke:
            self.pokes.add(poke)

    def plant_work(self, run: str) -> None:
        """A work of another run that nobody looks after any more."""
        other = {"namespace": CLUSTER, "name": work_name(run), "labels": {RUN_LABEL: run}}
        space = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": MANUAL_NAMESPACE, "labels": {RUN_LABEL: run}},
        }
        spec: Mapping[str, Any] = {"workload": {"manifests": [space]}}
        self.hub.put(kinds.MANIFEST_WORK, {"metadata": other, "spec": spec})
