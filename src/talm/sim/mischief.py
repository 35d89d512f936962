"""Makes a fleet's faults happen: what `faults` has drawn, done to the sites.

Nothing is restored at the end but by the fleet's own end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from talm.sim.faults import ClusterFaults
from talm.sim.site import Site
from talm.sim.spoke.memoryspoke import MemorySpoke
from talm.sim.spoke.spokejobs import JobPlan, Outcome, Scenario

SLOW_RTT_S: Final = 0.5
REBOOT_S: Final = 45.0
OUTCOMES: Final[Mapping[str, Outcome]] = {
    "job-fails": Outcome.FAILS,
    "job-hangs": Outcome.HANGS,
    "pull-back-off": Outcome.NEVER_READY,
}


def with_outcomes(scenario: Scenario, faults: Mapping[str, ClusterFaults]) -> Scenario:
    """The scenario, but the Jobs of the struck clusters end badly."""

    def plan(cluster: str, job: Mapping[str, Any]) -> JobPlan:
        chosen = scenario(cluster, job)
        for fault, outcome in OUTCOMES.items():
            if fault in faults[cluster].struck:
                return dataclasses.replace(chosen, outcome=outcome)
        return chosen

    return plan


class Mischief:
    """Runs the faults of each site until it is stopped."""

    def __init__(self, sites: Mapping[str, Site], faults: Mapping[str, ClusterFaults]) -> None:
        self._sites = sites
        self._faults = faults
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Strike; what repeats goes on in tasks."""
        for name, site in self._sites.items():
            self._strike(site, self._faults[name])

    def stop(self) -> None:
        """Do nothing more."""
        for task in self._tasks:
            task.cancel()

    def _strike(self, site: Site, faults: ClusterFaults) -> None:
        site.link.lose_puts = faults.lost_put
        if "slow" in faults.struck:
            site.link.rtt_s = SLOW_RTT_S
        if "stuck-namespace" in faults.struck and isinstance(site.spoke, MemorySpoke):
            site.spoke.hold_namespaces = True
        if "offline" in faults.struck:
            site.link.down()
            if faults.offline_for_s is not None:
                self._run(self._return_later(site, faults.offline_for_s))
        every_s = faults.flap_every_s
        repeated: Mapping[str, Callable[[Site], Awaitable[None]]] = {
            "flap": self._flap(every_s),
            "half-dead": self._half_die(every_s),
            "agent-restart": _restart,
            "spoke-reboot": _reboot,
        }
        for fault, act in repeated.items():
            if fault in faults.struck:
                self._run(self._repeat(site, act, every_s, seed=fault))

    def _run(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _return_later(self, site: Site, after_s: float) -> None:
        await asyncio.sleep(after_s)
        site.link.up()

    async def _repeat(
        self, site: Site, act: Callable[[Site], Awaitable[None]], every_s: float, *, seed: str
    ) -> None:
        dice = random.Random(f"{seed} {site.name}")
        while True:
            await asyncio.sleep(dice.uniform(0.5, 1.5) * every_s)
            await act(site)

    def _flap(self, away_s: float) -> Callable[[Site], Awaitable[None]]:
        async def flap(site: Site) -> None:
            site.link.down()
            await asyncio.sleep(away_s / 2)
            site.link.up()

        return flap

    def _half_die(self, away_s: float) -> Callable[[Site], Awaitable[None]]:
        async def half_die(site: Site) -> None:
            site.link.half_dead()
            await asyncio.sleep(away_s / 2)
            site.link.up()

        return half_die


async def _restart(site: Site) -> None:
    site.restart_agents()


async def _reboot(site: Site) -> None:
    if isinstance(site.spoke, MemorySpoke):
        await site.spoke.reboot(REBOOT_S)
