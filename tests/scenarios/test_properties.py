"""Whatever spokes, hub and users do: what holds in every run of the tiny world."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hypothesis import event, given, settings
from hypothesis import strategies as st

from talm.api.cgu import CguSpec, ClusterGroupUpgrade, RemediationStrategy
from talm.api.meta import ObjectMeta
from talm.api.words import Phase
from talm.core.decide import Stage
from talm.core.fleet import stored_phases
from talm.core.model import Effect, Rules

from .chronicle import Chronicle
from .script import RELEASE
from .spoke import Habits, Spoke
from .world import HubFaults, Pass, PolicyInWorld, World

HOUR: Final = 3600
POLICY: Final = "du-upgrade-platform-upgrade"


@st.composite
def spans(draw: st.DrawFn, until: int = 2 * HOUR) -> tuple[tuple[int, int], ...]:
    """Up to two spans of time that do not overlap, most often none."""
    count = draw(st.sampled_from([0, 0, 1, 2]))
    moments = draw(
        st.lists(st.integers(0, until), min_size=2 * count, max_size=2 * count, unique=True)
    )
    ordered = sorted(moments)
    return tuple(zip(ordered[::2], ordered[1::2], strict=True))


rarely: Final = st.sampled_from([False, False, False, False, True])

habits: Final = st.builds(
    Habits,
    job=st.sampled_from(["Succeeded", "Succeeded", "Succeeded", "Failed", "Deadline", "Hangs"]),
    job_s=st.integers(1, HOUR // 2),
    job_with_setup=st.booleans(),
    vanishes_once=rarely,
    leftovers=rarely,
    stuck=rarely,
    deletion_s=st.integers(0, 300),
    answer_s=st.integers(1, 20),
    slow_s=st.sampled_from([0, 0, 3, 40]),
    lost_orders=st.sampled_from([0, 0, 1, 3]),
    failing=st.sampled_from([0.0, 0.0, 0.2, 0.5]),
    down=spans(),
    silent=spans(),
)

hub_faults: Final = st.builds(
    HubFaults,
    refusing=st.sampled_from([0.0, 0.0, 0.2]),
    killed=st.sampled_from([0.0, 0.0, 0.1]),
    absent=spans(until=HOUR // 3),
)


@dataclass(frozen=True)
class Plan:
    """A CGU and what its user does with it; times in seconds."""

    applied: int
    clusters: tuple[str, ...]
    enabled: int | None
    batch: int
    timeout: int

    def cgu(self, name: str) -> ClusterGroupUpgrade:
        return ClusterGroupUpgrade(
            metadata=ObjectMeta(name=name, namespace="ztp"),
            spec=CguSpec(
                pre_caching=True,
                enable=self.enabled == self.applied,
                clusters=self.clusters,
                managed_policies=(POLICY,),
                remediation_strategy=RemediationStrategy(
                    max_concurrency=self.batch, timeout=self.timeout
                ),
            ),
        )


def plans(names: tuple[str, ...]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        applied=st.integers(0, 600),
        clusters=st.lists(st.sampled_from(names), min_size=1, unique=True).map(tuple),
        enabled=st.one_of(st.none(), st.integers(600, 3 * HOUR)),
        batch=st.integers(0, 3),
        timeout=st.integers(10, 60),
    )


def build(
    spokes: Mapping[str, Habits], faults: HubFaults, seed: int, rules: Rules | None = None
) -> World:
    policy = PolicyInWorld(POLICY, (RELEASE,), applies_s=300)
    return World(
        {n: Spoke(n, h, random.Random(f"{seed}/{n}")) for n, h in spokes.items()},
        {POLICY: policy},
        rules=rules,
        faults=faults,
        seed=seed,
    )


def take_part(world: World, name: str, plan: Plan) -> None:
    world.at(plan.applied, functools.partial(world.apply, plan.cgu(name)))
    if plan.enabled is not None and plan.enabled > plan.applied:
        world.at(plan.enabled, functools.partial(world.edit, name, enable=True))


def ask_for(world: World, image: str) -> None:
    """The policy's user wants another release on all clusters."""
    world.policies[POLICY].objects = ({**RELEASE, "spec": {"desiredUpdate": {"image": image}}},)


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 10_000), faults=hub_faults)
def test_every_run_ends_and_nothing_happens_that_must_not(
    data: st.DataObject, seed: int, faults: HubFaults
) -> None:
    names = tuple(f"c{i}" for i in range(data.draw(st.integers(1, 4))))
    world = build({name: data.draw(habits) for name in names}, faults, seed)
    chronicle = Chronicle(world)
    for i in range(data.draw(st.sampled_from([1, 1, 2, 3]))):
        take_part(world, f"u{i}", data.draw(plans(names)))
    world.run(until=12 * HOUR)
    chronicle.end()
    for held in world.cgus.values():
        status = held.cgu.status
        reasons = [c.reason for c in status.conditions or () if c.type == "Succeeded"]
        event(f"ends {reasons[0] if reasons else 'open'}")


