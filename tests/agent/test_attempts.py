from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import msgspec
import pytest

from talm.agent import attempts
from talm.agent.attempts import History, from_note, from_pods, told
from talm.agent.endings import Deadline
from talm.agent.leftovers import LastRun
from talm.agent.pods import Pod
from talm.agent.progress import Progress
from talm.errors import Unreachable

from .conftest import until

T0 = dt.datetime(2022, 1, 28, 12, tzinfo=dt.UTC)


def pod(
    uid: str,
    minute: int,
    end: dict[str, Any] | None = None,
    *,
    job: str = "job-1",
    reason: str = "",
) -> Pod:
    """A pod made `minute` after T0 and started 3 s later."""
    created = T0 + dt.timedelta(minutes=minute)
    state = {"terminated": end} if end else {"running": {}}
    body = {
        "metadata": {
            "name": f"pre-cache-{uid}",
            "uid": uid,
            "creationTimestamp": created.isoformat(),
            "ownerReferences": [{"kind": "Job", "uid": job}],
        },
        "status": {
            "phase": "Failed" if end or reason else "Running",
            "reason": reason,
            "startTime": (created + dt.timedelta(seconds=3)).isoformat(),
            "containerStatuses": [{"state": state}],
        },
    }
    return msgspec.convert(body, Pod)


def history(*pods: Pod, run: str, **boots: str) -> History | None:
    return from_pods(pods, run, boots, T0 + dt.timedelta(minutes=20, seconds=10))


def test_the_first_attempt_has_nothing_before_it() -> None:
    assert history(pod("a", 20), run="a") == History(1, (), 7.0)


def test_a_reboot_shows_in_the_nodes_boot_id() -> None:
    lost = pod("a", 0, {"exitCode": 137, "reason": "ContainerStatusUnknown"})
    found = history(pod("b", 20), lost, run="b", a="boot-1", b="boot-2")
    assert found == History(2, ("attempt 1: node rebooted",), 20 * 60 + 7.0)


@pytest.mark.parametrize(
    ("earlier", "boot", "text"),
    [
        (pod("a", 0, {"exitCode": 16, "message": "RegistryUnreachable: a/b: 503"}), "1",
         "RegistryUnreachable: a/b: 503"),
        (pod("a", 0, {"exitCode": 16}), "1", "RegistryUnreachable"),
        (pod("a", 0, {"exitCode": 16}), "2", "RegistryUnreachable"),
        (pod("a", 0, {"exitCode": 20, "message": "Interrupted: ended"}), "2", "node rebooted"),
        (pod("a", 0, {"exitCode": 20, "message": "Interrupted: ended"}), "1", "Interrupted: ended"),
        (pod("a", 0, {"exitCode": 137, "reason": "OOMKilled"}), "1", "exit code 137 (OOMKilled)"),
        (pod("a", 0, {"exitCode": 3}), "", "exit code 3"),
        (pod("a", 0, reason="Evicted"), "1", "Evicted"),
        (pod("a", 0), "1", "Running"),
    ],
)  # fmt: skip
def test_an_attempt_is_told_by_how_its_pod_ended(earlier: Pod, boot: str, text: str) -> None:
    found = history(earlier, pod("b", 20), run="b", a="1", b=boot)
    assert found
    assert found.earlier == (f"attempt 1: {text}",)


def test_pods_of_another_job_and_later_ones_do_not_count() -> None:
    others = (pod("x", 0, job="job-0"), pod("z", 30))
    assert history(*others, pod("a", 20), run="a") == History(1, (), 7.0)


def test_a_clock_that_was_set_after_the_boot_does_not_use_up_the_deadline() -> None:
    assert history(pod("a", -60 * 24 * 365), run="a") == History(1, (), 900.0)
    assert history(pod("a", 60 * 24), run="a") == History(1, (), 0.0)


def test_a_run_that_is_no_pod_learns_nothing_from_pods() -> None:
    assert history(pod("a", 20), run="by-hand") is None
    assert history(run="a") is None


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, History()),
        (LastRun("a", 3, "Succeeded"), History()),
        (LastRun("a", 1, "", {"a": "boot-1"}), History(2, ("attempt 1: node rebooted",))),
        (
            LastRun("a", 1, "Interrupted", {"a": "boot-1"}),
            History(2, ("attempt 1: node rebooted",)),
        ),
        (LastRun("a", 1, "", {"a": "boot-2"}), History(2, ("attempt 1: killed",))),
        (
            LastRun("a", 2, "Unauthorized", {"a": "boot-1"}),
            History(3, ("attempt 2: Unauthorized",)),
        ),
    ],
)
def test_without_pods_the_note_knows_the_run_before(
    last: LastRun | None, expected: History
) -> None:
    assert from_note(last, "boot-2") == expected


async def test_who_cannot_list_pods_tells_from_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable() -> None:
        raise Unreachable("GET", "pods", 0, "the API server is not up yet")

    monkeypatch.setattr(attempts, "connect", unreachable)
    monkeypatch.setattr(attempts, "_PAUSES_S", (0.0, 0.0))
    progress = Progress("run-2")
    async with told("ns", progress, Deadline(60), LastRun("run-1", ended="StoreFailed")):
        await until(lambda: progress.record.attempt > 1)
    assert progress.record.earlier == ("attempt 1: StoreFailed",)


async def test_a_run_that_ends_at_once_still_says_which_attempt_it_was() -> None:
    progress = Progress("run-2")
    async with told("", progress, Deadline(None), LastRun("run-1", ended="StoreFailed")):
        pass
    assert progress.record.attempt == 2


async def test_a_run_that_is_ended_does_not_wait_for_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asyncio.Event()

    async def hangs() -> None:
        asked.set()
        await asyncio.Event().wait()

    async def run() -> None:
        async with told("ns", Progress("run-1"), Deadline(None), None):
            await asyncio.Event().wait()

    monkeypatch.setattr(attempts, "connect", hangs)
    monkeypatch.setattr(attempts, "_PATIENCE_S", 3600.0)
    running = asyncio.create_task(run())
    await asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
