"""The hub's picture of its clusters: ManagedCluster, its namespace, its work-manager add-on.

Availability follows the link, late as on a real hub: a silent cluster counts as available
until its registration agent's lease has expired (5 x 60 s), then becomes Unknown and tainted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog

from talm.api import kinds
from talm.errors import AlreadyExists, ApiError
from talm.sim.agents.base import Hub
from talm.sim.clock import Clock
from talm.sim.links import Link, LinkState

log = structlog.get_logger(__name__)

GRACE_S: Final = 300.0
AVAILABLE: Final = "ManagedClusterConditionAvailable"
SILENT: Final = "ManagedClusterLeaseUpdateStopped"
SILENT_TEXT: Final = "Registration agent stopped updating its lease."
UNREACHABLE: Final = "cluster.open-cluster-management.io/unreachable"
ADD_ON_NAME: Final = "work-manager"
RETRY_S: Final = 5.0

Condition = dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a registering cluster tells of itself.  `labels` are added to `name`."""

    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    claims: Mapping[str, str] = dataclasses.field(default_factory=dict)


class ClusterKeeper:
    """Registers clusters and keeps their availability; one per hub.

    `grace_s`: from the link's end to Unknown; `recover_s`: from its return to Available.
    `add_ons`: the clusters have the add-on that answers views, but those in `plain`.
    """

    def __init__(
        self,
        hub: Hub,
        clock: Clock,
        *,
        grace_s: float = GRACE_S,
        recover_s: float = 1.0,
        add_ons: bool = False,
        plain: Collection[str] = (),
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._grace_s = grace_s
        self._recover_s = recover_s
        self._add_ons = add_ons
        self._plain = frozenset(plain)
        self._conditions: dict[str, list[Condition]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._writes: dict[str, asyncio.Task[None]] = {}

    async def register(self, name: str, facts: ClusterFacts) -> None:
        """Make the cluster known to the hub, as far as it is not; it is available."""
        await self._ensure(kinds.NAMESPACE, {"metadata": {"name": name}})
        labels = {"name": name, **facts.labels}
        meta = {"name": name, "labels": labels}
        spec = {"hubAcceptsClient": True, "leaseDurationSeconds": 60}
        await self._ensure(kinds.MANAGED_CLUSTER, {"metadata": meta, "spec": spec})
        self._conditions[name] = [self._now(c) for c in _JOINED]
        claims = [{"name": key, "value": value} for key, value in sorted(facts.claims.items())]
        status: dict[str, Any] = {"conditions": self._conditions[name]}
        if claims:
            status["clusterClaims"] = claims
        await self._patch_status(name, status)
        if self._has_add_on(name):
            where = {"name": ADD_ON_NAME, "namespace": name}
            home = {"installNamespace": "open-cluster-management-agent-addon"}
            await self._ensure(kinds.ADD_ON, {"metadata": where, "spec": home})
            await self._write_add_on(name, _ADD_ON_WORKS)

    def follow(self, name: str, link: Link) -> None:
        """Have the cluster's availability follow its link from now on."""
        link.on_change.append(functools.partial(self._link_changed, name))

    def stop(self) -> None:
        """Change nothing more."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._writes.values():
            task.cancel()

    def _link_changed(self, name: str, state: LinkState) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
        if state is LinkState.HALF_DEAD:
            return  # the registration agent has a connection of its own
        is_up = state is LinkState.UP
        if is_up == self.is_available(name):
            return
        after, change = (self._recover_s, self._return) if is_up else (self._grace_s, self._give_up)
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(after, self._start, name, change)

    def is_available(self, name: str) -> bool:
        """What the hub believes of the cluster now."""
        status = {c["type"]: c["status"] for c in self._conditions.get(name, ())}
        return status.get(AVAILABLE) == "True"

    def _start(self, name: str, change: Callable[[str], Any]) -> None:
        self._timers.pop(name, None)
        task = asyncio.get_running_loop().create_task(self._until_done(name, change))
        if old := self._writes.get(name):
            old.cancel()
        self._writes[name] = task

    async def _until_done(self, name: str, change: Callable[[str], Any]) -> None:
        while True:
            try:
                await change(name)
            except ApiError as exc:
                log.warning("availability not written", cluster=name, error=str(exc))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _give_up(self, name: str) -> None:
        self._set_available(name, "Unknown", SILENT, SILENT_TEXT)
        await self._patch_status(name, {"conditions": self._conditions[name]})
        taint = {"key": UNREACHABLE, "effect": "NoSelect", "timeAdded": self._clock.stamp()}
        await self._hub.merge_patch(kinds.MANAGED_CLUSTER, name, {"spec": {"taints": [taint]}})
        if self._has_add_on(name):
            await self._write_add_on(name, ("Unknown", SILENT, SILENT_TEXT))

    async def _return(self, name: str) -> None:
        self._set_available(name, "True", *_IS_AVAILABLE)
        await self._patch_status(name, {"conditions": self._conditions[name]})
        await self._hub.merge_patch(kinds.MANAGED_CLUSTER, name, {"spec": {"taints": None}})
        if self._has_add_on(name):
            await self._write_add_on(name, _ADD_ON_WORKS)

    def _has_add_on(self, name: str) -> bool:
        return self._add_ons and name not in self._plain

    def _set_available(self, name: str, status: str, reason: str, message: str) -> None:
        new = {"type": AVAILABLE, "status": status, "reason": reason, "message": message}
        self._conditions[name] = [
            self._now(new) if c["type"] == AVAILABLE and c["status"] != status else c
            for c in self._conditions[name]
        ]

    def _now(self, condition: Mapping[str, str]) -> Condition:
        return {**condition, "lastTransitionTime": self._clock.stamp()}

    async def _write_add_on(self, cluster: str, words: tuple[str, str, str]) -> None:
        status, reason, message = words
        condition = {"type": "Available", "status": status, "reason": reason, "message": message}
        patch = {"status": {"conditions": [self._now(condition)]}}
        await self._hub.merge_patch(kinds.ADD_ON, ADD_ON_NAME, patch, cluster, subresource="status")

    async def _patch_status(self, name: str, status: Mapping[str, Any]) -> None:
        patch = {"status": status}
        await self._hub.merge_patch(kinds.MANAGED_CLUSTER, name, patch, subresource="status")

    async def _ensure(self, kind: kinds.Kind, body: Mapping[str, Any]) -> None:
        try:
            await self._hub.create(
                kind, {"apiVersion": kind.api_version, "kind": kind.kind, **body}
            )
        except AlreadyExists:
            return


_IS_AVAILABLE: Final = ("ManagedClusterAvailable", "Managed cluster is available")
_ADD_ON_WORKS: Final = (
    "True",
    "ManagedClusterAddOnLeaseUpdated",
    f"{ADD_ON_NAME} add-on is available.",
)
_JOINED: Final[tuple[Condition, ...]] = (
    {
        "type": "HubAcceptedManagedCluster",
        "status": "True",
        "reason": "HubClusterAdminAccepted",
        "message": "Accepted by hub cluster admin",
    },
    {
        "type": "ManagedClusterJoined",
        "status": "True",
        "reason": "ManagedClusterJoined",
        "message": "Managed cluster joined",
    },
    {
        "type": AVAILABLE,
        "status": "True",
        "reason": _IS_AVAILABLE[0],
        "message": _IS_AVAILABLE[1],
    },
    {
        "type": "ManagedClusterConditionClockSynced",
        "status": "True",
        "reason": "ManagedClusterClockSynced",
        "message": "The clock of the managed cluster is synced with the hub.",
    },
)
