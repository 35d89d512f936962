"""A scene: clusters of one test on a hub, the policy, the fleet that plays them, and what became of a CGU.

Names are the scene's own, so that scenes follow each other on one hub without meeting.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from talm.api import kinds
from talm.api.cgu import CguStatus, ClusterGroupUpgrade
from talm.api.words import CGU_LABEL, FINAL_PHASES, Phase
from talm.errors import ApiError, NotFound
from talm.kube.client import Client
from talm.kube.watch import Informer
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.hubside.clusters import ClusterFacts
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.spoke.spokejobs import JobPlan, Outcome, Scenario, SpokeTimes

from . import world
from .operator import Operator
from .world import until

# Everything takes its time, but a short one.
QUICK = SpokeTimes(
    call_s=0.005, job_sync_s=0.05, pod_start_s=0.1, pod_grace_s=0.2, collect_s=0.05, namespace_s=0.3
)
# A hub as OCM alone makes it: nobody answers views, and `auto` takes works.
PLAIN: Mapping[str, Any] = {"add_ons": False, "transport": "auto"}
LONG_S = 100.0
# The way of a cluster that succeeds.
WAY = (Phase.NOT_STARTED, Phase.PREPARING, Phase.STARTING, Phase.ACTIVE, Phase.SUCCEEDED)


def jobs(
    seconds: float,
    *,
    lasting: Mapping[str, float] | None = None,
    ending: Mapping[str, Outcome] | None = None,
) -> Scenario:
    """A scenario: every Job takes so long and succeeds, but those of clusters with such a suffix."""
    long, ends = lasting or {}, ending or {}

    def plan(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        suffix = cluster.rpartition("-")[2]
        return JobPlan(
            duration_s=long.get(suffix, seconds),
            outcome=ends.get(suffix, Outcome.SUCCEEDS),
            steps=2,
        )

    return plan


def first_lasts(seconds: float) -> Scenario:
    """The first Job of each cluster takes so long, later ones are quick."""
    known: set[str] = set()

    def plan(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        again = cluster in known
        known.add(cluster)
        return JobPlan(duration_s=0.5 if again else seconds)

    return plan


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a test works with; `names` are its clusters, `transport` is the operators' setting."""

    hub: ControlPlane
    client: Client
    directory: Path
    namespace: str
    names: list[str]
    fleet: Fleet
    transport: str

    def operator(self, **settings: Any) -> Operator:
        """An operator for the scene, to be entered."""
        return Operator(self.hub, self.directory, **{"transport": self.transport, **settings})

    def watch(self, name: str) -> Journal:
        """A journal of a CGU, to be entered before the CGU is made."""
        return Journal(self.client, self.namespace, name)

    async def create(self, name: str, clusters: Sequence[str] | None = None, **spec: Any) -> None:
        """Create a CGU on the clusters (None: all)."""
        body = world.cgu(
            name, self.names if clusters is None else clusters, namespace=self.namespace, **spec
        )
        await self.client.create(kinds.CGU, body)

    async def edit(self, name: str, **spec: Any) -> None:
        """Change the spec of a CGU."""
        await self.client.merge_patch(kinds.CGU, name, {"spec": spec}, self.namespace)

    async def status(self, name: str) -> dict[str, Any]:
        """`.status` of a CGU."""
        found = await self.client.get(kinds.CGU, name, self.namespace)
        status: dict[str, Any] = found.get("status") or {}
        return status

    async def phases(self, name: str) -> dict[str, str]:
        """State by cluster; empty while there is none."""
        return world.phases(await self.status(name))

    async def failures(self, name: str) -> dict[str, tuple[str, str]]:
        """cluster -> (reason, message) of `failures`."""
        found = ((await self.status(name)).get("precaching") or {}).get("failures") or []
        return {entry["cluster"]: (entry["reason"], entry["message"]) for entry in found}

    async def reach(
        self,
        name: str,
        phase: Phase,
        clusters: Sequence[str] | None = None,
        *,
        seconds: float = LONG_S,
    ) -> None:
        """Wait until all the clusters (None: the scene's) are in that state or further on its way."""
        wanted = self.names if clusters is None else clusters
        enough = WAY[WAY.index(phase) :] if phase in WAY else (phase,)

        async def there() -> _Verdict:
            found = await self.phases(name)
            return _Verdict(all(found.get(cluster) in enough for cluster in wanted), found)

        await until(there, f"{name}: {len(wanted)} clusters are {phase}", seconds=seconds)

    async def says(
        self, name: str, kind: str, status: str, reason: str, *, seconds: float = LONG_S
    ) -> str:
        """Wait for a condition; its message."""

        async def there() -> _Verdict:
            found = world.conditions(await self.status(name))
            return _Verdict(found.get(kind, ("", "", ""))[:2] == (status, reason), found)

        await until(there, f"{name}: {kind} is {status} {reason}", seconds=seconds)
        return world.conditions(await self.status(name))[kind][2]

    async def holds(self, name: str, *wanted: tuple[str, str, str, str]) -> None:
        """Wait until the conditions (type, status, reason, message) are so, all of them."""

        async def so() -> _Verdict:
            found = world.conditions(await self.status(name))
            return _Verdict(all(found.get(w[0]) == w[1:] for w in wanted), found)

        await until(so, f"{name}: {[w[0] for w in wanted]}", seconds=LONG_S)

    async def completes(self, name: str, *, seconds: float = LONG_S) -> None:
        """Wait until the CGU has ended well."""
        await self.says(name, "Ready", "True", "UpgradeCompleted", seconds=seconds)

    async def on_hub(self, clusters: Sequence[str] | None = None) -> list[str]:
        """Views, actions and works in the namespaces of the clusters (None: all)."""
        where = set(self.names if clusters is None else clusters)
        found = []
        for kind in (kinds.VIEW, kinds.ACTION, kinds.MANIFEST_WORK):
            for body in await self.client.list(kind):
                meta = body["metadata"]
                if meta["namespace"] in where:
                    found.append(f"{meta['namespace']}/{meta['name']}")
        return sorted(found)

    async def placements(self) -> list[str]:
        """Placements and bindings of CGUs."""
        return [
            f"{kind.kind} {body['metadata']['name']}"
            for kind in (kinds.PLACEMENT, kinds.PLACEMENT_BINDING)
            for body in await self.client.list(kind, self.namespace)
            if CGU_LABEL in (body["metadata"].get("labels") or {})
        ]

    async def is_clean(self, *, placements: bool = False, seconds: float = LONG_S) -> None:
        """Wait until nothing is left on hub and spokes, but `placements` while a CGU is not over."""

        async def clean() -> _Verdict:
            left = [*await self.on_hub(), *([] if placements else await self.placements())]
            on_spokes = self.fleet.leftovers()
            return _Verdict(not left and not on_spokes, (left, on_spokes))

        await until(clean, "nothing is left on hub and spokes", seconds=seconds)

    def job_runs(self) -> dict[str, int]:
        """How many Jobs were ever created, by cluster."""
        runs = dict.fromkeys(self.names, 0)
        for (cluster, _, _), uids in self.fleet.job_uids().items():
            runs[cluster] += len(uids)
        return runs

    def each_job_ran_once(self) -> None:
        """Every cluster has seen exactly one Job."""
        others = {cluster: n for cluster, n in self.job_runs().items() if n != 1}
        assert not others, f"Jobs by cluster, where it was not one: {others}"


