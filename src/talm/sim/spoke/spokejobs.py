"""What becomes of a Job on an in-memory spoke: the statuses that Kubernetes >= 1.31 writes.

    {} -> active 1, ready 0 -> ready 1 -+-> SuccessCriteriaMet, Complete
                                        +-> FailureTarget (terminating 1) -> Failed
                                            DeadlineExceeded | BackoffLimitExceeded

    a pod lost: failed 1 -> active 1, ready 0 ... as long as the backoffLimit allows

The deadline counts from startTime on the spoke, whatever the hub link does.  How long a Job
takes and how it ends is a scenario's choice, per cluster; a workload that fails does so for good.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import enum
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from talm.api import kinds
from talm.api.pod import LAST_OF_ENV
from talm.sim.clock import Clock
from talm.sim.spoke.objectstore import Key, Object, ObjectStore
from talm.sim.spoke.spokepods import Obstacle, Obstacles


class Outcome(enum.StrEnum):
    """How a Job's pod ends."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    NEVER_READY = "never-ready"  # ImagePullBackOff: until the deadline, or it is lifted
    HANGS = "hangs"  # ready, and then nothing


PROGRESS: Final = "pre-cache-progress"
Progress: TypeAlias = Callable[[float], Mapping[str, str]]


def count_images(done: float) -> Mapping[str, str]:
    """Progress as the workload reports it, `done` from 0 to 1, for twenty images."""
    return {"phase": "Pulling", "pulled": str(int(done * 20)), "total": "20"}


@dataclasses.dataclass(frozen=True, slots=True)
class JobPlan:
    """`duration_s` counts from the pod's readiness; `progress` is written `steps` times, into
    the ConfigMap `pre-cache-progress` beside the Job if there is one.

    `beat_s`: as the workload does, it is also written each time so many seconds have passed, its record
    with another heartbeat (None: it is not).
    """

    duration_s: float = 60.0
    outcome: Outcome = Outcome.SUCCEEDS
    steps: int = 4
    progress: Progress = count_images
    beat_s: float | None = None


Scenario: TypeAlias = Callable[[str, Mapping[str, Any]], JobPlan]
"""(cluster, Job) -> plan"""


@dataclasses.dataclass(frozen=True, slots=True)
class SpokeTimes:
    """Delays on a spoke, in seconds at pace 1.  Defaults are a healthy single-node cluster."""

    call_s: float = 0.02  # one request to its API server
    job_sync_s: float = 0.1  # until the Job controller looks at a new Job
    pod_start_s: float = 1.0
    pod_grace_s: float = 30.0  # a shell as PID 1 ignores SIGTERM
    back_off_s: float = 10.0  # before the second pod; doubled before each further one
    collect_s: float = 0.05  # garbage collector: a foreground deletion without dependents
    namespace_s: float = 6.0  # an idle namespace takes 5-15 s to go

    @classmethod
    def instant(cls) -> SpokeTimes:
        """Nothing takes time but what a scenario says."""
        return cls(*[0.0] * len(dataclasses.fields(cls)))


def _condition(kind: str, reason: str, message: str, stamp: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": "True",
        "lastProbeTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


DEADLINE: Final = ("DeadlineExceeded", "Job was active longer than specified deadline")
BACK_OFF: Final = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
COMPLETE: Final = ("CompletionsReached", "Reached expected number of succeeded pods")


def with_defaults(job: Object) -> Object:
    """The Job as the API server stores it: defaults, selector and pod labels filled in."""
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    identity = {"batch.kubernetes.io/controller-uid": uid}
    labels = {**identity, "batch.kubernetes.io/job-name": name}
    labels |= {"controller-uid": uid, "job-name": name}
    spec: dict[str, Any] = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        **(job.get("spec") or {}),
        "selector": {"matchLabels": identity},
    }
    template = spec.get("template") or {}
    meta = template.get("metadata") or {}
    meta = {**meta, "labels": {**(meta.get("labels") or {}), **labels}}
    spec["template"] = {**template, "metadata": meta}
    metadata = {**job["metadata"], "generation": 1}
    return {**job, "metadata": metadata, "spec": spec, "status": {}}


def last_of(work: Object) -> str:
    """The namespace that a Job's or DaemonSet's pods delete at their end; "" when told of none."""
    pod = ((work["spec"].get("template") or {}).get("spec")) or {}
    variables = [v for container in pod.get("containers") or () for v in container.get("env") or ()]
    return next((v.get("value", "") for v in variables if v["name"] == LAST_OF_ENV), "")


