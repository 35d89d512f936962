"""Makes a fleet's faults happen: what `faults` has drawn, done to the sites.

Nothing is restored at the end but by the fleet's own end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from talm.api import kinds
from talm.api.words import MANUAL_NAMESPACE
from talm.sim.faults import ClusterFaults
from talm.sim.site import Site
from talm.sim.spoke.memoryspoke import MemorySpoke
from talm.sim.spoke.moments import Moment, at_moment, leave_behind
from talm.sim.spoke.spokejobs import JobPlan, Outcome, Scenario
from talm.sim.spoke.spokepods import Obstacle

SLOW_RTT_S: Final = 0.5
REBOOT_S: Final = 45.0
BUSY_S: Final = 2.0
LATE_S: Final = 3.0
CUTS: Final[Mapping[str, Moment]] = {
    "cut-at-namespace": Moment.NAMESPACE_MADE,
    "cut-when-active": Moment.JOB_READY,
    "cut-at-success": Moment.JOB_COMPLETE,
}
# Fields that objects lack on older clusters, or whose zero is left out.
FIELDS: Final = ("ready", "succeeded", "failed", "terminating", "complete", "record")
OBSTACLES: Final[Mapping[str, Obstacle]] = {
    "unschedulable": Obstacle.UNSCHEDULABLE,
    "pods-refused": Obstacle.REFUSED,
}
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
        site.clock.skew = dt.timedelta(seconds=faults.skew_s)
        if "slow" in faults.struck:
            site.link.rtt_s = SLOW_RTT_S
        if "offline" in faults.struck:
            self._cut(site, faults)
        _blunt_agents(site, faults)
        if isinstance(site.spoke, MemorySpoke):
            self._strike_spoke(site, site.spoke, faults)
        self._repeat_all(site, faults)

    def _strike_spoke(self, site: Site, spoke: MemorySpoke, faults: ClusterFaults) -> None:
        for fault, moment in CUTS.items():
            if fault in faults.struck:
                at_moment(spoke, moment, lambda: self._cut(site, faults))
        for fault, obstacle in OBSTACLES.items():
            if fault in faults.struck:
                spoke.obstacles.put(obstacle)
        held = {"stuck-namespace", "stuck-leftovers"} & faults.struck
        spoke.hold_namespaces = spoke.hold_namespaces or bool(held)
        if held and faults.stuck_for_s is not None:
            self._run(_later(faults.stuck_for_s, spoke.release))
        if {"leftovers", "old-job", "stuck-leftovers"} & faults.struck:
            leave_behind(spoke, job="old-job" in faults.struck)
        if "stuck-leftovers" in faults.struck:
            self._run(spoke.delete(kinds.NAMESPACE, "", MANUAL_NAMESPACE, "Background"))
        if "late-jobs" in faults.struck:
            spoke.jobs.lag_s = LATE_S * site.clock.pace
        if "slow-ends" in faults.struck:
            spoke.jobs.linger_s = LATE_S * site.clock.pace

    def _cut(self, site: Site, faults: ClusterFaults) -> None:
        site.link.down()
        if faults.offline_for_s is not None:
            relist = True if faults.lists_anew else None
            self._run(_later(faults.offline_for_s, lambda: site.link.up(relist=relist)))

    def _repeat_all(self, site: Site, faults: ClusterFaults) -> None:
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


async def _later(after_s: float, act: Callable[[], None]) -> None:
    await asyncio.sleep(after_s)
    act()


def _blunt_agents(site: Site, faults: ClusterFaults) -> None:
    """What agents do not know, do not tell, or do late."""
    if "slow-actions" in faults.struck:
        site.actions.busy_s = BUSY_S
    site.policies.silent = "no-verdict" in faults.struck
    habits = site.works.habits
    if "old-agent" in faults.struck:
        habits = dataclasses.replace(habits, watches=False, freezes=False)
    if "no-field" in faults.struck:
        left_out = random.Random(f"field {site.name}").choice(FIELDS)
        habits = dataclasses.replace(habits, mutes=frozenset({left_out}))
    site.works.habits = habits
