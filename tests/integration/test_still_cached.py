"""What was cached outlives its run on the hub, and an update that starts late asks whether it still is."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.api.cacherecord import CACHE_RECORD
from talm.api.progress import RECORD_KEY
from talm.api.words import Phase
from talm.errors import NotFound
from talm.kube.client import Client
from talm.sim.agents.policyagent import PolicyPlan
from talm.sim.plane import deployment
from talm.sim.spoke.spokejobs import JobPlan, Outcome, Scenario

from ..conftest import StartControlPlane
from .audit import calls
from .conftest import SetScene
from .operator import install
from .scene import PLAIN, Journal, Scene, jobs, set_scene
from .test_deletion import delete
from .test_offline import NOTICE_S, age_outage, unavailable
from .world import until

pytestmark = pytest.mark.integration

SECOND = 1 / 3600
MOST_WRITES = 4
BELIEVED_S = 6
FAILED = Phase.FAILED.value


async def record(scene: Scene, cluster: str) -> dict[str, str]:
    """The data of a cluster's record; empty where there is none."""
    try:
        found = await scene.client.get(kinds.CONFIG_MAP, CACHE_RECORD, cluster)
    except NotFound:
        return {}
    data: dict[str, str] = found.get("data") or {}
    return data


async def write(scene: Scene, cluster: str, **data: str | None) -> None:
    """Change a record as somebody else may."""
    await scene.client.merge_patch(kinds.CONFIG_MAP, CACHE_RECORD, {"data": data}, cluster)


def pulling(done: float) -> Mapping[str, str]:
    """A workload's record of twenty images, pinned as they come."""
    phase = "Succeeded" if done == 1 else "Downloading"
    counts = {"imagesDone": int(20 * done), "imagesTotal": 20, "bytesDone": int(800 * done)}
    return {RECORD_KEY: json.dumps({"phase": phase, **counts, "bytesTotal": 800, "pinned": True})}


def one_fails(seconds: float) -> Scenario:
    """Jobs that tell of their images; the second cluster's fails."""

    def plan(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        outcome = Outcome.FAILS if cluster.endswith("-002") else Outcome.SUCCEEDS
        return JobPlan(duration_s=seconds, outcome=outcome, steps=2, progress=pulling)

    return plan


# A view is read every 2 s at the soonest: a Job that is quicker may have told nothing.
@pytest.mark.parametrize(
    ("kind_of_hub", "seconds"),
    [(PLAIN, 1.0), pytest.param({"transport": "view-action"}, 8.0, marks=pytest.mark.long)],
    ids=["works", "views"],
)
async def test_what_was_cached_stays_on_the_hub_when_the_cgu_is_gone(
    scenes: SetScene, kind_of_hub: Mapping[str, Any], seconds: float
) -> None:
    async with scenes(2, scenario=one_fails(seconds), **kind_of_hub) as scene, scene.operator():
        good, bad = scene.names
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED, [good])
        await scene.reach("up", Phase.FAILED, [bad])
        status = await scene.status("up")
        await delete(scene, "up")
        found = await record(scene, good)
        assert found["result"] == "Succeeded"
        assert found["specHash"] == status["precaching"]["specHash"]
        assert found["cgu"] == f"{scene.namespace}/up"
        assert found["run"]
        assert (found["images"], found["bytes"]) == ("20", "800")
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(found["at"])
        assert dt.timedelta(0) <= age < dt.timedelta(minutes=5)
        other = await record(scene, bad)
        assert other["images"] in {"0", "10"}
        assert other["result"] == "UnrecoverableError"
        assert "BackoffLimitExceeded" in other["reason"]
        assert other["run"] == found["run"]