class JobController:
    """Runs the Jobs of one spoke, each as a task that writes its statuses."""

    def __init__(
        self,
        cluster: str,
        store: ObjectStore,
        clock: Clock,
        *,
        times: SpokeTimes,
        scenario: Scenario,
        on_success: Callable[[Object], None] = lambda _job: None,
    ) -> None:
        self.scenario = scenario
        self._on_success = on_success
        self.obstacles = Obstacles()
        """What keeps all pods of the spoke from starting."""
        self.created: list[tuple[Key, str]] = []
        """Every Job ever created here: key and uid."""
        self.lag_s = 0.0
        """How far the controller is behind: so long a new Job's status stays empty."""
        self.linger_s = 0.0
        """How much longer the pod of a failing Job takes to end: FailureTarget stands alone."""
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._times = times
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pods: dict[str, Key] = {}

    def start(self, job: Object) -> None:
        """Take up a Job that was just stored."""
        meta = job["metadata"]
        self.created.append(((meta["namespace"], meta["name"]), meta["uid"]))
        self._begin(job, self._live(job))

    def end(self, uid: str) -> bool:
        """The Job is going: end its pod.  True when a pod was running (it takes its grace)."""
        if task := self._tasks.pop(uid, None):
            task.cancel()
        return self._pods.pop(uid, None) is not None

    def has_pod(self, namespace: str) -> bool:
        """A pod of a Job runs in this namespace."""
        return any(where == namespace for where, _ in self._pods.values())

    def kill_pods(self) -> None:
        """All pods die (node reboot, eviction): their Jobs make new ones or fail."""
        for uid, (namespace, name) in list(self._pods.items()):
            job = self._store.find(kinds.JOB, namespace, name)
            self.end(uid)
            if job is not None and job["metadata"]["uid"] == uid:
                lost = int(job["status"].get("failed", 0)) + 1
                again = lost <= job["spec"]["backoffLimit"]
                life = (
                    self._try_again(job, lost) if again else self._fail(job, BACK_OFF, grace_s=0.0)
                )
                self._begin(job, life)

    def close(self) -> None:
        """End everything."""
        for uid in list(self._tasks):
            self.end(uid)

    def _begin(self, job: Object, life: Any) -> None:
        uid = job["metadata"]["uid"]
        task = asyncio.get_running_loop().create_task(life)
        self._tasks[uid] = task
        task.add_done_callback(lambda done: self._forget(uid, done))

    def _forget(self, uid: str, done: asyncio.Task[None]) -> None:
        if self._tasks.get(uid) is done:
            del self._tasks[uid]

    async def _live(self, job: Object) -> None:
        await self._clock.sleep(self._times.job_sync_s + self.lag_s)
        if not job["spec"].get("suspend"):
            start = {"startTime": self._clock.stamp(), "uncountedTerminatedPods": {}}
            deadline = job["spec"].get("activeDeadlineSeconds")
            limit = None if deadline is None else self._clock.real(float(deadline))
            await self._attempt(job, {**start, "terminating": 0}, limit)

    async def _try_again(self, job: Object, lost: int) -> None:
        """Make another pod after `lost` of them, as long as the Job's time is not over."""
        start = {**self._start(job), "failed": lost, "terminating": 0}
        self._store.put_status(kinds.JOB, job, {**start, "ready": 0})
        deadline = job["spec"].get("activeDeadlineSeconds")
        limit = None
        if deadline is not None:
            gone = self._clock.now() - dt.datetime.fromisoformat(start["startTime"])
            limit = max(self._clock.real(float(deadline)) - gone.total_seconds(), 0.0)
        await self._attempt(job, start, limit, pause_s=self._times.back_off_s * 2 ** (lost - 1))

    async def _attempt(
        self, job: Object, start: Mapping[str, Any], limit: float | None, *, pause_s: float = 0.0
    ) -> None:
        """One pod, from its creation to its end or the Job's deadline."""
        plan = self.scenario(self._cluster, job)
        try:
            async with asyncio.timeout(limit):
                await self._clock.sleep(pause_s)
                if self.obstacles.now is Obstacle.REFUSED:
                    # No pod was made, so none is active: the controller counts, and tries again.
                    self._store.put_status(kinds.JOB, job, {**start, "ready": 0})
                    await self.obstacles.gone(Obstacle.REFUSED)
                meta = job["metadata"]
                self._pods[meta["uid"]] = (meta["namespace"], meta["name"])
                self._store.put_status(kinds.JOB, job, {**start, "active": 1, "ready": 0})
                await self._pod(job, start, plan)
        except TimeoutError:
            await self._fail(job, DEADLINE, grace_s=self._times.pod_grace_s)
            return
        if plan.outcome is Outcome.FAILS:
            await self._fail(job, BACK_OFF, grace_s=0.0)
        else:
            self._complete(job)

    async def _pod(self, job: Object, start: Mapping[str, Any], plan: JobPlan) -> None:
        await self._clock.sleep(self._times.pod_start_s)
        if plan.outcome is Outcome.NEVER_READY:
            self.obstacles.put(Obstacle.PULL)
        await self.obstacles.gone()
        self._store.put_status(kinds.JOB, job, {**start, "active": 1, "ready": 1})
        done = 0.0
        for done in _fractions(plan.steps):
            await self._tell(job, plan, done, plan.duration_s / max(plan.steps, 1))
        if plan.outcome is Outcome.HANGS:
            await self._tell(job, plan, done, math.inf)
        if plan.outcome is Outcome.SUCCEEDS:
            self._report(job, plan.progress(1.0))

    async def _tell(self, job: Object, plan: JobPlan, done: float, seconds: float) -> None:
        """Write how far it is, for so long; without a beat once."""
        beat_s = plan.beat_s or math.inf
        while seconds > 0:
            stamp = self._clock.stamp() if plan.beat_s else ""
            self._report(job, with_heartbeat(plan.progress(done), stamp))
            pause_s = min(beat_s, seconds)
            if pause_s == math.inf:
                await asyncio.Event().wait()
            await self._clock.sleep(pause_s)
            seconds -= pause_s

    def _report(self, job: Object, data: Mapping[str, str]) -> None:
        current = self._store.find(kinds.CONFIG_MAP, job["metadata"]["namespace"], PROGRESS)
        if current is None or current["metadata"].get("deletionTimestamp"):
            return
        merged = {**(current.get("data") or {}), **data}
        if merged != current.get("data"):
            self._store.put(kinds.CONFIG_MAP, {**current, "data": merged})

    def _complete(self, job: Object) -> None:
        stamp = self._clock.stamp()
        self._pods.pop(job["metadata"]["uid"], None)
        met = _condition("SuccessCriteriaMet", *COMPLETE, stamp)
        status = {**self._start(job), "succeeded": 1, "ready": 0, "terminating": 0}
        self._store.put_status(kinds.JOB, job, {**status, "conditions": [met]})
        done = {"completionTime": stamp, "conditions": [met, {**met, "type": "Complete"}]}
        self._store.put_status(kinds.JOB, job, {**status, **done})
        self._on_success(job)

    async def _fail(self, job: Object, why: tuple[str, str], *, grace_s: float) -> None:
        """FailureTarget first; Failed follows when the pod is really gone."""
        target = _condition("FailureTarget", *why, self._clock.stamp())
        status = {**self._start(job), "ready": 0, "conditions": [target]}
        self._store.put_status(kinds.JOB, job, {**status, "terminating": 1})
        await self._clock.sleep(grace_s + self.linger_s)
        ended = self._pods.pop(job["metadata"]["uid"], None) is not None
        failed = _condition("Failed", *why, self._clock.stamp())
        count = int(status.get("failed", 0)) + ended
        end = {"failed": count, "terminating": 0, "conditions": [target, failed]}
        self._store.put_status(kinds.JOB, job, {**status, **end})

    def _start(self, job: Object) -> dict[str, Any]:
        meta = job["metadata"]
        current = self._store.find(kinds.JOB, meta["namespace"], meta["name"]) or {}
        status = current.get("status") or {}
        failed = {"failed": status["failed"]} if "failed" in status else {}
        return {"startTime": status.get("startTime"), "uncountedTerminatedPods": {}, **failed}


def with_heartbeat(data: Mapping[str, str], stamp: str) -> Mapping[str, str]:
    """The same with the time in its record, if it has one; `stamp` "": as it is."""
    if not stamp or "record" not in data:
        return data
    record = {**json.loads(data["record"]), "heartbeat": stamp}
    return {**data, "record": json.dumps(record)}


def _fractions(steps: int) -> Iterator[float]:
    for step in range(max(steps, 1)):
        yield step / max(steps, 1)
