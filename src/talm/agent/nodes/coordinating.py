"""Has every node of the cluster pull, and adds up what they tell: the pod of the coordinating Job.

    own pod ─► own Job ─► every 3 s: nodes, their Jobs, their records ─► the sum; whose turn is it? ─► a Job

Nothing is remembered that cannot be seen again: killed anywhere, the next pod goes on.  Whoever is
ended leaves the nodes' Jobs alone: they are owned by the coordinating Job and go with it.
Not here: what is decided (choosing.py, standing.py), what is made (children.py), told (total.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog

from talm.agent.attempts import from_pods
from talm.agent.endings import Deadline
from talm.agent.failures import failure, invalid_spec
from talm.agent.nodes.children import Owner, job_body, owner_of, record_body
from talm.agent.nodes.choosing import Node, left_out
from talm.agent.nodes.standing import (
    NodeJob,
    Patience,
    Standing,
    State,
    failure_of,
    is_over,
    next_nodes,
    standing,
)
from talm.agent.nodes.total import Total
from talm.agent.nodes.waiting import why_waiting
from talm.agent.pods import Pod
from talm.agent.running import run
from talm.agent.settings import Settings
from talm.agent.sinks import connect
from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.pod import NODE_ANNOTATION
from talm.api.progress import RECORD_KEY, FailureClass, ProgressRecord
from talm.errors import AgentError, AlreadyExists, Invalid, TalmError

log = structlog.get_logger()

T = TypeVar("T")

LOOK_S: Final = 3.0  # the nodes' records are written at most every 5 s
NODES_S: Final = 30.0  # a node's object is large, and its readiness takes 40 s to change
STUCK_S: Final = 300.0  # longer than it takes to pull the workload's image over a thin link
# Nodes end so long before the coordinating Job: their last records are to be in its own.
_EARLIER_S: Final = 30.0


class Api(Protocol):
    """The requests that are made; `talm.kube.client.Client` has them."""

    async def list(
        self, kind: Kind, namespace: str = "", *, label_selector: str = ""
    ) -> list[dict[str, Any]]: ...

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]: ...


async def run_nodes(
    settings: Settings, at_once: int, on_signal: Callable[[], None] = lambda: None
) -> int:
    """Have every node pull and return the process's exit code, as `running.run` says.

    It is 0 only if every node has everything.
    """
    total = Total(settings.run or str(uuid.uuid4()))

    async def work(deadline: Deadline) -> None:
        target = settings.progress_target()
        if target is None:
            raise invalid_spec("no ConfigMap for the record, which tells the namespace, too")
        async with await connect() as client:
            await coordinate(client, target[0], at_once, total, deadline)

    return await run(settings, total, work, on_signal)


async def coordinate(
    api: Api, namespace: str, at_once: int, total: Total, deadline: Deadline
) -> None:
    """Go on until every node is done, or none can be any more.  Raises AgentError."""
    owner = await _insist(total, lambda: _find_owner(api, namespace, total, deadline))
    rounds = Rounds(api, owner, at_once, total, deadline)
    while not is_over(await _insist(total, rounds.go)):  # noqa: ASYNC110 - the API server is asked
        await asyncio.sleep(LOOK_S)
    if (error := failure_of(rounds.standings)) is not None:
        raise error


async def _insist(total: Total, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the API server answers as it should: only the Job's deadline ends an outage.

    A right that is missing may come yet; until then it is the last error of the record.
    """
    while True:
        try:
            return await ask()
        except AgentError:
            raise
        except (TalmError, OSError, msgspec.MsgspecError) as exc:
            log.warning("trying again", after=str(exc))
            total.hindered(str(exc))
            await asyncio.sleep(LOOK_S)


async def _find_owner(api: Api, namespace: str, total: Total, deadline: Deadline) -> Owner:
    """Find the Job that this pod belongs to, and by its pods which attempt this is."""
    run = total.record.run
    pods = [msgspec.convert(pod, Pod) for pod in await api.list(kinds.POD, namespace)]
    history = from_pods(pods, run, {}, deadline.began)
    if history is None:
        raise invalid_spec(f"no pod of a Job in {namespace} has the uid {run!r}, as --run says")
    deadline.started_before(history.started_before_s)
    total.is_attempt(history.attempt, history.earlier)
    uid = next(pod.job for pod in pods if pod.metadata.uid == run)
    jobs = await api.list(kinds.JOB, namespace)
    job = next((job for job in jobs if job["metadata"]["uid"] == uid), None)
    if job is None:
        raise failure(FailureClass.INTERRUPTED, f"the Job of this pod ({uid}) is gone")
    return owner_of(job)