class _Verdict:
    """True or not, and what was seen, for the message of a wait that is given up."""

    def __init__(self, holds: bool, seen: Any) -> None:
        self.holds, self.seen = holds, seen

    def __bool__(self) -> bool:
        return self.holds

    def __repr__(self) -> str:
        return repr(self.seen)


# type, status, reason, message of a condition
Says = tuple[str, str, str, str]


class Journal:
    """Every stored status of one CGU, in order; `async with` before the CGU is made."""

    def __init__(self, client: Client, namespace: str, name: str) -> None:
        self.statuses: list[CguStatus] = []
        self.changed = asyncio.Event()
        self._client = client
        self._namespace = namespace
        self._name = name
        self._informer = Informer(
            client, kinds.CGU, ClusterGroupUpgrade, self._heard, namespace=namespace
        )

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._informer.run())
        await self._informer.synced.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if exc is not None:
            print(f"--- {self._name}: conditions", *self.conditions(), sep="\n")
            print(f"--- {self._name}: states", *self.states().items(), sep="\n")

    def _heard(self, key: Any, _old: Any, new: ClusterGroupUpgrade | None) -> None:
        if key[1] == self._name and new is not None:
            self.statuses.append(new.status)
            self.changed.set()

    async def catch_up(self) -> None:
        """Wait until it has heard of the CGU as it is now: others ask the API server and know sooner."""
        now = await self._client.get(kinds.CGU, self._name, self._namespace)
        version = now["metadata"]["resourceVersion"]
        key = (self._namespace, self._name)
        assert await self._informer.wait_newer(key, version, timeout_s=30)

    def states(self) -> dict[str, list[str]]:
        """The states that each cluster went through."""
        found: dict[str, list[str]] = {}
        for status in self.statuses:
            known = (status.precaching.status if status.precaching else None) or {}
            for cluster, word in known.items():
                path = found.setdefault(cluster, [])
                if path[-1:] != [word]:
                    path.append(word)
        return found

    def conditions(self, *, only: Collection[str] = ()) -> list[list[Says]]:
        """Every array of conditions that was stored; `only` those types, as far as any is given."""
        found: list[list[Says]] = []
        for status in self.statuses:
            now = [
                (c.type, c.status, c.reason, c.message)
                for c in status.conditions or ()
                if not only or c.type in only
            ]
            if found[-1:] != [now]:
                found.append(now)
        return found

    def ever_bad(self) -> set[str]:
        """Clusters that were ever in a bad final state."""
        bad = {phase.value for phase in FINAL_PHASES} - {Phase.SUCCEEDED.value}
        return {cluster for cluster, path in self.states().items() if bad & set(path)}


