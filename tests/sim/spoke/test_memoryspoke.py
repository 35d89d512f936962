"""An in-memory spoke keeps an API server's rules, and its Jobs live like Kubernetes' Jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from talm.api import kinds
from talm.errors import ApiError, NotFound
from talm.sim.clock import Clock
from talm.sim.spoke.memoryspoke import MemorySpoke
from talm.sim.spoke.spokejobs import JobPlan, Outcome, SpokeTimes

from ..oneworld import START, job
from ..virtual import virtual

TIMES = SpokeTimes(
    call_s=0, job_sync_s=0.1, pod_start_s=1, pod_grace_s=30, collect_s=0.05, namespace_s=6
)


def spoke(outcome: Outcome = Outcome.SUCCEEDS, *, pace: float = 1.0) -> MemorySpoke:
    def plan(_cluster: str, _job: Mapping[str, Any]) -> JobPlan:
        return JobPlan(duration_s=60, outcome=outcome)

    return MemorySpoke("cnfdb1", Clock(start=START, pace=pace), times=TIMES, scenario=plan)


async def with_namespace(made: MemorySpoke, name: str = "x") -> MemorySpoke:
    await made.create(kinds.NAMESPACE, "", {"metadata": {"name": name}})
    return made


async def start(made: MemorySpoke, **spec: Any) -> None:
    await with_namespace(made)
    await made.create(kinds.JOB, "x", job("pre-cache", "x", **spec))


async def status(made: MemorySpoke) -> dict[str, Any]:
    found: dict[str, Any] = (await made.get(kinds.JOB, "x", "pre-cache"))["status"]
    return found


def reasons(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(c["type"], c["reason"]) for c in found.get("conditions", ())]


class TestJobs:
    @virtual
    async def test_a_new_job_has_an_empty_status_and_defaults(self) -> None:
        made = spoke()
        await start(made)
        found = await made.get(kinds.JOB, "x", "pre-cache")
        assert found["status"] == {}
        assert found["spec"]["backoffLimit"] == 6
        assert found["spec"]["selector"]["matchLabels"] == {
            "batch.kubernetes.io/controller-uid": found["metadata"]["uid"]
        }

    @virtual
    async def test_it_becomes_active_then_ready_then_complete(self) -> None:
        made = spoke()
        await start(made)
        await asyncio.sleep(0.5)
        begun = {"startTime": "2024-05-01T12:00:00Z", "uncountedTerminatedPods": {}}
        assert await status(made) == {**begun, "terminating": 0, "active": 1, "ready": 0}
        await asyncio.sleep(1)
        assert (await status(made))["ready"] == 1
        await asyncio.sleep(61)
        done = await status(made)
        assert "active" not in done
        assert (done["succeeded"], done["ready"], done["terminating"]) == (1, 0, 0)
        assert done["completionTime"] == "2024-05-01T12:01:01Z"
        assert reasons(done) == [
            ("SuccessCriteriaMet", "CompletionsReached"),
            ("Complete", "CompletionsReached"),
        ]

    @pytest.mark.parametrize("outcome", [Outcome.HANGS, Outcome.NEVER_READY])
    @virtual
    async def test_the_deadline_names_its_reason_before_the_pod_is_gone(
        self, outcome: Outcome
    ) -> None:
        made = spoke(outcome)
        await start(made, activeDeadlineSeconds=120)
        await asyncio.sleep(100)
        running = await status(made)
        assert (running["active"], running["ready"]) == (1, int(outcome is Outcome.HANGS))
        await asyncio.sleep(21)
        target = await status(made)
        assert reasons(target) == [("FailureTarget", "DeadlineExceeded")]
        text = "Job was active longer than specified deadline"
        assert target["conditions"][0]["message"] == text
        assert "active" not in target and target["terminating"] == 1
        await asyncio.sleep(30)
        failed = await status(made)
        assert reasons(failed) == [
            ("FailureTarget", "DeadlineExceeded"),
            ("Failed", "DeadlineExceeded"),
        ]
        assert (failed["failed"], failed["terminating"]) == (1, 0)

    @virtual
    async def test_a_failing_pod_ends_the_job_by_its_back_off_limit(self) -> None:
        made = spoke(Outcome.FAILS)
        await start(made, backoffLimit=0)
        await asyncio.sleep(62)
        failed = await status(made)
        assert reasons(failed)[-1] == ("Failed", "BackoffLimitExceeded")
        assert failed["conditions"][-1]["message"] == (
            "Job has reached the specified backoff limit"
        )
        assert failed["failed"] == 1

    @virtual
    async def test_a_reboot_ends_a_job_that_may_not_try_again(self) -> None:
        made = spoke()
        await start(made, backoffLimit=0)
        await asyncio.sleep(10)
        rebooting = asyncio.create_task(made.reboot(40))
        await asyncio.sleep(20)
        with pytest.raises(ApiError):
            await made.get(kinds.JOB, "x", "pre-cache")
        await rebooting
        await asyncio.sleep(1)
        assert reasons(await status(made))[-1] == ("Failed", "BackoffLimitExceeded")

    @virtual
    async def test_a_reboot_costs_an_attempt_and_no_time_of_the_deadline_is_given_back(
        self,
    ) -> None:
        made = spoke()
        await start(made, activeDeadlineSeconds=130)
        await asyncio.sleep(10)
        await made.reboot(40)
        lost = await status(made)
        assert (lost["failed"], lost.get("active", 0), lost.get("conditions")) == (1, 0, None)
        await asyncio.sleep(12)
        again = await status(made)
        assert (again["active"], again["ready"], again["failed"]) == (1, 1, 1)
        assert again["startTime"] == lost["startTime"]
        await asyncio.sleep(60)
        done = await status(made)
        assert (done["succeeded"], done["failed"]) == (1, 1)

    @virtual
    async def test_an_attempt_after_a_reboot_ends_at_the_job_s_deadline(self) -> None:
        made = spoke()
        await start(made, activeDeadlineSeconds=100)
        await asyncio.sleep(10)
        await made.reboot(40)
        await asyncio.sleep(90)
        assert reasons(await status(made))[-1] == ("Failed", "DeadlineExceeded")

    @virtual
    async def test_progress_is_written_into_the_config_map_beside_it(self) -> None:
        made = await with_namespace(spoke())
        await made.create(kinds.CONFIG_MAP, "x", {"metadata": {"name": "pre-cache-progress"}})
        await made.create(kinds.JOB, "x", job("pre-cache", "x"))
        seen = []
        for _ in range(6):
            await asyncio.sleep(12)
            progress = await made.get(kinds.CONFIG_MAP, "x", "pre-cache-progress")
            seen.append(int(progress["data"]["pulled"]))
        assert seen == [0, 5, 10, 15, 15, 20]

    @virtual
    async def test_every_job_ever_created_is_remembered(self) -> None:
        made = spoke()
        await start(made)
        await made.delete(kinds.JOB, "x", "pre-cache", "Foreground")
        await asyncio.sleep(60)
        await made.create(kinds.JOB, "x", job("pre-cache", "x"))
        uids = made.job_uids()["x", "pre-cache"]
        assert len(set(uids)) == 2

    @virtual
    async def test_pace_makes_the_spoke_live_faster(self) -> None:
        made = spoke(pace=10)
        await start(made)
        await asyncio.sleep(6.2)
        assert (await status(made))["succeeded"] == 1

    @virtual
    async def test_a_job_cannot_be_given_another_template(self) -> None:
        made = spoke()
        await start(made)
        with pytest.raises(ApiError, match="field is immutable"):
            await made.merge_patch(kinds.JOB, "x", "pre-cache", {"spec": {"template": {"a": 1}}})


class TestNamespaces:
    @virtual
    async def test_an_idle_namespace_takes_its_time_to_go(self) -> None:
        made = await with_namespace(spoke())
        await made.create(kinds.CONFIG_MAP, "x", {"metadata": {"name": "cm"}})
        await made.delete(kinds.NAMESPACE, "", "x", "Foreground")
        going = await made.get(kinds.NAMESPACE, "", "x")
        assert going["metadata"]["deletionTimestamp"] == "2024-05-01T12:00:00Z"
        await asyncio.sleep(5)
        going = await made.get(kinds.NAMESPACE, "", "x")
        assert going["status"]["phase"] == "Terminating"
        with pytest.raises(NotFound):
            await made.get(kinds.CONFIG_MAP, "x", "cm")
        await asyncio.sleep(2)
        with pytest.raises(NotFound):
            await made.get(kinds.NAMESPACE, "", "x")

    @virtual
    async def test_a_running_pod_holds_its_namespace_for_its_grace(self) -> None:
        made = spoke()
        await start(made)
        await asyncio.sleep(5)
        await made.delete(kinds.NAMESPACE, "", "x", "Foreground")
        await asyncio.sleep(30)
        going = await made.get(kinds.NAMESPACE, "", "x")
        conditions = {c["type"]: c["status"] for c in going["status"]["conditions"]}
        assert conditions["NamespaceContentRemaining"] == "True"
        await asyncio.sleep(7)
        with pytest.raises(NotFound):
            await made.get(kinds.NAMESPACE, "", "x")

    @virtual
    async def test_asking_again_for_its_deletion_is_accepted(self) -> None:
        made = await with_namespace(spoke())
        await made.delete(kinds.NAMESPACE, "", "x", "Foreground")
        await made.delete(kinds.NAMESPACE, "", "x", "Foreground")

    @virtual
    async def test_a_stuck_namespace_stays_until_it_is_released(self) -> None:
        made = await with_namespace(spoke())
        made.hold_namespaces = True
        await made.delete(kinds.NAMESPACE, "", "x", "Foreground")
        await asyncio.sleep(24 * 3600)
        stuck = await made.get(kinds.NAMESPACE, "", "x")
        conditions = {c["type"]: c["status"] for c in stuck["status"]["conditions"]}
        assert conditions["NamespaceFinalizersRemaining"] == "True"
        made.release()
        await asyncio.sleep(0.001)
        assert made.leftovers() == []


class TestRules:
    @pytest.mark.parametrize(
        ("kind", "namespace", "name", "text"),
        [
            (kinds.CONFIG_MAP, "default", "a/b", 'invalid resource name "a/b": [may not con'),
            (kinds.CONFIG_MAP, "a%b", "x", 'invalid namespace "a%b": [may not contain'),
            (kinds.CONFIG_MAP, "default", "..", "invalid resource name"),
            (kinds.NAMESPACE, "default", "x", "the server could not find the requested resource"),
            (kinds.CGU, "default", "x", "the server could not find the requested resource"),
        ],
    )
    @virtual
    async def test_what_cannot_be_addressed_is_refused(
        self, kind: kinds.Kind, namespace: str, name: str, text: str
    ) -> None:
        with pytest.raises(ApiError) as caught:
            await spoke().get(kind, namespace, name)
        assert caught.value.message.startswith(text)

    @virtual
    async def test_a_nameless_object_is_refused(self) -> None:
        with pytest.raises(ApiError) as caught:
            await spoke().create(kinds.CONFIG_MAP, "default", {"metadata": {}})
        assert caught.value.message == (
            'ConfigMap "" is invalid: metadata.name: Required value: name or generateName '
            "is required"
        )

    @virtual
    async def test_what_was_handed_out_does_not_change(self) -> None:
        made = spoke()
        await made.create(kinds.CONFIG_MAP, "default", {"metadata": {"name": "cm"}, "data": {}})
        before = await made.get(kinds.CONFIG_MAP, "default", "cm")
        await made.merge_patch(kinds.CONFIG_MAP, "default", "cm", {"data": {"a": "1"}})
        after = await made.get(kinds.CONFIG_MAP, "default", "cm")
        assert before["data"] == {}
        assert int(after["metadata"]["resourceVersion"]) > int(
            before["metadata"]["resourceVersion"]
        )

    @virtual
    async def test_leftovers_name_everything_that_was_not_there_at_first(self) -> None:
        made = spoke()
        assert made.leftovers() == []
        await start(made)
        assert made.leftovers() == ["Job x/pre-cache", "Namespace /x"]
        made.close()