@pytest.mark.long
async def test_an_update_that_starts_late_waits_until_every_cluster_was_asked_once(
    scenes: SetScene,
) -> None:
    slow = jobs(0.5, lasting={"002": 4.0})  # longer than a cache is believed
    async with (
        scenes(2, scenario=slow, **PLAIN) as scene,
        scene.operator(verify_after=2 * SECOND),
        scene.watch("up") as journal,
    ):
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED)
        await asyncio.sleep(3)
        await scene.edit("up", enable=True)
        await scene.completes("up")
        await scene.is_clean()
        once = ["NotStarted", "PreparingToStart", "Starting", "Active", "Succeeded"]
        assert scene.job_runs() == dict.fromkeys(scene.names, 2)
        for path in journal.states().values():
            assert [p for p in path if p == "Succeeded"] == ["Succeeded"] * 2
            assert [p for p in path if p in once] == path
        asked = [s for s in journal.statuses if s.precaching and s.precaching.verifying_since]
        told = {f.reason for s in asked for f in (s.precaching and s.precaching.failures) or ()}
        assert "VerifyingCache" in told
        assert all(s.status is None or s.status.started_at is None for s in asked)


async def test_only_clusters_whose_record_says_nothing_are_asked(scenes: SetScene) -> None:
    async with scenes(5, **PLAIN) as scene, scene.operator(), scene.watch("up"):
        good, gone, odd, other, theirs = scene.names
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.client.delete(kinds.CONFIG_MAP, CACHE_RECORD, gone)
        await write(scene, odd, at="yesterday")
        await write(scene, other, specHash="0123456789abcdef")
        await write(scene, theirs, run="another", cgu="ztp/another")
        await scene.edit("up", enable=True)
        await scene.completes("up")
        assert scene.job_runs() == {good: 1, gone: 2, odd: 2, other: 2, theirs: 1}
        hashes = {(await record(scene, cluster))["specHash"] for cluster in scene.names}
        assert len(hashes) == 1


@pytest.mark.long
async def test_a_cluster_that_cannot_be_asked_is_left_out_and_named(scenes: SetScene) -> None:
    async with (
        scenes(2, grace_s=NOTICE_S, **PLAIN) as scene,
        scene.operator(verify_after=SECOND, unavailable_grace=1),
    ):
        away, other = scene.names
        await scene.create("up")
        await scene.reach("up", Phase.SUCCEEDED)
        scene.fleet[away].link.down()
        await until(lambda: unavailable(scene, away), "the hub knows")
        await asyncio.sleep(2)
        await scene.edit("up", enable=True)
        await age_outage(scene, away, 2)
        await scene.completes("up")
        assert await scene.phases("up") == {away: "UnrecoverableError", other: "Succeeded"}
        reason, message = (await scene.failures("up"))[away]
        assert reason == "UnrecoverableError"
        assert "unavailable since" in message
        found = {c["name"] for c in (await scene.status("up"))["clusters"]}
        assert found == {other}


