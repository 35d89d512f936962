"""The coordination against an API server that keeps what it is given; the real one is in integration."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest

from talm.agent.endings import Deadline
from talm.agent.nodes import coordinating
from talm.agent.nodes.children import record_name
from talm.agent.nodes.coordinating import Rounds, coordinate, run_nodes
from talm.agent.nodes.standing import Standing, State, failure_of, is_over
from talm.agent.nodes.total import Total
from talm.agent.settings import Settings
from talm.api import kinds
from talm.api.progress import EXIT_CODES, FailureClass, ProgressRecord
from talm.errors import AgentError, Forbidden, Invalid, Unreachable

from ..conftest import until
from .given import NAMESPACE, PENDING, RUN, Cluster, ended, node_data, own_job, owner, refused

F = FailureClass


@pytest.fixture(autouse=True)
def at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two looks, and every look is at the nodes, too."""
    monkeypatch.setattr(coordinating, "LOOK_S", 0.0)
    monkeypatch.setattr(coordinating, "NODES_S", 0.0)


def rounds(cluster: Cluster, at_once: int = 3, deadline_s: float | None = None) -> Rounds:
    return Rounds(cluster, owner(), at_once, Total(RUN), Deadline(deadline_s))


async def states(of: Rounds) -> dict[str, State]:
    return {one.node: one.state for one in await of.go()}


async def test_nodes_begin_so_many_at_a_time_and_the_next_when_one_is_done() -> None:
    cluster = Cluster(*(node_data(name) for name in "abc"))
    work = rounds(cluster, at_once=2)
    await work.go()
    await work.go()
    assert sorted(cluster.jobs()) == ["a", "b"]
    cluster.set_job("a", ended())
    await work.go()
    assert sorted(cluster.jobs()) == ["a", "b", "c"]


async def test_a_node_that_is_not_ready_begins_when_it_is() -> None:
    cluster = Cluster(node_data("a"), node_data("b", ready=False))
    work = rounds(cluster)
    assert await states(work) == {"a": State.WAITS, "b": State.AWAITED}
    assert sorted(cluster.jobs()) == ["a"]
    cluster.objects["Node", "b"] = node_data("b")
    await work.go()
    assert sorted(cluster.jobs()) == ["a", "b"]


async def test_a_node_that_joins_pulls_and_one_that_leaves_is_not_waited_for() -> None:
    cluster = Cluster(node_data("a"))
    work = rounds(cluster)
    await work.go()
    cluster.objects["Node", "b"] = node_data("b")
    await work.go()
    assert sorted(cluster.jobs()) == ["a", "b"]
    del cluster.objects["Node", "a"]
    assert list(await states(work)) == ["b"]


async def test_a_windows_node_is_left_out_and_told() -> None:
    cluster = Cluster(node_data("a"), node_data("w", system="windows"))
    work = rounds(cluster)
    assert list(await states(work)) == ["a"]
    assert work._total.record.warnings == ("node w is left out: it runs windows",)


async def test_a_node_whose_pod_does_not_run_says_why_and_lets_the_next_one_pull(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinating, "STUCK_S", 0.0)
    cluster = Cluster(node_data("a"), node_data("b"))
    work = rounds(cluster, at_once=1)
    await work.go()
    cluster.set_job("a", PENDING)
    cluster.jobs()["a"]["metadata"]["uid"] = "job-a"
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    cluster.objects["Pod", "a-pod"] = {
        "metadata": {"name": "a-pod", "ownerReferences": [{"kind": "Job", "uid": "job-a"}]},
        "status": {"containerStatuses": [{"state": {"waiting": waiting}}]},
    }
    (first, _) = await work.go()
    assert first.told == "waits for its pod (ImagePullBackOff: Back-off pulling image)"
    assert sorted(cluster.jobs()) == ["a", "b"]


async def test_another_process_goes_on_where_one_was_killed() -> None:
    cluster = Cluster(*(node_data(name) for name in "abc"))
    await rounds(cluster, at_once=1).go()
    cluster.set_job("a", {"active": 1, "ready": 1})
    cluster.tell("a", ProgressRecord(images_done=1, images_total=2))
    after = rounds(cluster, at_once=1)
    assert (await states(after))["a"] is State.PULLS
    assert sorted(cluster.jobs()) == ["a"]
    assert after._total.record.images_done == 1


async def test_a_record_that_was_made_before_the_process_died_is_taken_over() -> None:
    cluster = Cluster(node_data("a"))
    await rounds(cluster).go()
    (job,) = [key for key in cluster.objects if key[0] == "Job" and key[1] != "pre-cache"]
    del cluster.objects[job]
    await rounds(cluster).go()
    assert list(cluster.jobs()) == ["a"]


async def test_a_record_that_went_away_is_made_again() -> None:
    cluster = Cluster(node_data("a"))
    work = rounds(cluster)
    await work.go()
    key = (kinds.CONFIG_MAP.kind, record_name("a"))
    del cluster.objects[key]
    await work.go()
    assert key in cluster.objects


async def test_a_job_of_an_earlier_run_that_is_still_going_is_waited_for() -> None:
    cluster = Cluster(node_data("a"))
    await rounds(cluster).go()
    (key,) = [key for key in cluster.objects if key[0] == "Job" and key[1] != "pre-cache"]
    label = "talm.ran.openshift.io/coordinator"
    cluster.objects[key]["metadata"]["labels"][label] = "an earlier Job"
    work = rounds(cluster)
    assert await states(work) == {"a": State.WAITS}
    assert "until an earlier run's is gone" in work._total.record.error_text
    del cluster.objects[key]
    await work.go()
    assert cluster.jobs()["a"]["metadata"]["labels"][label] == "job-1"


