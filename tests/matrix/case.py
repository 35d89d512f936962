"""One row played through one transport: its clusters, its policy, its CGUs, and what became of them.

    Case(row, way, n) -> prepare -> row.play(case) -> finish -> violations

Many cases share one fleet, one hub and one operator; names are the case's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from talm.api import kinds
from talm.api.words import FINAL_PHASES, Phase
from talm.errors import ApiError, NotFound
from talm.kube.client import Client
from talm.sim.faults import ClusterFaults, parse_faults
from talm.sim.fleet import Fleet
from talm.sim.hubside.policyengine import Propagator
from talm.sim.links import LinkState
from talm.sim.mischief import Mischief
from talm.sim.site import Site
from talm.sim.spoke.spokejobs import JobPlan
from talm.spokes.bycluster import Way
from tests.integration import world

from .judge import GONE, Expected, Seen, expected_of, outcome, violations
from .lookout import Lookout
from .rows import Row

NAME: Final = "up"
LOOK_S: Final = 0.2
TIMEOUT_MIN: Final = 10
"""The Jobs' deadline on the spokes' clocks, which run faster."""
LATE_S: Final = 5.0
"""How long a cluster that returns is watched for a Job that begins late."""
CLEAN_S: Final = 180.0


class Stuck(Exception):
    """Something did not come within the stated deadlines."""


@dataclass
class Result:
    """What is told of a case."""

    row: Row
    way: Way
    clusters: int
    seconds: float = 0.0
    outcome: str = ""
    breaches: list[str] = field(default_factory=list)


class Case:
    """`limit_s`: when a cluster that is still open counts as stuck."""

    def __init__(self, row: Row, way: Way, clusters: int, *, seed: int, limit_s: float) -> None:
        self.row, self.way = row, way
        short = "v" if way is Way.VIEW_ACTION else "w"
        self.namespace = f"{row.name}-{short}"
        self.names = [f"{self.namespace}-{number:03d}" for number in range(1, clusters + 1)]
        self.faults: dict[str, ClusterFaults] = parse_faults(row.faults, seed=seed).plan(self.names)
        self.expected: dict[str, Expected] = {
            name: expected_of(hit, enabled=row.enable, most_jobs=row.jobs)
            for name, hit in self.faults.items()
        }
        self._dice = random.Random(f"{seed} {self.namespace}")
        self._limit_s = limit_s
        self._spawned: set[asyncio.Task[None]] = set()
        self._mischief: Mischief | None = None

    @property
    def size(self) -> int:
        return len(self.names)

    def enter(self, client: Client, fleet: Fleet, lookout: Lookout) -> None:
        """Take the place on a stage."""
        self._client, self._fleet, self._lookout = client, fleet, lookout

    def plan(self) -> JobPlan:
        """How the next Job goes, before its cluster's faults."""
        return JobPlan(duration_s=self._dice.uniform(*self.row.job_s), steps=2)

    async def play(self) -> Result:
        """Play the row to its end and judge it."""
        began = time.monotonic()
        result = Result(self.row, self.way, len(self.names))
        try:
            await self._prepare()
            await self.row.play(self)
        except (Stuck, ApiError) as exc:
            result.breaches.append(f"{type(exc).__name__}: {exc}")
        phases, failures = self.phases(), self._lookout.failures(self.namespace, NAME)
        ran = self._jobs()
        late, on_hub, on_spokes = await self._finish(ran)
        seen = Seen(phases, failures, ran, late, on_hub, on_spokes)
        result.breaches += violations(self.expected, seen)
        result.outcome = outcome(seen)
        result.seconds = time.monotonic() - began
        return result

    # --- what plays do and ask ---

    @property
    def propagator(self) -> Propagator:
        assert self._fleet.propagator is not None
        return self._fleet.propagator

    def site(self, name: str) -> Site:
        return self._fleet[name]

    def strike(self) -> None:
        """Let the faults begin, once."""
        if self._mischief is None:
            sites = {name: self._fleet[name] for name in self.names}
            self._mischief = Mischief(sites, self.faults)
            self._mischief.start()

    async def create(self, name: str = NAME) -> None:
        """Create the CGU on all clusters; one after another has another second as its age."""
        if name != NAME:
            await asyncio.sleep(1.1)
        strategy = {"maxConcurrency": len(self.names), "timeout": TIMEOUT_MIN}
        body = world.cgu(
            name,
            self.names,
            namespace=self.namespace,
            enable=self.row.enable,
            remediationStrategy=strategy,
        )
        await self._client.create(kinds.CGU, body)

    async def edit(self, **spec: Any) -> None:
        """Change the CGU's spec."""
        await self._client.merge_patch(kinds.CGU, NAME, {"spec": spec}, self.namespace)

    def phases(self, name: str = NAME) -> Mapping[str, str]:
        return self._lookout.phases(self.namespace, name)

    async def begins(self) -> None:
        """Wait until a Job is active, or was between two looks."""
        begun = {Phase.ACTIVE, *FINAL_PHASES}
        await self._until(lambda: bool(begun & set(self.phases().values())), "a cluster is active")

    async def ends(self, name: str = NAME) -> None:
        """Wait until every cluster has come to its end, as far as any is expected to."""
        wanted = {cluster for cluster, rule in self.expected.items() if (GONE, "") not in rule.ends}

        def over() -> bool:
            found = self.phases(name)
            return all(found.get(cluster) in FINAL_PHASES for cluster in wanted)

        await self._until(over, f"{name}: every cluster has ended", quietly=True)

    async def says(self, kind: str, status: str) -> None:
        """Wait for a condition."""

        def said() -> bool:
            return self._lookout.conditions(self.namespace, NAME).get(kind) == status

        await self._until(said, f"{kind} is {status}")

    def expects_nobody_began(self) -> None:
        """Nothing may have been begun so far."""
        if set(self.phases().values()) - {Phase.NOT_STARTED} or any(self._jobs().values()):
            raise Stuck(f"begun too early: {outcome(Seen(self.phases()))}")

    def all_succeeded(self, name: str) -> None:
        """Every cluster of a further CGU must have succeeded."""
        if set(self.phases(name).values()) != {Phase.SUCCEEDED}:
            raise Stuck(f"{name}: {outcome(Seen(self.phases(name)))}")

    def expect(self, **rule: Any) -> None:
        """Expect something else of every cluster."""
        self.expected = {n: dataclasses.replace(r, **rule) for n, r in self.expected.items()}

    def forget(self, names: Collection[str]) -> None:
        """These clusters leave the hub: whatever is left on them is nobody's."""
        for name in names:
            ends = ((GONE, ""), (Phase.SUCCEEDED, ""))  # it may have been quicker
            self.expected[name] = Expected(ends, 0, 1, may_leave=True)

    def detach_soon(self, names: Collection[str]) -> None:
        """Have ManagedClusters deleted with their namespaces, as a hub does."""
        task = asyncio.get_running_loop().create_task(self._detach(names))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    async def _detach(self, names: Collection[str]) -> None:
        for name in names:
            for kind in (kinds.MANAGED_CLUSTER, kinds.NAMESPACE):
                await self._client.delete(kind, name)

    async def are_gone(self, kind: kinds.Kind, names: Collection[str]) -> None:
        """Wait until none of the objects is there."""
        for name in names:
            gone = functools.partial(self._gone, kind, name)
            await self._asked(gone, f"{kind.kind} {name} is gone")

    async def children_say(self, word: str, names: Collection[str]) -> None:
        """Wait until the child policies of the clusters have a word in them."""
        child = f"{self.namespace}.{world.POLICY}"

        async def told(name: str) -> bool:
            return word in str(await self._client.get(kinds.POLICY, child, name))

        for name in names:
            await self._asked(functools.partial(told, name), f"the child of {name} says {word}")

    # --- before and after ---

    async def _prepare(self) -> None:
        if self.row.early:
            self.strike()
        if self.row.childless:
            self.propagator.childless |= set(self.names[::10])
        await self._client.create(kinds.NAMESPACE, {"metadata": {"name": self.namespace}})
        for kind, body in self._policy():
            await self._client.create(kind, body)
        await self._asked(self._is_judged, "the policy is on all clusters")

    def _policy(self) -> list[tuple[kinds.Kind, dict[str, Any]]]:
        """The policy and where it is: on the clusters of this case."""
        policy = world.policy(namespace=self.namespace)
        if self.row.templated:
            (template,) = policy["spec"]["policy-templates"]
            (entry,) = template["objectDefinition"]["spec"]["object-templates"]
            annotations = {"site": "{{hub .ManagedClusterName hub}}"}
            entry["objectDefinition"]["metadata"]["annotations"] = annotations
        (_, placement), binding = world.everywhere(namespace=self.namespace)
        own = {"matchExpressions": [{"key": "name", "operator": "In", "values": self.names}]}
        placement["spec"]["predicates"] = [{"requiredClusterSelector": {"labelSelector": own}}]
        if not self.row.tolerant:
            del placement["spec"]["tolerations"]
        return [(kinds.POLICY, policy), (kinds.PLACEMENT, placement), binding]

    async def _is_judged(self) -> bool:
        root = await self._client.get(kinds.POLICY, world.POLICY, self.namespace)
        entries = (root.get("status") or {}).get("status") or []
        told = [entry for entry in entries if self.row.early or entry.get("compliant")]
        return len(told) >= len(self.names)

    async def _finish(self, ran: Mapping[str, int]) -> tuple[list[str], list[str], dict[str, Any]]:
        """Mend the world, take the CGUs away; what began late and what is left after a while."""
        if self._mischief is not None:
            self._mischief.stop()
        for name in self.names:
            self._mend(name)
        with contextlib.suppress(ApiError):
            for cgu in self._lookout.names(self.namespace):
                await self._client.delete(kinds.CGU, cgu, self.namespace)
        with contextlib.suppress(Stuck):
            await self._until(self._is_clean, "clean", seconds=CLEAN_S)
        if any(LINKED_LATE & hit.struck for hit in self.faults.values()):
            await asyncio.sleep(LATE_S)
        late = [name for name, count in self._jobs().items() if count > ran[name]]
        await asyncio.gather(*self._spawned, return_exceptions=True)
        cgus = [f"{self.namespace}/{cgu}" for cgu in self._lookout.names(self.namespace)]
        return late, [*cgus, *self._lookout.left(self.names)], self._leftovers()

    def _mend(self, name: str) -> None:
        site = self._fleet[name]
        if site.link.state is not LinkState.UP:
            site.link.up(relist=True)
        site.link.lose_puts = 0.0
        site.memory.api_down = False  # a reboot may have been cut off
        site.memory.release()
        site.memory.obstacles.lift()

    def _is_clean(self) -> bool:
        allowed = {name for name, rule in self.expected.items() if rule.may_leave}
        on_hub = [e for e in self._lookout.left(self.names) if e.partition("/")[0] not in allowed]
        on_spokes = self._leftovers().keys() - allowed
        return not (on_hub or on_spokes or self._lookout.names(self.namespace))

    def _leftovers(self) -> dict[str, list[str]]:
        found = {name: self._fleet[name].memory.leftovers() for name in self.names}
        return {name: left for name, left in found.items() if left}

    def _jobs(self) -> dict[str, int]:
        spokes = {name: self._fleet[name].memory for name in self.names}
        return {name: sum(map(len, s.job_uids().values())) for name, s in spokes.items()}

    async def _gone(self, kind: kinds.Kind, name: str) -> bool:
        try:
            await self._client.get(kind, name)
        except NotFound:
            return True
        return False

    async def _asked(self, question: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            await world.until(question, what, seconds=self._limit_s)
        except AssertionError as exc:
            raise Stuck(str(exc)) from exc

    async def _until(
        self,
        holds: Callable[[], bool],
        what: str,
        *,
        seconds: float = 0.0,
        quietly: bool = False,
    ) -> None:
        """Look again and again; `quietly`: who is late is told by the judge."""
        end = time.monotonic() + (seconds or self._limit_s)
        while not holds():
            if time.monotonic() > end:
                if quietly:
                    return
                raise Stuck(f"not within {seconds or self._limit_s:.0f} s: {what}")
            await asyncio.sleep(LOOK_S)


LINKED_LATE: Final = frozenset({"offline", "cut-at-namespace", "cut-when-active", "cut-at-success"})


def struck(cases: Sequence[Case]) -> dict[str, ClusterFaults]:
    """The faults of all clusters."""
    return {name: hit for case in cases for name, hit in case.faults.items()}
