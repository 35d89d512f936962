"""A spoke that exists only in memory: an API server's rules, namespaces that take time to go,
Jobs that run.  Thousands fit into one process.

Rules and texts are Kubernetes' (namespace lifecycle admission, generic registry store); what
no agent or workload here can see (defaults of other kinds) is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import Invalid, Unreachable
from talm.sim.agents.mergepatch import apply_patch
from talm.sim.clock import Clock
from talm.sim.spoke import spokes
from talm.sim.spoke.objectstore import Key, Object, ObjectStore
from talm.sim.spoke.spokejobs import (
    JobController,
    JobPlan,
    Scenario,
    SpokeTimes,
    last_of,
    with_defaults,
)
from talm.sim.spoke.spokenamespaces import active, finishing
from talm.sim.spoke.spokepods import Obstacle, Obstacles, live, refusal
from talm.sim.spoke.spokes import BUILT_IN, Served

ADDRESS: Final = "172.30.0.1:443"
_FIRST: Final = ("default", "kube-system", "open-cluster-management-agent-addon")
_OWN_META: Final = ("uid", "creationTimestamp", "namespace", "name", "managedFields", "generation")
_FIXED: Final = ("metadata", "status")  # of the kinds whose status is a subresource


def always_succeeds(_cluster: str, _job: Mapping[str, Any]) -> JobPlan:
    """The plainest scenario: every Job takes its minute and succeeds."""
    return JobPlan()


class MemorySpoke:
    """Implements SpokeApi.  `served` beyond BUILT_IN stands for installed CRDs."""

    def __init__(
        self,
        cluster: str,
        clock: Clock,
        *,
        times: SpokeTimes | None = None,
        scenario: Scenario = always_succeeds,
        served: Sequence[Served] = (),
    ) -> None:
        self.cluster = cluster
        self.clock = clock
        self.times = times or SpokeTimes()
        self.served = (*BUILT_IN, *served)
        self.api_down = False
        self.hold_namespaces = False
        """A finalizer keeps every namespace from going, until `release`."""
        self.discoveries = 0
        """Discovery requests answered so far, whole or of one group version."""
        self.store = ObjectStore(clock, seed=cluster)
        self.jobs = JobController(
            cluster,
            self.store,
            clock,
            times=self.times,
            scenario=scenario,
            on_success=self._last_of,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        for name in _FIRST:
            self.store.add(kinds.NAMESPACE, "", active(name))

    # -- SpokeApi ---------------------------------------------------------------------------

    async def discover(self) -> Sequence[Served]:
        """See SpokeApi."""
        await self._reach("Get", "/api?timeout=32s")
        self.discoveries += 1
        return self.served

    async def discover_version(self, group: str, version: str) -> Sequence[Served]:
        """See SpokeApi."""
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        await self._reach("Get", f"{path}?timeout=32s")
        self.discoveries += 1
        return [s for s in self.served if (s.kind.group, s.kind.version) == (group, version)]

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """See SpokeApi."""
        spokes.check_segments(namespace, name)
        await self._reach("Get", kind.path(namespace, name))
        return self._existing("GET", kind, namespace, name)

    async def create(self, kind: Kind, namespace: str, body: Mapping[str, Any]) -> None:
        """See SpokeApi."""
        spokes.check_segments(namespace, None)
        await self._reach("Post", kind.path(namespace))
        if kind.namespaced and not namespace:
            raise spokes.no_method("POST", kind)
        self._check_route("POST", kind, namespace)
        meta = body.get("metadata") or {}
        name = meta.get("name", "")
        if meta.get("namespace", namespace) != namespace:
            raise spokes.other_namespace("POST", kind)
        self._admit(kind, namespace, name)
        if kind == kinds.POD and self.obstacles.now is Obstacle.REFUSED:
            raise refusal(name)
        if old := self.store.find(kind, namespace, name):
            going = "deletionTimestamp" in old["metadata"]
            raise spokes.already_exists(kind, name, going=going)
        typed = {"apiVersion": kind.api_version, "kind": kind.kind}
        self._store_new(kind, namespace, {**body, **typed})

    async def merge_patch(
        self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> None:
        """See SpokeApi."""
        spokes.check_segments(namespace, name)
        await self._reach("Patch", kind.path(namespace, name))
        old = self._existing("PATCH", kind, namespace, name)
        meta = patch.get("metadata") or {}
        if meta.get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            raise spokes.changed_meanwhile("PATCH", kind, name)
        new = self._patched(kind, old, patch)
        if new != old:
            self.store.put(kind, new)

    async def delete(self, kind: Kind, namespace: str, name: str, propagation: str) -> None:
        """See SpokeApi.  Every deletion takes a moment; a namespace takes its own time."""
        spokes.check_segments(namespace, name)
        await self._reach("Delete", kind.path(namespace, name))
        old = self._existing("DELETE", kind, namespace, name)
        if "deletionTimestamp" in old["metadata"]:
            return  # asked before: accepted again, nothing happens
        gone: dict[str, Any] = {"deletionTimestamp": self.clock.stamp()}
        if propagation == "Foreground":
            finalizers = [*old["metadata"].get("finalizers", ()), "foregroundDeletion"]
            gone["finalizers"] = finalizers
        marked = self.store.put(kind, {**old, "metadata": {**old["metadata"], **gone}})
        if kind == kinds.NAMESPACE:
            self._spawn(self._end_namespace(marked))
        else:
            self._spawn(self._end_object(kind, marked))

    def follow(
        self, kind: Kind, namespace: str, on_change: Callable[[str], None]
    ) -> Callable[[], None]:
        """See SpokeApi."""

        def tell(changed: Kind, obj: Object) -> None:
            meta = obj["metadata"]
            if "deletionTimestamp" in meta and not meta.get("finalizers"):
                return  # on a real API server it is gone by now
            if changed == kind and meta.get("namespace", "") == namespace:
                on_change(meta["name"])

        self.store.followers.append(tell)
        return lambda: self.store.followers.remove(tell)

    # -- what a test or a fault does ----------------------------------------------------------

    @property
    def obstacles(self) -> Obstacles:
        """What keeps all pods from starting."""
        return self.jobs.obstacles

    async def reboot(self, down_s: float) -> None:
        """The node restarts: its API is away for `down_s`, running pods are lost."""
        self.api_down = True
        await self.clock.sleep(down_s)
        self.api_down = False
        self.jobs.kill_pods()

    def release(self) -> None:
        """Let stuck namespaces go."""
        self.hold_namespaces = False
        self._released.set()

    def job_uids(self) -> dict[Key, list[str]]:
        """Every Job ever created, by namespace and name: more than one uid is a second run."""
        seen: dict[Key, list[str]] = {}
        for key, uid in self.jobs.created:
            seen.setdefault(key, []).append(uid)
        return seen

    def leftovers(self) -> list[str]:
        """What is here beyond a fresh spoke: `kind namespace/name`, sorted."""
        found = []
        for kind in {s.kind for s in self.served}:
            for obj in self.store.all(kind):
                meta = obj["metadata"]
                if not (kind == kinds.NAMESPACE and meta["name"] in _FIRST):
                    found.append(f"{kind.kind} {meta.get('namespace', '')}/{meta['name']}")
        return sorted(found)

    def close(self) -> None:
        """End everything that runs here."""
        self.jobs.close()
        for task in self._tasks:
            task.cancel()

    # -- rules --------------------------------------------------------------------------------

    async def _reach(self, verb: str, path: str) -> None:
        await self.clock.sleep(self.times.call_s)
        if self.api_down:
            text = f'{verb} "https://{ADDRESS}{path}": dial tcp {ADDRESS}: connect: '
            raise Unreachable(verb, path, 0, text + "connection refused")

    def _check_route(self, verb: str, kind: Kind, namespace: str) -> None:
        if kind.namespaced != bool(namespace) or all(s.kind != kind for s in self.served):
            raise spokes.no_route(verb, kind)

    def _existing(self, verb: str, kind: Kind, namespace: str, name: str) -> Object:
        self._check_route(verb, kind, namespace)
        found = self.store.find(kind, namespace, name)
        if found is None:
            raise spokes.not_found(verb, kind, name)
        return found

    def _admit(self, kind: Kind, namespace: str, name: str) -> None:
        if namespace:
            home = self.store.find(kinds.NAMESPACE, "", namespace)
            if home is None:
                raise spokes.not_found("POST", kinds.NAMESPACE, namespace)
            if "deletionTimestamp" in home["metadata"]:
                raise spokes.namespace_ends(kind, namespace, name)
        if not name:
            title = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
            text = f'{title} "" is invalid: metadata.name: Required value: name or generateName'
            raise Invalid("POST", title, 422, f"{text} is required", reason="Invalid")

    def _store_new(self, kind: Kind, namespace: str, body: Mapping[str, Any]) -> None:
        if kind == kinds.NAMESPACE:
            self.store.add(kind, "", {**body, **active(body["metadata"]["name"], body)})
            return
        obj = self.store.add(kind, namespace, body)
        if kind == kinds.POD:
            start_s = self.times.pod_start_s
            self._spawn(live(obj, self.store, self.clock, self.obstacles, start_s))
        if kind == kinds.DAEMON_SET:
            self._spawn(self._run_everywhere(obj))
        if kind == kinds.JOB:
            self.jobs.start(self.store.put(kind, with_defaults(obj)))

    def _patched(self, kind: Kind, old: Object, patch: Mapping[str, Any]) -> Object:
        new: Object = apply_patch(old, patch)
        meta = new.get("metadata") or {}
        kept = {key: old["metadata"][key] for key in _OWN_META if key in old["metadata"]}
        version = {"resourceVersion": old["metadata"]["resourceVersion"]}
        new = {**new, "metadata": {**meta, **kept, **version}}
        if "status" in old:
            new["status"] = old["status"]
        if kind == kinds.NAMESPACE:
            new["spec"] = old["spec"]
        if kind == kinds.JOB and (new.get("spec") or {}) != old["spec"]:
            name = meta.get("name", "")
            text = f'Job.batch "{name}" is invalid: spec.template: field is immutable'
            raise Invalid("PATCH", name, 422, text, reason="Invalid")
        return new

    async def _run_everywhere(self, daemon_set: Object) -> None:
        """Have a DaemonSet's pods get ready, and then do what they were told to."""
        await self.clock.sleep(self.times.job_sync_s + self.times.pod_start_s)
        self._last_of(daemon_set)

    def _last_of(self, work: Object) -> None:
        """Delete the namespace that the pods were told to delete when their work is done."""
        name = last_of(work)
        found = self.store.find(kinds.NAMESPACE, "", name) if name else None
        if found is not None and "deletionTimestamp" not in found["metadata"]:
            gone = {**found["metadata"], "deletionTimestamp": self.clock.stamp()}
            marked = self.store.put(kinds.NAMESPACE, {**found, "metadata": gone})
            self._spawn(self._end_namespace(marked))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_object(self, kind: Kind, obj: Object) -> None:
        meta = obj["metadata"]
        wait_s = self.times.collect_s
        if kind == kinds.JOB and self.jobs.end(meta["uid"]):
            wait_s += self.times.pod_grace_s
        await self.clock.sleep(wait_s)
        self.store.drop(kind, meta.get("namespace", ""), meta["name"])

    async def _end_namespace(self, namespace: Object) -> None:
        name = namespace["metadata"]["name"]
        pods = self.jobs.has_pod(name)
        self.store.put_status(kinds.NAMESPACE, namespace, finishing(self.clock.stamp(), pods=pods))
        await self.clock.sleep(self.times.collect_s)
        for kind, obj in self.store.inside(name):
            if kind == kinds.JOB:
                self.jobs.end(obj["metadata"]["uid"])
            self.store.drop(kind, name, obj["metadata"]["name"])
        await self.clock.sleep(self.times.namespace_s + (self.times.pod_grace_s if pods else 0))
        while self.hold_namespaces:
            stuck = finishing(self.clock.stamp(), pods=False, stuck=True)
            self.store.put_status(kinds.NAMESPACE, namespace, stuck)
            self._released.clear()
            await self._released.wait()
        self.store.drop(kinds.NAMESPACE, "", name)
