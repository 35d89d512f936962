"""Moments in the life of a spoke at which something can be made to happen, and what was left there before.

    the pre-caching namespace was made -> the Job's pod is ready -> the Job is complete

What happens does so before anybody else hears of the moment: a link that is cut then carries no news
of it.  Only the first time counts.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL
from talm.sim.spoke.memoryspoke import MemorySpoke
from talm.sim.spoke.spokenamespaces import active

CRASHED_RUN: Final = "a-run-that-crashed"


class Moment(enum.Enum):
    """When, in the order of a run."""

    NAMESPACE_MADE = enum.auto()
    JOB_READY = enum.auto()
    JOB_COMPLETE = enum.auto()


def at_moment(spoke: MemorySpoke, moment: Moment, act: Callable[[], None]) -> None:
    """Have `act` called once, when the moment has come."""

    def watch(kind: Kind, obj: Mapping[str, Any]) -> None:
        if _is(moment, kind, obj):
            spoke.store.followers.remove(watch)
            act()

    spoke.store.followers.insert(0, watch)


def _is(moment: Moment, kind: Kind, obj: Mapping[str, Any]) -> bool:
    if "deletionTimestamp" in obj["metadata"]:
        return False
    if moment is Moment.NAMESPACE_MADE:
        return kind == kinds.NAMESPACE and obj["metadata"]["name"] == MANUAL_NAMESPACE
    status = obj.get("status") or {}
    if kind != kinds.JOB:
        return False
    if moment is Moment.JOB_READY:
        return bool(status.get("ready"))
    return any(condition["type"] == "Complete" for condition in status.get("conditions") or ())


def leave_behind(spoke: MemorySpoke, *, job: bool) -> None:
    """Let an earlier run have left its namespace, and in it a Job that succeeded."""
    labels = {RUN_LABEL: CRASHED_RUN}
    body = active(MANUAL_NAMESPACE, {"metadata": {"labels": labels}})
    spoke.store.add(kinds.NAMESPACE, "", body)
    if job:
        done = {"type": "Complete", "status": "True", "reason": "CompletionsReached"}
        spoke.store.add(
            kinds.JOB,
            MANUAL_NAMESPACE,
            {
                "apiVersion": kinds.JOB.api_version,
                "kind": kinds.JOB.kind,
                "metadata": {"name": "pre-cache", "labels": labels},
                "spec": {"template": {"spec": {}}},
                "status": {"succeeded": 1, "conditions": [done]},
            },
        )
