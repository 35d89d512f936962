"""One hub, one spoke, its agents: the smallest world in which an agent can be watched."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from talm.api import kinds
from talm.sim.agents.policyagent import PolicyScenario, not_yet_compliant
from talm.sim.agents.wire import Action, View
from talm.sim.agents.workagent import WorkHabits
from talm.sim.agents.workwire import Work
from talm.sim.clock import Clock
from talm.sim.hubside.feed import Feed
from talm.sim.hubside.policywire import Policy
from talm.sim.site import ACTIONS, POLICIES, VIEWS, WORKS, Site, build_site
from talm.sim.spoke.memoryspoke import MemorySpoke, always_succeeds
from talm.sim.spoke.spokejobs import Scenario, SpokeTimes
from talm.sim.spoke.spokes import Served

from .fakehub import FakeHub

CLUSTER = "cnfdb1"
START = dt.datetime(2024, 5, 1, 12, 0, 0, 300_000, dt.UTC)


class World:
    """Made inside a virtual loop."""

    def __init__(
        self,
        *,
        times: SpokeTimes | None = None,
        scenario: Scenario = always_succeeds,
        policies: PolicyScenario = not_yet_compliant,
        served: Sequence[Served] = (),
        skew_s: float = 0.0,
        quiet: bool = False,
        rtt_s: float = 0.0,
        habits: WorkHabits | None = None,
    ) -> None:
        self.hub = FakeHub()
        self.clock = Clock(start=START)
        own = self.clock.beside(skew=dt.timedelta(seconds=skew_s))
        times = times or SpokeTimes.instant()
        self.spoke = MemorySpoke(CLUSTER, own, times=times, scenario=scenario, served=served)
        feeds: dict[int, Feed[Any]] = {}
        self.site: Site = build_site(
            CLUSTER,
            self.spoke,
            own,
            self.hub,
            listing=lambda number: feeds[number].of(CLUSTER),
            policies=policies,
            habits=habits,
            rtt_s=rtt_s,
            quiet=quiet,
        )
        links = {CLUSTER: self.site.link}
        for number, kind, struct in (
            (VIEWS, kinds.VIEW, View),
            (ACTIONS, kinds.ACTION, Action),
            (POLICIES, kinds.POLICY, Policy),
            (WORKS, kinds.MANIFEST_WORK, Work),
        ):
            feed = feeds[number] = Feed(links, number)
            self.hub.watch(kind, struct, _telling(feed))

    @property
    def link(self) -> Any:
        return self.site.link

    def view(self, view: str = "v", /, **scope: Any) -> None:
        """Create a ManagedClusterView."""
        meta = {"name": view, "namespace": CLUSTER}
        self.hub.put(kinds.VIEW, {"metadata": meta, "spec": {"scope": scope}})

    def poke(self, name: str = "v") -> None:
        """Write an annotation on a view."""
        old = self.hub.get(kinds.VIEW, name, CLUSTER)
        notes = old["metadata"].get("annotations") or {}
        count = str(int(notes.get("poke", "0")) + 1)
        meta = {**old["metadata"], "annotations": {"poke": count}}
        self.hub.put(kinds.VIEW, {**old, "metadata": meta})

    def action(self, action: str, kind: str, /, **kube: Any) -> None:
        """Create a ManagedClusterAction."""
        meta = {"name": action, "namespace": CLUSTER}
        spec = {"actionType": kind, "kube": kube} if kube else {"actionType": kind}
        self.hub.put(kinds.ACTION, {"metadata": meta, "spec": spec})

    def processing(self, name: str = "v") -> dict[str, Any] | None:
        """The view's Processing condition."""
        return _condition(self.hub.get(kinds.VIEW, name, CLUSTER), "Processing")

    def result(self, name: str = "v") -> Any:
        """The view's result."""
        return self.hub.get(kinds.VIEW, name, CLUSTER)["status"]["result"]

    def completed(self, name: str) -> dict[str, Any] | None:
        """The action's Completed condition."""
        return _condition(self.hub.get(kinds.ACTION, name, CLUSTER), "Completed")

    async def have(self, kind: kinds.Kind, name: str, namespace: str = "", **body: Any) -> None:
        """Create an object on the spoke."""
        await self.spoke.create(kind, namespace, {"metadata": {"name": name}, **body})

    async def settle(self) -> None:
        """Let everything that is ready happen; takes next to no virtual time."""
        await asyncio.sleep(0.001)

    def puts(self, name: str) -> int:
        """How many status writes reached the hub for this object."""
        return sum(write[0] == "PUT" and write[2] == name for write in self.hub.writes)


def config_map(name: str, namespace: str = "default", **data: str) -> Mapping[str, Any]:
    """A template."""
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def job(name: str = "pre-cache", namespace: str = "default", **spec: Any) -> Mapping[str, Any]:
    """A template."""
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def _telling(feed: Feed[Any]) -> Any:
    return lambda namespace, name, new: feed.on_change((namespace, name), None, new)


def _condition(obj: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), None)
