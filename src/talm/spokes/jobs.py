"""What a viewed Job says: its status -> one fact.

The status may be as little as `{active: 1}`, or empty; whatever is not an end is no failure.
"""

from __future__ import annotations

import re
from typing import Final

from talm.api.meta import Condition
from talm.api.ocm import JobStatus, ViewedObject
from talm.api.progress import CLASS_OF_CODE, EXIT_CODES
from talm.core.model import Fact
from talm.spokes.lastwords import ENDED_SILENT

# A Job that is going to fail says FailureTarget while its pods still end (Kubernetes >= 1.31).
_FAILURES: Final = ("Failed", "FailureTarget")
_DEADLINE: Final = "DeadlineExceeded"
# "Container NAME for pod NAMESPACE/NAME failed with exit code 15 matching FailJob rule at index 1"
_BY_POLICY: Final = "PodFailurePolicy"
_EXIT_CODE: Final = re.compile(r"exit code (\d+)")
_NO_STATUS: Final = JobStatus()

BAD_ENDS: Final = frozenset({Fact.JOB_DEADLINE, Fact.JOB_FAILED})
ENDS: Final = BAD_ENDS | {Fact.JOB_SUCCEEDED}


def job_fact(result: ViewedObject | None) -> tuple[Fact, str]:
    """Tell what has become of the Job, and the Job's own words when it ended badly.

    Its verdict comes before its counts: a pod may still be active when the failure is decided.
    """
    status = (result.status if result else None) or _NO_STATUS
    failure = _condition(status, *_FAILURES)
    if failure is not None:
        fact = Fact.JOB_DEADLINE if failure.reason == _DEADLINE else Fact.JOB_FAILED
        return fact, f"{failure.reason}: {_message(failure)}".strip(": ")
    if (status.active or 0) > 0:
        return Fact.JOB_ACTIVE, ""
    if (status.succeeded or 0) > 0 or _condition(status, "Complete"):
        return Fact.JOB_SUCCEEDED, ""
    return Fact.JOB_PENDING, ""


def told_whole(note: str, words: str) -> str:
    """Join the Job's words and the workload's own.

    A class that both name is named once; words of another class are of an earlier attempt, but for
    those that say that the last one has left none.
    """
    kind = note.removeprefix(f"{_BY_POLICY}: ")
    if kind not in EXIT_CODES or words.startswith(ENDED_SILENT):
        return ": ".join(part for part in (note, words) if part)
    return f"{_BY_POLICY}: {words}" if words.partition(":")[0] == kind else note


def _message(failure: Condition) -> str:
    """The condition's message; an exit code that ended the Job is told by its class."""
    code = _EXIT_CODE.search(failure.message) if failure.reason == _BY_POLICY else None
    return CLASS_OF_CODE.get(int(code[1]), failure.message) if code else failure.message


def _condition(status: JobStatus, *types: str) -> Condition | None:
    """The first condition of one of these types that is True, in the order of `types`."""
    for wanted in types:
        for condition in status.conditions or ():
            if condition.type == wanted and condition.status == "True":
                return condition
    return None