@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 10_000), plan=plans(("c0", "c1", "c2")))
def test_one_clusters_faults_never_change_another_clusters_course(
    data: st.DataObject, seed: int, plan: Plan
) -> None:
    others = {"c1": data.draw(habits), "c2": data.draw(habits)}
    courses = []
    for first in (Habits(), data.draw(habits)):
        world = build({"c0": first, **others}, HubFaults(), seed)
        chronicle = Chronicle(world)
        take_part(world, "u", plan)
        world.run(until=12 * HOUR)
        found = chronicle.courses.items()
        courses.append({key: states(course) for key, course in found if key[1] != "c0"})
    assert courses[0] == courses[1]


def states(course: list[tuple[Phase | None, tuple[Effect, ...]]]) -> list[Phase | None]:
    """Where a cluster went; how often something was asked for again on the way is a matter of chance."""
    return [goto for goto, _ in itertools.groupby(goto for goto, _ in course)]


@settings(max_examples=40)
@given(
    data=st.data(),
    seed=st.integers(0, 10_000),
    edits=st.lists(
        st.tuples(
            st.integers(600, 3 * HOUR),
            st.one_of(
                st.fixed_dictionaries({"pre_caching": st.booleans()}),
                st.fixed_dictionaries({"enable": st.booleans()}),
                st.fixed_dictionaries(
                    {
                        "clusters": st.lists(
                            st.sampled_from(["c0", "c1", "c2"]), min_size=1, unique=True
                        ).map(tuple)
                    }
                ),
            ),
        ),
        max_size=4,
    ),
    releases=st.lists(
        st.tuples(st.integers(0, 3 * HOUR), st.sampled_from(["one", "two"])), max_size=3
    ),
    deleted=st.one_of(st.none(), st.integers(601, 4 * HOUR)),
)
def test_whatever_its_user_changes_a_cgu_ends_or_waits_and_when_deleted_goes(
    data: st.DataObject,
    seed: int,
    edits: list[tuple[int, dict[str, object]]],
    releases: list[tuple[int, str]],
    deleted: int | None,
) -> None:
    names = ("c0", "c1", "c2")
    world = build({name: data.draw(habits) for name in names}, HubFaults(), seed)
    chronicle = Chronicle(world)
    plan = data.draw(plans(names))
    take_part(world, "u", Plan(plan.applied, plan.clusters, None, plan.batch, plan.timeout))
    if data.draw(st.booleans(), label="another CGU"):
        take_part(world, "v", data.draw(plans(names)))
    for at, change in edits:
        if deleted is None or at < deleted:
            world.at(at, functools.partial(world.edit, "u", **change))
    for at, image in releases:
        world.at(at, functools.partial(ask_for, world, image))
    if deleted is not None:
        world.at(deleted, functools.partial(world.delete, "u"))
    world.run(until=12 * HOUR)
    chronicle.end()
    assert ("u" in world.cgus) is (deleted is None)
    if deleted is not None:
        for spoke in world.spokes.values():
            assert spoke.asked_by != world.runs["u"]
            assert {o.kind for o in spoke.orders if o.run == world.runs["u"]} <= {"delete"}