@asynccontextmanager
async def set_scene(
    hub: ControlPlane,
    client: Client,
    directory: Path,
    clusters: int,
    *,
    transport: str = "view-action",
    **fleet: Any,
) -> AsyncIterator[Scene]:
    """Play so many clusters on a hub that has CRDs and roles; `fleet` are FleetSettings.

    `transport`: the operators' setting, by default the manual's way.
    """
    mark = f"s{uuid.uuid4().hex[:6]}"
    names = [f"{mark}-{number:03d}" for number in range(1, clusters + 1)]
    given: dict[str, Any] = {
        "times": QUICK,
        "scenario": jobs(0.5),
        "policies": lambda _cluster, _policy: PolicyPlan(remediation_s=0.2),
        "keep_actions_s": 1.0,
        "facts": ClusterFacts(labels={mark: "yes"}),
    }
    try:
        async with Fleet(client, names, FleetSettings(**{**given, **fleet})) as played:
            await world.prepare(client, namespace=mark, label=mark)
            scene = Scene(hub, client, directory, mark, names, played, transport)
            await is_judged(scene)
            yield scene
    finally:
        await strike(client, mark, names)


async def is_judged(scene: Scene) -> None:
    """Wait until the policy is on every cluster and has its verdict in the root's status."""

    async def judged() -> bool:
        root = await scene.client.get(kinds.POLICY, world.POLICY, scene.namespace)
        entries = (root.get("status") or {}).get("status") or []
        return len([e for e in entries if e.get("compliant")]) >= len(scene.names)

    await until(judged, "all clusters have a verdict", seconds=LONG_S)


async def strike(client: Client, namespace: str, names: Sequence[str]) -> None:
    """Take the scene away; what the hub's controllers do of it is not waited for."""
    with contextlib.suppress(NotFound):
        for body in await client.list(kinds.CGU, namespace):
            name = body["metadata"]["name"]
            with contextlib.suppress(NotFound):
                free = {"metadata": {"finalizers": None}}
                await client.delete(kinds.CGU, name, namespace)
                await client.merge_patch(kinds.CGU, name, free, namespace)

    async def remove(kind: kinds.Kind, name: str) -> None:
        with contextlib.suppress(ApiError):
            await client.delete(kind, name)

    for name in names:
        await remove(kinds.MANAGED_CLUSTER, name)
    await asyncio.gather(*(remove(kinds.NAMESPACE, name) for name in (namespace, *names)))
