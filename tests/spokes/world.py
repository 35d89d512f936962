"""Hub, spoke, transport and the real table of the core, in virtual time."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from talm.api.cgu import PrecachingSpec
from talm.api.words import FINAL_PHASES, MANUAL_NAMESPACE, Phase
from talm.core.model import Effect, Sight
from talm.core.precache import advance
from talm.errors import ApiError
from talm.spokes.base import Order
from talm.spokes.profile import Profile
from talm.spokes.viewaction import ViewActionTransport
from tests.spokes.agents import CLUSTER, Agents, SpokeApi
from tests.spokes.hub import START, Clock, MemoryHub

ORDER = Order(
    run="run-1",
    cgu="du-upgrade-4918",
    cgu_namespace="ztp-group-du-sno",
    spec=PrecachingSpec(
        platform_image="registry.example/release@sha256:" + "a" * 64,
        operators_indexes=("registry.example/catalog:v1",),
        operators_packages_and_channels=("ptp:stable", "sriov:stable"),
        exclude_precache_patterns=("aws", "vsphere"),
        space_required="35",
        additional_images=("registry.example/one:1", "registry.example/two:2"),
    ),
    job_deadline_s=14400,
    clusters=2,
    image="registry.example/workload:1",
)


class Remembered:
    """The runs that have succeeded, by cluster; it outlives the operator."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}

    def has_succeeded(self, cluster: str, run: str) -> bool:
        return self.runs.get(cluster) == run

    async def forget_success(self, cluster: str, run: str) -> None:
        if self.has_succeeded(cluster, run):
            del self.runs[cluster]


class World:
    """One cluster walking through the table; `diary` has every phase and what was asked for."""

    def __init__(self, profile: Profile, order: Order = ORDER) -> None:
        self.clock = Clock()
        self.hub = MemoryHub(self.clock)
        self.spoke = SpokeApi(self.clock)
        self.agents = Agents(self.hub, self.spoke)
        self.profile = profile
        self.order = order
        self.phase = Phase.NOT_STARTED
        self.diary: list[str] = []
        self.successes = Remembered()
        self.killed_at: set[int] = set()  # steps whose outcome is not stored any more
        self.restart()

    def restart(self) -> None:
        """A new operator process: fresh caches, no memory."""
        self.hub.deliver()
        for mirror in (self.hub.views, self.hub.actions):
            mirror.listeners.clear()
        self.transport = ViewActionTransport(
            self.hub,
            self.hub.views,
            self.hub.actions,
            profile=self.profile,
            namespace=MANUAL_NAMESPACE,
            now=lambda: self.clock.now,
            successes=self.successes,
        )
        self.hub.views.listeners.append(self.transport.view_changed)
        self.hub.actions.listeners.append(self.transport.action_changed)
        for key, view in self.hub.views.objects.items():
            self.transport.view_changed(key, None, view)
        for key, action in self.hub.actions.objects.items():
            self.transport.action_changed(key, None, action)

    def look(self) -> Sight:
        return self.transport.look(CLUSTER, self.order, self.clock.now)

    def is_in(self, phase: Phase) -> bool:
        return self.phase is phase

    async def do(self, *effects: Effect) -> None:
        await self.transport.carry_out(CLUSTER, effects, self.order)

    async def step(self) -> bool:
        """One pass; False: nothing to do but wait."""
        sight = self.look()
        rule = advance(self.phase, sight.fact)
        if rule.goto is self.phase and not rule.effects:
            return False
        requests = len(self.hub.trace)
        asked = " ".join(effect.name for effect in rule.effects)
        self.diary.append(f"{self.phase.value}: {sight.fact.name} -> {asked}".rstrip(" ->"))
        try:
            await self.do(*rule.effects)
        except ApiError as exc:
            self.diary.append(f"failed: {exc.message}")
            return True
        if len(self.diary) in self.killed_at:
            self.restart()
            return True
        moved = self.phase is not rule.goto
        self.phase = rule.goto or Phase.NOT_STARTED
        assert moved or len(self.hub.trace) > requests, f"asked for nothing: {self.diary[-1]}"
        return True

    async def settle(self) -> None:
        """Pass until there is nothing left but to wait."""
        self.hub.deliver()
        for _ in range(50):
            if self.phase in FINAL_PHASES or not await self.step():
                return
            self.hub.deliver()
        raise AssertionError(f"the transport keeps moving: {self.diary[-8:]}")

    async def run(self, until: Phase = Phase.SUCCEEDED, *, within_s: float = 120) -> None:
        """Let time go on until the cluster is in `until`."""
        end = self.clock.now + dt.timedelta(seconds=within_s)
        await self.settle()
        while self.phase is not until:
            recheck = self.look().recheck
            assert recheck is None or recheck > dt.timedelta(0)
            limit = min(end, self.clock.now + recheck) if recheck else end
            happened = self.clock.run_until(limit)
            assert happened or self.clock.now < end, (
                f"still {self.phase}, {self.look()}, after {self.diary[-12:]}"
            )
            await self.settle()

    def wait(self, seconds: float) -> None:
        """Let the agents go on for so long without the operator; it hears of it."""
        end = self.clock.now + dt.timedelta(seconds=seconds)
        while self.clock.run_until(end):
            pass
        self.hub.deliver()

    @property
    def seconds(self) -> float:
        return (self.clock.now - START).total_seconds()


def other(order: Order = ORDER, **changes: object) -> Order:
    return replace(order, **changes)  # type: ignore[arg-type]
