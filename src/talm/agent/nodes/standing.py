"""What has become of each node, whose turn it is, and how all of it ends: pure.

    no Job yet ── node ready ──► WAITS for its turn ──► PULLS ──► DONE | FAILED
          └────── not ready ──► AWAITED

A node's Job has the last word; its record only says why.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from talm.agent.failures import failure
from talm.agent.nodes.choosing import Node
from talm.api.meta import Condition, ObjectMeta, Wire
from talm.api.pod import NODE_ANNOTATION
from talm.api.progress import CLASS_OF_CODE, FailureClass, ProgressRecord, RunPhase
from talm.errors import AgentError

_EXIT_CODE: Final = re.compile(r"exit code (\d+)")
_SERIOUS: Final = {kind.value: rank for rank, kind in enumerate(FailureClass)}
_NAMED: Final = 5


class State(enum.StrEnum):
    """How far a node is; the value is for people."""

    AWAITED = "not ready"
    WAITS = "waits for its turn"
    PULLS = "pulls"
    DONE = "has everything"
    FAILED = "failed"


class _JobStatus(Wire, frozen=True, kw_only=True):
    active: int | None = None
    ready: int | None = None
    conditions: tuple[Condition, ...] | None = None


class NodeJob(Wire, frozen=True, kw_only=True):
    """What is read of a node's Job."""

    metadata: ObjectMeta
    status: _JobStatus = _JobStatus()

    @property
    def node(self) -> str:
        """The node that it is for."""
        return (self.metadata.annotations or {}).get(NODE_ANNOTATION, "")

    @property
    def runs(self) -> bool:
        """Whether a pod of it runs; an API server that counts no ready pods is believed."""
        ready = self.status.ready
        return bool(self.status.active if ready is None else ready)

    @property
    def end(self) -> Condition | None:
        """The condition that ended it: Complete or Failed."""
        for condition in self.status.conditions or ():
            if condition.type in ("Complete", "Failed") and condition.status == "True":
                return condition
        return None


@dataclass(frozen=True, slots=True)
class Standing:
    """One node.  `has_turn`: it counts among those that pull at the same time.

    `stuck` says what its pod waits for when that has been too long; "" otherwise.
    """

    node: str
    state: State
    has_turn: bool = False
    record: ProgressRecord | None = None
    error: AgentError | None = None
    stuck: str = ""

    @property
    def told(self) -> str:
        """How far it is, for people."""
        return f"waits for its pod ({self.stuck})" if self.stuck else self.state.value


def standing(
    node: Node, job: NodeJob | None, record: ProgressRecord | None, stuck: str = ""
) -> Standing:
    """Judge one node; one that is stuck or not ready pulls nothing, so that it takes no turn."""
    if job is None:
        return Standing(node.name, State.WAITS if node.is_ready else State.AWAITED)
    end = job.end
    if end is None:
        has_turn = node.is_ready and not stuck
        return Standing(node.name, State.PULLS, has_turn, record, stuck=stuck)
    if end.type == "Complete":
        return Standing(node.name, State.DONE, record=record)
    return Standing(node.name, State.FAILED, record=record, error=_why(end, record))


def _why(end: Condition, record: ProgressRecord | None) -> AgentError:
    """The class and text of a node's failure: its record's, else what the Job knows."""
    said = f"{end.reason}: {end.message}".strip(": ")
    if end.reason == "DeadlineExceeded":
        return failure(FailureClass.PARTLY_CACHED, record.error_text if record else said)
    if record and record.phase == RunPhase.FAILED and record.error_class in _SERIOUS:
        return failure(FailureClass(record.error_class), record.error_text)
    code = _EXIT_CODE.search(end.message) if end.reason == "PodFailurePolicy" else None
    kind = CLASS_OF_CODE.get(int(code[1])) if code else None
    return failure(kind or FailureClass.INTERRUPTED, said + _last_seen(record))


def _last_seen(record: ProgressRecord | None) -> str:
    """What is known of a pod that was cut off."""
    if record is None or not record.run:
        return "; it has told nothing"
    last = f": {record.error_class}: {record.error_text}" if record.error_class else ""
    return f"; last seen with {record.images_done} of {record.images_total} images{last}"


def next_nodes(standings: Iterable[Standing], at_once: int) -> tuple[str, ...]:
    """Whose turn it is, by name, so that at most `at_once` pull at the same time."""
    known = tuple(standings)
    free = at_once - sum(one.has_turn for one in known)
    waiting = sorted(one.node for one in known if one.state is State.WAITS)
    return tuple(waiting[: max(0, free)])


def is_over(standings: Sequence[Standing]) -> bool:
    """Whether nothing can change any more but that a node gets ready, which mends no failure."""
    states = {one.state for one in standings}
    if not states or states & {State.WAITS, State.PULLS}:
        return False
    return State.AWAITED not in states or State.FAILED in states


def failure_of(standings: Sequence[Standing]) -> AgentError | None:
    """The most serious failure, in whose text every failed node is told; None: all is well.

    The most serious is the one that comes first in `FailureClass`: what is wrong for all nodes before
    what is wrong with one, and last what a longer time would have mended.
    """
    failed = [(one.node, one.error) for one in standings if one.error is not None]
    if not failed:
        return None
    _, worst = min(failed, key=lambda one: _SERIOUS[one[1].kind])
    texts = [f"{node}: {error}" for node, error in failed]
    texts += [f"{one.node}: {one.state}" for one in standings if one.state is State.AWAITED]
    message = f"{len(failed)} of {len(standings)} nodes failed: {'; '.join(texts)}"
    return AgentError(worst.kind, message, worst.exit_code)


def summary(standings: Sequence[Standing]) -> str:
    """Say in a sentence how many nodes are done, and of some of the others how far they are."""
    done = sum(one.state is State.DONE for one in standings)
    others = [one for one in standings if one.state is not State.DONE]
    told = ", ".join(f"{one.node} {one.told}" for one in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"{done} of {len(standings)} nodes have everything" + (f"; {told}{more}" if told else "")


class Patience:
    """Tells nodes that pull from those whose pod does not come to run, which wait for somebody."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._idle_since: dict[str, float] = {}

    def stuck(self, jobs: Mapping[str, NodeJob], now_s: float) -> frozenset[str]:
        """The nodes whose Job has had no running pod for the whole limit."""
        idle = [name for name, job in jobs.items() if job.end is None and not job.runs]
        self._idle_since = {name: self._idle_since.get(name, now_s) for name in idle}
        since = self._idle_since.items()
        return frozenset(name for name, at in since if now_s - at >= self._limit_s)