async def test_a_node_whose_job_the_api_server_refuses_has_failed_and_others_go_on() -> None:
    cluster = Cluster(node_data("a"), node_data("b"))
    cluster.failing = [refused(Invalid, "spec.template: no")]
    work = rounds(cluster)
    await work.go()
    assert await states(work) == {"a": State.FAILED, "b": State.PULLS}
    cluster.set_job("b", ended())
    with pytest.raises(AgentError, match=r"InvalidSpec: 1 of 2 nodes failed: a: .*no"):
        raise_end(await work.go())


def raise_end(standings: tuple[Standing, ...]) -> None:
    assert is_over(standings)
    error = failure_of(standings)
    assert error is not None
    raise error


async def test_a_node_that_begins_late_gets_the_time_that_is_left_less_that_for_the_last_record() -> (
    None
):
    cluster = Cluster(node_data("a"))
    work = rounds(cluster, deadline_s=14400)
    work._deadline.started_before(4400)
    await work.go()
    left = cluster.jobs()["a"]["spec"]["activeDeadlineSeconds"]
    assert 9960 <= left <= 9970  # 10,000 s, less 30 s


# ---- to the end ------------------------------------------------------------------------------------


async def whole(cluster: Cluster, total: Total) -> asyncio.Task[None]:
    return asyncio.create_task(coordinate(cluster, NAMESPACE, 3, total, Deadline(None)))


async def until_there_are_jobs(cluster: Cluster, count: int) -> None:
    await until(lambda: len(cluster.jobs()) >= count)


async def test_it_ends_well_when_every_node_is_done() -> None:
    cluster = Cluster(node_data("a"), node_data("b"))
    total = Total(RUN)
    working = await whole(cluster, total)
    await until_there_are_jobs(cluster, 2)
    for name in "ab":
        cluster.tell(name, ProgressRecord(images_done=2, images_total=2))
        cluster.set_job(name, ended())
    await working
    assert (total.record.nodes_done, total.record.images_done) == (2, 4)


async def test_it_fails_with_the_class_of_the_worst_node_when_all_have_ended() -> None:
    cluster = Cluster(node_data("a"), node_data("b"))
    working = await whole(cluster, Total(RUN))
    await until_there_are_jobs(cluster, 2)
    message = "Container main failed with exit code 14 matching FailJob rule at index 1"
    cluster.set_job("a", ended("PodFailurePolicy", message))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not working.done()
    cluster.set_job("b", ended())
    with pytest.raises(AgentError, match="ImageNotFound: 1 of 2 nodes failed: a: "):
        await working


async def test_an_outage_of_the_api_server_is_waited_for_and_told() -> None:
    cluster = Cluster(node_data("a"))
    cluster.failing = [refused(Unreachable, "connection refused"), refused(Forbidden, "not yet")]
    total = Total(RUN)
    working = await whole(cluster, total)
    await until_there_are_jobs(cluster, 1)
    assert any("not yet" in line for line in total.record.lines)
    cluster.set_job("a", ended())
    await working


async def test_a_process_that_is_no_pod_of_a_job_is_told_so() -> None:
    cluster = Cluster(node_data("a"))
    del cluster.objects["Pod", "pre-cache-abcde"]
    with pytest.raises(AgentError, match="InvalidSpec: no pod of a Job in talm-x has the uid"):
        await coordinate(cluster, NAMESPACE, 3, Total(RUN), Deadline(None))


async def test_a_job_without_a_job_for_a_node_ends_it() -> None:
    cluster = Cluster(node_data("a"))
    cluster.objects["Job", "pre-cache"] = own_job("")
    with pytest.raises(AgentError, match="InvalidSpec"):
        await coordinate(cluster, NAMESPACE, 3, Total(RUN), Deadline(None))


# ---- ended from outside ----------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a run whose API server refuses every connection."""
    server = {"cluster": {"server": "http://127.0.0.1:1"}, "name": "c"}
    config = {
        "clusters": [server],
        "contexts": [{"context": {"cluster": "c", "user": "u"}, "name": "x"}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "x",
    }
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr(coordinating, "LOOK_S", 0.05)
    log = tmp_path / "termination-log"
    return Settings(progress_config_map="talm-x/pre-cache-progress", run=RUN, termination_log=log)


def last_words(settings: Settings) -> str:
    assert settings.termination_log is not None
    return settings.termination_log.read_text()


async def test_a_signal_ends_it_as_interrupted(settings: Settings) -> None:
    running = asyncio.create_task(run_nodes(settings, 3))
    asyncio.get_running_loop().call_later(0.5, os.kill, os.getpid(), signal.SIGTERM)
    assert await running == EXIT_CODES[F.INTERRUPTED]
    assert last_words(settings).startswith("Interrupted: ended by a signal")


async def test_it_stops_before_the_jobs_deadline_and_then_waits_to_be_ended(
    settings: Settings,
) -> None:
    short = dataclasses.replace(settings, job_deadline_s=2.0)
    running = asyncio.create_task(run_nodes(short, 3))
    await until((short.termination_log or Path()).is_file)
    assert last_words(short).startswith("PartlyCached: stopped 0.5 s before the Job's deadline")
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == EXIT_CODES[F.PARTLY_CACHED]


async def test_without_a_place_for_the_record_nobody_knows_the_namespace(
    settings: Settings,
) -> None:
    homeless = dataclasses.replace(settings, progress_config_map="")
    assert await run_nodes(homeless, 3) == EXIT_CODES[F.INVALID_SPEC]