class Rounds:
    """One look after the other; `standings` is what the last one has found."""

    def __init__(
        self, api: Api, owner: Owner, at_once: int, total: Total, deadline: Deadline
    ) -> None:
        self.standings: tuple[Standing, ...] = ()
        self._api = api
        self._owner = owner
        self._at_once = at_once
        self._total = total
        self._deadline = deadline
        self._patience = Patience(STUCK_S)
        self._nodes: tuple[Node, ...] = ()
        self._nodes_due_s = 0.0
        self._refused: dict[str, AgentError] = {}

    async def go(self) -> tuple[Standing, ...]:
        """Look once, tell, and make the Jobs of those whose turn it is."""
        await self._look_at_nodes()
        # Jobs first: what a Job that has ended has left in its record is there by then.
        found = await self._jobs()
        records = await self._records()
        stuck = await self._stuck(found)
        self.standings = tuple(
            Standing(node.name, State.FAILED, error=self._refused[node.name])
            if node.name in self._refused
            else standing(
                node, found.get(node.name), records.get(node.name), stuck.get(node.name, "")
            )
            for node in self._nodes
        )
        self._total.sum_up(self.standings)
        for one in self.standings:
            if one.state is State.PULLS and one.record is None:
                await self._make_record(one.node)
        for name in next_nodes(self.standings, self._at_once):
            await self._start(name)
        return self.standings

    async def _stuck(self, jobs: Mapping[str, NodeJob]) -> dict[str, str]:
        """What the pods wait for that have waited too long; they are only looked at then."""
        stuck = self._patience.stuck(jobs, time.monotonic())
        if not stuck:
            return {}
        found = await self._api.list(kinds.POD, self._owner.namespace)
        pods = [msgspec.convert(pod, Pod) for pod in found]
        return {name: why_waiting(pods, jobs[name].metadata.uid) for name in stuck}

    async def _look_at_nodes(self) -> None:
        """Nodes may come, go and get ready while others pull."""
        if time.monotonic() < self._nodes_due_s:
            return
        nodes = [msgspec.convert(node, Node) for node in await self._api.list(kinds.NODE)]
        self._total.leave_out({node.name: why for node in nodes if (why := left_out(node))})
        kept = (node for node in nodes if not left_out(node))
        self._nodes = tuple(sorted(kept, key=lambda node: node.name))
        self._nodes_due_s = time.monotonic() + NODES_S

    async def _owned(self, kind: Kind) -> list[dict[str, Any]]:
        owner = self._owner
        return await self._api.list(kind, owner.namespace, label_selector=owner.selector)

    async def _jobs(self) -> dict[str, NodeJob]:
        """The Jobs by node."""
        jobs = [msgspec.convert(job, NodeJob) for job in await self._owned(kinds.JOB)]
        return {job.node: job for job in jobs}

    async def _records(self) -> dict[str, ProgressRecord]:
        """The records by node; one that cannot be read counts as an empty one."""
        records: dict[str, ProgressRecord] = {}
        for one in await self._owned(kinds.CONFIG_MAP):
            node = (one["metadata"].get("annotations") or {}).get(NODE_ANNOTATION, "")
            text = (one.get("data") or {}).get(RECORD_KEY, "")
            records[node] = ProgressRecord()
            with contextlib.suppress(msgspec.MsgspecError):
                records[node] = msgspec.json.decode(text, type=ProgressRecord)
        return records

    async def _start(self, node: str) -> None:
        """Make a node's ConfigMap and Job; what is there already stays, ours or an earlier run's.

        An earlier run's is on its way out, and this is tried again as long as it is there.
        """
        job = job_body(self._owner, node, self._left_s())
        try:
            await self._make_record(node)
            await self._api.create(kinds.JOB, job)
        except AlreadyExists as exc:
            self._total.hindered(f"waits until an earlier run's is gone: {exc}")
        except Invalid as exc:
            self._refused[node] = failure(FailureClass.INVALID_SPEC, str(exc))
        else:
            log.info("node begins", node=node, job=job["metadata"]["name"])

    async def _make_record(self, node: str) -> None:
        """Make the ConfigMap that the node's pod patches: anew when it went with an earlier run's."""
        with contextlib.suppress(AlreadyExists):
            await self._api.create(kinds.CONFIG_MAP, record_body(self._owner, node))

    def _left_s(self) -> float | None:
        """How long a node that begins now may pull."""
        left = self._deadline.job_left_s()
        return None if left is None else left - min(_EARLIER_S, self._deadline.margin_s / 2)
