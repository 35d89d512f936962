"""Where cases are played: a hub of their own, the fleet of all of them, and who runs the operator.

wave(cases) -> control plane -> fleet -> operator(s) -> the cases side by side, each told as it ends
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from talm.kube.client import Client
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.fleet import Fleet, FleetSettings
from talm.sim.mischief import with_outcomes
from talm.sim.plane.controlplane import ControlPlane
from talm.sim.plane.deployment import USER
from talm.sim.spoke.spokejobs import JobPlan, SpokeTimes
from talm.spokes.bycluster import Way
from tests.integration.faultproxy import FaultProxy
from tests.integration.operator import Operator, install

from .case import Case, Result, struck
from .lookout import Lookout
from .rows import Crew

# Spokes live so much faster than the hub; their deadlines, too.
PACE: Final = 20.0
TIMES: Final = SpokeTimes(
    call_s=0.1, job_sync_s=1.0, pod_start_s=2.0, pod_grace_s=4.0, collect_s=1.0, namespace_s=6.0
)
# From a link's end to the hub's notice of it, and how long actions are kept: 300 and 60 s elsewhere.  The
# latter is longer than the start of an operator that was killed takes on a busy machine.
NOTICE_S: Final = 5.0
KEEP_S: Final = 20.0
GRACE_MIN: Final = 1
KILLS: Final = 8
KILL_EVERY_S: Final = (0.2, 4.0)
REFUSED: Final = 0.1
LEASE: Final = {"lease_duration": 6, "renew_deadline": 4, "retry_period": 0.5}


@dataclass(frozen=True)
class Terms:
    """`setup_min`: the operator's deadline for the setup, `hurried_min`: where a row waits for it; a busy
    machine wants longer ones.  `logs`: where the operators' logs are kept."""

    setup_min: int
    hurried_min: int
    seed: int
    logs: Path | None = None

    def deadline_min(self, crew: Crew) -> int:
        """The operator's deadline for the setup."""
        return self.hurried_min if crew is Crew.HURRIED else self.setup_min

    def limit_s(self, crew: Crew) -> float:
        """When a cluster counts as stuck: its setup, its Job at the spokes' pace, and two minutes."""
        return self.deadline_min(crew) * 60 + 600 / PACE + 120


async def wave(cases: Sequence[Case], terms: Terms) -> AsyncIterator[Result]:
    """Play cases of one way and one crew side by side on a fresh hub; yields each as it ends."""
    (way,), (crew,) = {case.way for case in cases}, {case.row.crew for case in cases}
    with tempfile.TemporaryDirectory(prefix="talm-matrix-") as directory:
        plane = ControlPlane(Path(directory), fsync=False)
        async with plane, await Client.connect(plane.kubeconfig, user_agent="matrix") as client:
            await install(client)
            names = [name for case in cases for name in case.names]
            async with (
                Fleet(client, names, _fleet_settings(cases)) as fleet,
                Lookout(client) as lookout,
                _Crew(plane, way, terms, lookout, cases[0].row.name).work(crew),
            ):
                for case in cases:
                    case.enter(client, fleet, lookout)
                for ended in asyncio.as_completed([case.play() for case in cases]):
                    yield await ended


def _fleet_settings(cases: Sequence[Case]) -> FleetSettings:
    by_name = {name: case for case in cases for name in case.names}

    def plan(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        return by_name[cluster].plan()

    return FleetSettings(
        pace=PACE,
        times=TIMES,
        scenario=with_outcomes(plan, struck(cases)),
        policies=lambda _cluster, _policy: PolicyPlan(remediation_s=5.0),
        quiet=True,
        keep_actions_s=KEEP_S,
        grace_s=NOTICE_S,
        # Works go to clusters whose views prove them clean, and to those that have none.
        plain=[
            name
            for case in cases
            for name in case.names[::2]
            if case.way is Way.MANIFEST_WORK and case.row.plain
        ],
    )


class _Crew:
    """Starts who runs the operator, and makes them suffer."""

    def __init__(
        self, plane: ControlPlane, way: Way, terms: Terms, lookout: Lookout, named: str
    ) -> None:
        self._plane = plane
        self._named = named
        self._way = way
        self._terms = terms
        self._lookout = lookout
        self._dice = random.Random(f"crew {terms.seed}")

    @asynccontextmanager
    async def work(self, crew: Crew) -> AsyncIterator[None]:
        """Have the operator at work as long as the context lasts."""
        async with contextlib.AsyncExitStack() as stack:
            proxy = None
            if crew in {Crew.REFUSED, Crew.ALL}:
                kubeconfig = self._plane.kubeconfig_for(USER)
                seed = self._terms.seed
                proxy = await stack.enter_async_context(
                    FaultProxy(kubeconfig, self._plane.directory, seed=seed)
                )
            more: dict[str, Any] = {"kubeconfig": str(proxy.kubeconfig)} if proxy else {}
            more |= LEASE if crew is Crew.RELIEVED else {}
            more["leader_elect"] = crew not in {
                Crew.KILLED,
                Crew.ALL,
            }  # they had to wait for their own Lease
            more["setup_deadline"] = self._terms.deadline_min(crew)
            first = await stack.enter_async_context(self._operator("first", **more))
            task = asyncio.ensure_future(self._torment(crew, first, proxy))
            try:
                if crew is Crew.RELIEVED:
                    second = self._operator("second", at_work=False, **more)
                    await stack.enter_async_context(second)
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self._keep(first, f"{self._way}-{crew.name.lower()}-{self._named}")

    def _operator(self, name: str, **more: Any) -> Operator:
        return Operator(
            self._plane,
            self._plane.directory,
            name=name,
            quiet=True,
            transport=str(self._way),
            unavailable_grace=GRACE_MIN,
            log_level="debug" if self._terms.logs else "info",
            **more,
        )

    def _keep(self, operator: Operator, name: str) -> None:
        if self._terms.logs is not None and operator.log.exists():
            self._terms.logs.mkdir(parents=True, exist_ok=True)
            shutil.copy(operator.log, self._terms.logs / f"{name}-{operator.log.name}")

    async def _torment(self, crew: Crew, first: Operator, proxy: FaultProxy | None) -> None:
        while not self._lookout.has_begun():  # noqa: ASYNC110 - an informer's cache has no event
            await asyncio.sleep(0.1)
        if proxy is not None:
            proxy.rate = REFUSED
        if crew is Crew.RELIEVED:
            await asyncio.sleep(self._dice.uniform(*KILL_EVERY_S))
            first.kill()
        if crew in {Crew.KILLED, Crew.ALL}:
            await self._kill_again_and_again(first, proxy)

    async def _kill_again_and_again(self, operator: Operator, proxy: FaultProxy | None) -> None:
        for number in range(1, KILLS + 1):
            await asyncio.sleep(self._dice.uniform(*KILL_EVERY_S))
            operator.kill()
            if proxy is not None:
                proxy.rate = 0.0  # an operator whose first requests are refused ends, and may
            operator.start()
            await operator.works(number + 1)
            if proxy is not None:
                proxy.rate = REFUSED