def test_a_success_that_was_not_stored_is_found_again_and_no_second_job_is_started() -> None:
    """The operator is killed right after the removal was asked for."""
    world = build({"c0": Habits(job_s=60)}, HubFaults(), 1)
    chronicle = Chronicle(world)
    take_part(world, "u", Plan(0, ("c0",), None, 1, 60))
    world.run(until=30)
    held = world.cgus["u"]
    world.spokes["c0"].job.ends = 40  # type: ignore[union-attr]
    before = held.cgu
    world.run(until=70)
    assert chronicle.courses["u", "c0"][-1][1] == (Effect.REMOVE,)
    held.cgu = before  # what that pass stored is lost
    held.dirty = True
    world.run(until=HOUR)
    chronicle.end()
    assert sum(world.spokes["c0"].jobs.values()) == 1


@settings(max_examples=30)
@given(
    data=st.data(),
    seed=st.integers(0, 10_000),
    faults=hub_faults,
    releases=st.lists(
        st.tuples(st.integers(0, 3 * HOUR), st.sampled_from(["one", "two"])), min_size=1, max_size=3
    ),
)
def test_however_often_the_operator_is_killed_caches_are_of_the_specification_in_force(
    data: st.DataObject, seed: int, faults: HubFaults, releases: list[tuple[int, str]]
) -> None:
    names = ("c0", "c1", "c2")
    world = build({name: data.draw(habits) for name in names}, faults, seed)
    chronicle = Chronicle(world)
    take_part(world, "u", data.draw(plans(names)))
    for at, image in releases:
        world.at(at, functools.partial(ask_for, world, image))
    world.run(until=14 * HOUR)
    chronicle.end()


class Verifier:
    """Watches who is updated, and what was known of their caches when their batch's turn came."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._turns: dict[tuple[str, int], dt.datetime] = {}
        self._asked: set[tuple[str, int, str]] = set()
        world.watchers.append(self.watch)

    def watch(self, done: Pass) -> None:
        if done.decision.stage is not Stage.REMEDIATING or not done.is_stored:
            return
        before, after = done.seen.cgu.status, done.settled.status
        was, now = stored_phases(before), stored_phases(after)
        batch = after.status.current_batch if after.status is not None else 0
        turn = self._turns.setdefault((done.name, batch), done.seen.now)
        for cluster in now:
            if was[cluster] is Phase.SUCCEEDED and now[cluster] is Phase.NOT_STARTED:
                assert (done.name, batch, cluster) not in self._asked, "asked twice for one batch"
                self._asked.add((done.name, batch, cluster))
        believed = self._world.rules.verify_after
        for wanted in done.decision.placements or ():
            for cluster in wanted.clusters:
                assert was[cluster] is Phase.SUCCEEDED, f"{cluster} is updated while {was[cluster]}"
                if batch > 1 and believed is not None:
                    at = dt.datetime.fromisoformat(self._world.records[cluster].at)
                    assert at >= turn - believed, f"{cluster} is updated with a cache of {at}"


@settings(max_examples=60)
@given(
    data=st.data(),
    seed=st.integers(0, 10_000),
    faults=hub_faults,
    believed=st.integers(1, 60),
    timeout=st.integers(10, 600),
)
def test_whoever_is_updated_was_verified_for_its_batch_and_nobody_is_asked_twice(
    data: st.DataObject, seed: int, faults: HubFaults, believed: int, timeout: int
) -> None:
    names = tuple(f"c{i}" for i in range(data.draw(st.integers(2, 5))))
    rules = Rules(verify_after=dt.timedelta(minutes=believed))
    world = build({name: data.draw(habits) for name in names}, faults, seed, rules)
    world.policies[POLICY].applies_s = data.draw(st.integers(1, HOUR), label="applies_s")
    chronicle = Chronicle(world)
    Verifier(world)
    take_part(world, "u", Plan(0, names, data.draw(st.integers(600, 3 * HOUR)), 1, timeout))
    world.run(until=40 * HOUR)
    chronicle.end()
    block = world.cgus["u"].cgu.status.precaching
    event(f"{block.attempt if block is not None else 0} attempts")