def second_runs(seconds: float, ending: Mapping[str, Outcome]) -> Scenario:
    """Every Job succeeds soon; later ones of clusters with such a suffix end so."""
    runs: Counter[str] = Counter()

    def plan(cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        runs[cluster] += 1
        ends = ending.get(cluster.rpartition("-")[2], Outcome.SUCCEEDS)
        outcome = ends if runs[cluster] > 1 else Outcome.SUCCEEDS
        return JobPlan(duration_s=seconds, outcome=outcome)

    return plan


@pytest.mark.long
@pytest.mark.parametrize(
    "kind_of_hub", [PLAIN, {"transport": "view-action"}], ids=["works", "views"]
)
async def test_a_batch_whose_turn_comes_late_is_asked_first_and_who_fails_then_is_left_out(
    scenes: SetScene, kind_of_hub: Mapping[str, Any]
) -> None:
    """The first batch takes longer than a cache is believed; the image of one cluster has gone for good."""
    late = {
        "scenario": second_runs(0.3, {"003": Outcome.FAILS}),
        "policies": lambda _cluster, _policy: PolicyPlan(remediation_s=BELIEVED_S + 2),
    }
    async with (
        scenes(3, **late, **kind_of_hub) as scene,
        scene.operator(verify_after=BELIEVED_S * SECOND, leader_elect=False) as operator,
        scene.watch("up") as journal,
    ):
        first, good, bad = scene.names
        strategy = {"canaries": [first], "maxConcurrency": 2, "timeout": 240}
        await scene.create("up", enable=True, remediationStrategy=strategy)
        await until(functools.partial(waits, scene), "the second batch waits")
        operator.kill()  # what is remembered is in the status
        operator.start()
        await operator.works(2)
        await scene.completes("up")
        assert await scene.phases("up") == {first: "Succeeded", good: "Succeeded", bad: FAILED}
        reason, message = (await scene.failures("up"))[bad]
        assert (reason, "BackoffLimitExceeded" in message) == (FAILED, True)
        status = await scene.status("up")
        assert {c["name"]: c["state"] for c in status["clusters"]} == {
            first: "complete",
            good: "complete",
        }
        assert status["remediationPlan"] == [[first], [good]]
        assert scene.job_runs() == {first: 1, good: 2, bad: 2}
        told = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        assert told["PrecachingSuceeded"] == ("True", "PartiallyDone")
        never_enforced(journal, good)
        await scene.is_clean()


async def waits(scene: Scene) -> bool:
    """Whether a batch that has no beginning waits for clusters that are under way."""
    status = await scene.status("up")
    told = status.get("status") or {}
    asked = "verifyingSince" in (status.get("precaching") or {})
    return asked and told.get("currentBatch") == 2 and "currentBatchStartedAt" not in told


def never_enforced(journal: Journal, cluster: str) -> None:
    """While clusters are asked before their batch nobody of it is being updated, and this is told."""
    asked = [s for s in journal.statuses if s.precaching and s.precaching.verifying_since]
    late = [s for s in asked if s.status is not None and s.status.current_batch == 2]
    assert late
    for status in late:
        assert status.status is not None
        assert not status.status.current_batch_remediation_progress
        told = {c.type: (c.status, c.message) for c in status.conditions or ()}
        assert told["PrecachingDone"][0] == "True"
        assert "of batch 2 of 2 to verify that everything is still cached" in told["Progressing"][1]
    assert any(cluster in c.message for c in late[0].conditions or () if c.type == "Progressing")


@pytest.mark.long
async def test_an_operator_killed_right_after_a_record_starts_no_second_job(
    scenes: SetScene,
) -> None:
    lasting = {f"{number:03d}": 0.5 + number for number in range(1, 5)}
    async with (
        scenes(4, scenario=jobs(1.0, lasting=lasting), **PLAIN) as scene,
        scene.operator(leader_elect=False) as operator,
    ):
        await scene.create("up")
        for number, cluster in enumerate(scene.names, start=2):
            await until(functools.partial(record, scene, cluster), "it is written down")
            operator.kill()
            operator.start()
            await operator.works(number)
        await scene.reach("up", Phase.SUCCEEDED)
        await scene.edit("up", enable=True)
        await scene.completes("up")
        scene.each_job_ran_once()


@pytest.mark.long
async def test_a_cluster_by_works_costs_at_most_four_writes_its_record_is_one(
    start_control_plane: StartControlPlane,
) -> None:
    hub = await start_control_plane("hub", audit=True)
    async with await Client.connect(hub.kubeconfig, user_agent="talm-tests") as client:
        await install(client)
        async with set_scene(hub, client, hub.directory, 6, **PLAIN) as scene, scene.operator():
            await scene.create("up")
            await scene.reach("up", Phase.SUCCEEDED)
            await scene.is_clean(placements=True)
            assert hub.audit_log is not None
            made = [c for c in calls(hub.audit_log) if c.user == deployment.USER]
    where = {name: name for name in scene.names}
    written: Counter[str] = Counter()
    for call in made:
        cluster = where.get(call.namespace) or where.get(call.name)
        if call.writes and cluster:
            written[cluster] += 1
    assert written.keys() == set(scene.names)
    assert max(written.values()) <= MOST_WRITES
    records = [c for c in made if c.name == CACHE_RECORD]
    assert Counter(c.verb for c in records if c.verb != "watch") == {"patch": 6, "list": 1}
