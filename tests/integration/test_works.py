"""Clusters that are reached by ManifestWorks: a plain hub's, and those where views prove the spoke clean."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.api.words import Phase
from talm.kube.client import Client
from talm.sim.agents.workagent import WorkHabits
from talm.sim.faults import parse_faults
from talm.sim.plane import foreign_crds
from talm.sim.spoke.spokejobs import JobPlan, Outcome

from ..conftest import StartControlPlane
from .conftest import SetScene
from .operator import install
from .scene import PLAIN, Scene, first_lasts, jobs, set_scene
from .test_deletion import delete
from .test_incomplete_hub import LATE, are_gone
from .test_kills import TIMES, survives
from .test_offline import NOTICE_S, age_outage, is_named, unavailable
from .test_ownership import create_younger, waits
from .test_vocabularies import MANUAL
from .test_walk_through import PATH
from .world import until

pytestmark = pytest.mark.integration

# Views are answered; they prove the spoke clean, the work does the rest.
WITH_VIEWS: Mapping[str, Any] = {"transport": "manifest-work"}
OLD_AGENT = WorkHabits(poll_s=(3.0, 5.0), watches=False, freezes=False)


async def works(scene: Scene, cluster: str) -> list[str]:
    found = await scene.client.list(kinds.MANIFEST_WORK, cluster)
    return [work["metadata"]["name"] for work in found]


@pytest.mark.parametrize(
    ("clusters", "kind_of_hub"),
    [
        (2, PLAIN),
        pytest.param(2, WITH_VIEWS, marks=pytest.mark.long),
        pytest.param(50, PLAIN, marks=pytest.mark.long),
    ],
    ids=["plain", "with-views", "plain-50"],
)
async def test_the_walk_through_goes_as_with_views_and_actions(
    scenes: SetScene, clusters: int, kind_of_hub: Mapping[str, Any]
) -> None:
    slow = jobs(1.0 + clusters / 10)
    async with (
        scenes(clusters, scenario=slow, **kind_of_hub) as scene,
        scene.operator(),
        scene.watch("up") as journal,
    ):
        await scene.create("up")
        await scene.reach("up", Phase.STARTING, scene.names[:1])
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.says("up", "Ready", "False", "UpgradeNotStarted")
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        scene.each_job_ran_once()
        for path in journal.states().values():
            assert path == PATH or (clusters > 2 and path == [p for p in PATH if p != "Active"])
        assert journal.conditions(only={"Ready", "PrecachingDone", "PrecacheSpecValid"}) == [
            [],
            *MANUAL,
        ]


@pytest.mark.long
async def test_only_works_are_made_where_nobody_answers_views(scenes: SetScene) -> None:
    async with scenes(2, scenario=jobs(60.0), **PLAIN) as scene, scene.operator():
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        found = await scene.on_hub()
        assert len(found) == 2
        assert all(name.partition("/")[2].startswith("pre-cache-") for name in found)
        await delete(scene, "up")
        await scene.is_clean()


@pytest.mark.long
@pytest.mark.timeout(280)
@pytest.mark.parametrize(("clusters", "kills"), [(4, 3), (50, 20)])
async def test_every_cluster_succeeds_with_one_job_however_often_the_operator_is_killed(
    scenes: SetScene, clusters: int, kills: int
) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    dice = random.Random(seed)

    def plan(_cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        return JobPlan(duration_s=dice.uniform(0.5, kills * 1.5))

    async with scenes(clusters, times=TIMES, scenario=plan, **PLAIN) as scene:
        await survives(scene, random.Random(seed), kills)


async def test_a_cgu_deleted_in_mid_run_leaves_nothing_but_the_work_of_the_cluster_that_is_away(
    scenes: SetScene,
) -> None:
    async with scenes(2, scenario=jobs(60.0), **PLAIN) as scene, scene.operator():
        away = scene.names[0]
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE)
        scene.fleet[away].link.down()
        await delete(scene, "up")
        (left,) = await works(scene, away)

        async def other_is_clean() -> bool:
            gone = await scene.on_hub() == [f"{away}/{left}"]
            return gone and scene.fleet.leftovers().keys() == {away}

        await until(other_is_clean, "the other cluster is clean")
        scene.fleet[away].link.up()
        await scene.is_clean()
        scene.each_job_ran_once()


@pytest.mark.long
async def test_a_cluster_that_is_away_while_disabled_is_named_and_succeeds_when_it_returns(
    scenes: SetScene,
) -> None:
    async with (
        scenes(4, scenario=jobs(2.0, lasting={"002": 10.0}), grace_s=NOTICE_S, **PLAIN) as scene,
        scene.operator(unavailable_grace=1),
        scene.watch("up") as journal,
    ):
        before, during, late, other = scene.names
        scene.fleet[before].link.down()
        await scene.create("up")
        await scene.reach("up", Phase.ACTIVE, [during])
        scene.fleet[during].link.down()
        await scene.reach("up", Phase.SUCCEEDED, [late, other])
        scene.fleet[late].link.down()
        for cluster in (before, during):
            await is_named(scene, "up", cluster)
            await age_outage(scene, cluster, 60)
        for cluster in (before, during, late):
            scene.fleet[cluster].link.up()
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.is_clean(placements=True)
        scene.each_job_ran_once()
        assert journal.ever_bad() == set()


async def test_a_cluster_that_was_given_up_never_starts_late(scenes: SetScene) -> None:
    async with (
        scenes(2, grace_s=NOTICE_S, **PLAIN) as scene,
        scene.operator(unavailable_grace=1),
        scene.watch("up"),
    ):
        away, other = scene.names
        scene.fleet[away].link.down()
        await until(lambda: unavailable(scene, away), "the hub knows")
        await scene.create("up", enable=True)
        await until(lambda: works(scene, away), "a work waits for the cluster")
        await age_outage(scene, away, 2)
        await scene.completes("up")
        assert await scene.phases("up") == {away: "UnrecoverableError", other: "Succeeded"}
        assert await works(scene, away) == []
        scene.fleet[away].link.up()
        await scene.is_clean()
        assert scene.job_runs() == {away: 0, other: 1}


@pytest.mark.long
async def test_the_younger_of_two_cgus_has_its_turn_when_the_older_has_finished(
    scenes: SetScene,
) -> None:
    async with (
        scenes(3, scenario=first_lasts(10.0), **PLAIN) as scene,
        scene.operator(),
        scene.watch("older") as older,
        scene.watch("younger") as younger,
    ):
        await scene.create("older")
        await scene.reach("older", Phase.ACTIVE)
        await create_younger(scene, "younger", than="older")
        await waits(scene, "younger", on="older")
        await scene.reach("older", Phase.SUCCEEDED)
        await scene.reach("younger", Phase.SUCCEEDED)
        assert older.ever_bad() == younger.ever_bad() == set()
        assert scene.job_runs() == dict.fromkeys(scene.names, 2)
        await delete(scene, "older")
        await delete(scene, "younger")
        await scene.is_clean()


@pytest.mark.long
async def test_failed_jobs_are_told_and_never_run_again_whatever_the_agent_knows(
    scenes: SetScene,
) -> None:
    ends = {"001": Outcome.FAILS}
    habits = [WorkHabits(resync_s=(1.0, 2.0)), OLD_AGENT]
    for agent in habits:
        async with (
            scenes(2, scenario=jobs(0.5, ending=ends), habits=agent, **PLAIN) as scene,
            scene.operator(),
        ):
            bad, good = scene.names
            await scene.create("up")
            await scene.reach("up", Phase.FAILED, [bad])
            await scene.reach("up", Phase.SUCCEEDED, [good])
            reason, message = (await scene.failures("up"))[bad]
            assert reason == "UnrecoverableError"
            assert "BackoffLimitExceeded" in message
            await asyncio.sleep(3)  # more than a resync of the first agent
            scene.each_job_ran_once()
            await delete(scene, "up")
            await scene.is_clean()


@pytest.mark.long
async def test_a_hub_that_serves_no_views_at_all_is_enough(
    start_control_plane: StartControlPlane,
) -> None:
    hub = await start_control_plane("hub")
    async with await Client.connect(hub.kubeconfig, user_agent="talm-tests") as client:
        await install(client)
        for name in LATE:
            await client.delete(kinds.CRD, name)
        await until(lambda: are_gone(client), "views and actions are not served")
        async with (
            set_scene(hub, client, hub.directory, 2, **PLAIN) as scene,
            scene.operator(),
            scene.watch("up") as journal,
        ):
            await scene.create("up", enable=True)
            await scene.completes("up")
            await foreign_crds.install(client)  # for `is_clean`, which lists all kinds
            await scene.is_clean()
            scene.each_job_ran_once()
            assert journal.ever_bad() == set()


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_fleet_on_a_bad_day_succeeds_with_one_job_each(scenes: SetScene, seed: int) -> None:
    faults = parse_faults(
        "offline=15%,offline-for=8,flap=20%,flap-every=3,half-dead=10%,slow=10%,agent-restart=20%",
        seed=seed,
    )
    async with (
        scenes(30, scenario=jobs(3.0), faults=faults, habits=OLD_AGENT, **PLAIN) as scene,
        scene.operator(),
        scene.watch("up") as journal,
    ):
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED, seconds=300)
        assert journal.ever_bad() == set()
        await scene.is_clean(placements=True)
        scene.each_job_ran_once()
