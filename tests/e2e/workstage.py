"""One cluster whose work agent is watched: a hand on hub and spoke, and what its user can see, as text.

Everything waits for what can be seen; a step is written down when the row's own question is answered, so
that patches in between, whose number and order nobody defines, are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import NotFound
from talm.kube.client import Client
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.plane import foreign_crds
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane
from talm.sim.plane.realagents import work_agent
from talm.sim.spoke.kubespoke import KubeSpoke

PATIENCE_S: Final = 120.0
LOOK_AGAIN_S: Final = 0.1
SEEN: Final = (kinds.JOB, kinds.CONFIG_MAP, kinds.SERVICE_ACCOUNT)
OTHERS: Final = frozenset({"default", "kube-root-ca.crt"})

Work = Mapping[str, Any]


class Never(AssertionError):
    """What a row waits for does not come."""


class WorkStage:
    """`space` is the row's own namespace on the spoke; `lines` its transcript."""

    def __init__(self, slug: str, cluster: str, hub: Client, spoke: Client) -> None:
        self.space = slug
        self.lines: list[str] = []
        self._cluster = cluster
        self._hub = hub
        self._spoke = spoke
        self._uids: dict[str, str] = {}

    # --- the hub ---

    async def work(self, name: str, *manifests: Work, configs: tuple[Work, ...] = ()) -> None:
        """Create a work of the row."""
        spec = {"workload": {"manifests": list(manifests)}, "manifestConfigs": list(configs)}
        meta = {"name": self._called(name), "namespace": self._cluster}
        await self._hub.create(kinds.MANIFEST_WORK, {"metadata": meta, "spec": spec})

    async def edit(self, name: str, **meta: Mapping[str, str]) -> None:
        """Write labels or annotations."""
        patch = {"metadata": meta}
        await self._hub.merge_patch(kinds.MANIFEST_WORK, self._called(name), patch, self._cluster)

    async def remove(self, name: str) -> None:
        """Ask for the work's end."""
        await self._hub.delete(kinds.MANIFEST_WORK, self._called(name), self._cluster)

    async def gone(self, name: str) -> None:
        """Wait for the work's end."""
        await self._until(lambda: self._is_gone(name), f"{name} is gone from the hub")

    async def told(self, name: str, what: str, holds: Callable[[Told], bool]) -> None:
        """Wait until the work says so, then write down all that it says."""

        async def so() -> bool:
            body = await self._hub.get(kinds.MANIFEST_WORK, self._called(name), self._cluster)
            last.append(Told(body, self._uids))
            return holds(last[-1])

        last: list[Told] = []
        try:
            await self._until(so, f"{name}: {what}")
        except Never as never:
            raise Never(f"{never}; last: {last[-1].lines() if last else None}") from None
        self.lines += [f"> {name}: {what}", *last[-1].lines()]

    # --- the spoke ---

    async def put(self, body: Work) -> None:
        """Create an object by the row's own hand."""
        await self._spoke.create(_KINDS[body["kind"]], body)

    async def data(self, name: str, **data: str) -> None:
        """Change a ConfigMap."""
        patch = {"data": data}
        await self._spoke.merge_patch(kinds.CONFIG_MAP, name, patch, self.space)

    async def take(self, kind: Kind, name: str) -> None:
        """Delete an object by the row's own hand, and wait until it is gone."""
        await self._spoke.delete(kind, name, self.space)

        async def absent() -> bool:
            try:
                await self._spoke.get(kind, name, self.space)
            except NotFound:
                return True
            return False

        await self._until(absent, f"{kind} {name} is gone")

    async def end_pods(self, phase: str) -> None:
        """Play the kubelet: every pod of the row that has not ended does so."""

        async def one() -> bool:
            pods = await self._spoke.list(kinds.POD, self.space)
            live = [p for p in pods if p.get("status", {}).get("phase") == "Pending"]
            for pod in live:
                status = {"status": {"phase": phase}}
                await self._spoke.merge_patch(
                    kinds.POD, pod["metadata"]["name"], status, self.space, subresource="status"
                )
            return bool(live)

        await self._until(one, "a pod is there")

    async def there(self, what: str, holds: Callable[[list[str]], bool]) -> None:
        """Wait until the row's namespace holds this, then write down what it holds."""

        async def so() -> bool:
            last[:] = await self._objects()
            return holds(last)

        last: list[str] = []
        await self._until(so, f"on the spoke: {what}")
        self.lines += [f"> on the spoke: {what}", *(f"  {line}" for line in last)]

    async def _objects(self) -> list[str]:
        try:
            space = await self._spoke.get(kinds.NAMESPACE, self.space)
        except NotFound:
            return []
        found = [f"Namespace {space['status']['phase']}"]
        for kind in SEEN:
            for body in await self._spoke.list(kind, self.space):
                meta = body["metadata"]
                if meta["name"] in OTHERS:
                    continue
                uid = self._uids.setdefault(meta["uid"], f"uid-{len(self._uids) + 1}")
                data = json.dumps(body.get("data", {}), sort_keys=True)
                found.append(f"{kind.kind} {meta['name']} {uid} {data}")
        return found

    def _called(self, name: str) -> str:
        return f"{self.space}-{name}"

    async def _is_gone(self, name: str) -> bool:
        try:
            await self._hub.get(kinds.MANIFEST_WORK, self._called(name), self._cluster)
        except NotFound:
            return True
        return False

    async def _until(self, question: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await question():  # noqa: ASYNC110 - nobody tells of these
                    await asyncio.sleep(LOOK_AGAIN_S)
        except TimeoutError:
            raise Never(what) from None


class Told:
    """What a work says; uids are numbered."""

    def __init__(self, body: Work, uids: dict[str, str]) -> None:
        self._status = body.get("status") or {}
        self._manifests = (self._status.get("resourceStatus") or {}).get("manifests") or []
        self._generation = body["metadata"]["generation"]
        self._uids = uids
        self.is_seen = bool(body["metadata"].get("finalizers"))

    def says(self, kind: str, status: str) -> bool:
        """Whether a condition of the work's is so."""
        return any(
            c["type"] == kind and c["status"] == status for c in self._status.get("conditions", ())
        )

    def manifest(self, name: str, kind: str, status: str) -> bool:
        """Whether a condition of one manifest is so."""
        return any(
            c["type"] == kind and c["status"] == status
            for entry in self._manifests
            if entry["resourceMeta"]["name"] == name
            for c in entry["conditions"]
        )

    def value(self, name: str) -> Any:
        """A value that is fed back, of whichever manifest; None: there is none."""
        for entry in self._manifests:
            for value in (entry.get("statusFeedback") or {}).get("values") or ():
                if value["name"] == name:
                    found = value["fieldValue"]
                    return next(found[key] for key in found if key != "type")
        return None

    def lines(self) -> list[str]:
        """All of it, but times."""
        told = [f"  {self._condition(c)}" for c in _sorted(self._status.get("conditions"))]
        for entry in self._manifests:
            meta = json.dumps(entry["resourceMeta"], sort_keys=True)
            told.append(f"  {meta}")
            told += [f"    {self._condition(c)}" for c in _sorted(entry["conditions"])]
            for value in (entry.get("statusFeedback") or {}).get("values") or ():
                told.append(f"    {value['name']}: {self._value(value)}")
        return told

    def _condition(self, condition: Work) -> str:
        seen = condition.get("observedGeneration")
        current = "" if seen is None else " of this" if seen == self._generation else " of before"
        words = (condition[key] for key in ("status", "reason", "message"))
        return f"{condition['type']}={' '.join(words)}{current}".rstrip()

    def _value(self, value: Work) -> str:
        found = value["fieldValue"]
        if value["name"] == "uid":
            return self._uids.setdefault(found["string"], f"uid-{len(self._uids) + 1}")
        return json.dumps(found, sort_keys=True)


def _sorted(conditions: Any) -> list[Work]:
    return sorted(conditions or (), key=lambda condition: str(condition["type"]))


_KINDS: Final = {kind.kind: kind for kind in (kinds.NAMESPACE, *SEEN)}


@asynccontextmanager
async def playing(
    directory: Path, cluster: str, *, real: bool
) -> AsyncIterator[tuple[Client, Client]]:
    """A hub and a spoke on real API servers with a work agent between them: both clients."""
    hub = ControlPlane(directory / "hub", "hub", fsync=False)
    spoke = ControlPlane(directory / "spoke", "spoke", SPOKE_CONTROLLERS, fsync=False)
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(stack.enter_async_context(hub), stack.enter_async_context(spoke))
        clients = [
            await stack.enter_async_context(await Client.connect(p.kubeconfig, user_agent="script"))
            for p in (hub, spoke)
        ]
        await foreign_crds.install(clients[0])
        await foreign_crds.install_on_spoke(clients[1])
        await clients[0].create(kinds.NAMESPACE, {"metadata": {"name": cluster}})
        if real:
            child = work_agent(
                cluster,
                hub=hub.kubeconfig,
                spoke=spoke.kubeconfig,
                log=directory / "work-agent.log",
            )
            stack.callback(child.kill)
            child.start()
        else:
            settings = FleetSettings(register=False, controllers=False, agents=False)
            spokes = {cluster: KubeSpoke(clients[1])}
            await stack.enter_async_context(Fleet(clients[0], [cluster], settings, spokes=spokes))
        yield clients[0], clients[1]
