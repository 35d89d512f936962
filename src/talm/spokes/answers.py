"""One view as a question with its answer, one action as a deed with its end.

Decided here: which of an agent's words mean present, absent, done.  Not here: what follows from it
for a cluster (facts.py).  Source of the words: the view and action agents of OCM's foundation.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, replace
from typing import Final

from talm.api.meta import Condition, ObjectMeta
from talm.api.ocm import ManagedClusterAction, ManagedClusterView, ViewedObject
from talm.api.words import ATTEMPT_ANNOTATION, SUCCEEDED_ANNOTATION
from talm.spokes.ledger import Outcome, Present, number

_PROCESSING: Final = "Processing"
_COMPLETED: Final = "Completed"
_NOT_FOUND: Final = "not found"
_ALREADY_EXISTS: Final = "already exists"
_BEING_DELETED: Final = "object is being deleted"  # "...: namespaces "x" already exists"

_FIRST_PAUSE: Final = dt.timedelta(seconds=5)
_LONGEST_PAUSE: Final = dt.timedelta(seconds=300)
_DOUBLINGS: Final = 6  # 5 s x 2^6 = 320 s is past the longest pause


class Answer(enum.Enum):
    """What a view tells about the object that it asks about."""

    UNASKED = enum.auto()  # there is no such view
    AWAITED = enum.auto()  # no answer, or one that tells nothing; `note` has the agent's words
    FOUND = enum.auto()
    MISSING = enum.auto()


@dataclass(frozen=True, slots=True)
class Question:
    """A view.  `result` only stands beside FOUND: what is kept beside another answer is stale.

    `born` is the resourceVersion with which the view was created, where that is known, else its last:
    an action that was seen complete at a later one may have come after the answer.  `told` is its last,
    that of the newest answer; `age` counts from its creation.
    """

    answer: Answer = Answer.UNASKED
    result: ViewedObject | None = None
    note: str = ""
    born: int = 0
    told: int = 0
    age: dt.timedelta = dt.timedelta(0)


class State(enum.Enum):
    """How far an action is."""

    ABSENT = enum.auto()  # not there, and its end was not seen
    PENDING = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()


@dataclass(frozen=True, slots=True)
class Deed:
    """An action.  `present` False: gone from the hub, the rest is remembered.

    `moot`: done because it was so already.  `version` is the resourceVersion that told the end,
    `age` counts from the action's creation, `deadline_s` is that of the Job in it, `succeeded` the
    run that it ended after its Job had succeeded.
    """

    state: State = State.ABSENT
    present: bool = False
    moot: bool = False
    text: str = ""
    version: int = 0
    attempt: int = 1
    age: dt.timedelta = dt.timedelta(0)
    deadline_s: int | None = None
    succeeded: str = ""

    @property
    def pause_left(self) -> dt.timedelta:
        """How long it may not yet be tried again: 5 s after the first try, doubled, at most 300 s."""
        pause = min(_FIRST_PAUSE * (1 << min(self.attempt - 1, _DOUBLINGS)), _LONGEST_PAUSE)
        return max(dt.timedelta(0), pause - self.age)

    @property
    def may_run(self) -> bool:
        """Whether an agent may carry it out (again): only Completed=True is final for an agent."""
        return self.present and (self.state is not State.DONE or self.moot)

    @property
    def is_due(self) -> bool:
        """Whether it is time for another try."""
        return not self.pause_left


NO_QUESTION: Final = Question()
NO_DEED: Final = Deed()


def question(found: Present[ManagedClusterView], now: dt.datetime) -> Question:
    """Read a view.  Neither the times on it nor the presence of a result are asked."""
    status = found.cached.status if found.cached else None
    said = _condition(status.conditions if status else None, _PROCESSING)
    asked = Question(
        Answer.AWAITED,
        born=found.born,
        told=number(found.cached.metadata.resource_version) if found.cached else found.born,
        age=max(dt.timedelta(0), now - found.since),
    )
    if status is None or said is None:
        return asked
    if said.status == "True":
        return replace(asked, answer=Answer.FOUND, result=status.result)
    if said.message.rstrip().endswith(_NOT_FOUND):
        return replace(asked, answer=Answer.MISSING, note=said.message)
    return replace(asked, note=said.message)


def deed(found: Present[ManagedClusterAction], *, deletes: bool, now: dt.datetime) -> Deed:
    """Read an action that is there."""
    action = found.cached
    pending = Deed(
        State.PENDING,
        present=True,
        attempt=found.attempt,
        age=max(dt.timedelta(0), now - found.since),
        succeeded=found.succeeded,
    )
    if action is None:
        return pending
    template = action.spec.kube.template
    known = replace(
        pending,
        attempt=found.attempt or _attempt(action.metadata),
        deadline_s=template.spec.active_deadline_seconds if template and template.spec else None,
        succeeded=(action.metadata.annotations or {}).get(SUCCEEDED_ANNOTATION, ""),
    )
    said = _condition(action.status.conditions if action.status else None, _COMPLETED)
    if said is None or said.status not in ("True", "False"):
        return known
    moot = said.status == "False" and _is_moot(said.message, deletes=deletes)
    return replace(
        known,
        state=State.DONE if moot or said.status == "True" else State.FAILED,
        moot=moot,
        text=said.message,
        version=number(action.metadata.resource_version),
    )


def remembered(outcome: Outcome, now: dt.datetime) -> Deed:
    """Read an action that is gone."""
    return Deed(
        State.DONE if outcome.done else State.FAILED,
        moot=outcome.moot,
        text=outcome.text,
        version=outcome.version,
        attempt=outcome.attempt,
        age=max(dt.timedelta(0), now - outcome.since),
        succeeded=outcome.succeeded,
    )


def outcome(ended: Deed, run: str, now: dt.datetime) -> Outcome | None:
    """What to remember of an action; None while it has not ended."""
    if ended.state not in (State.DONE, State.FAILED):
        return None
    return Outcome(
        run=run,
        done=ended.state is State.DONE,
        moot=ended.moot,
        text=ended.text,
        version=ended.version,
        attempt=ended.attempt,
        since=now - ended.age,
        succeeded=ended.succeeded,
    )


def _is_moot(text: str, *, deletes: bool) -> bool:
    """Whether an error says that there was nothing left to do.

    An agent that lost the answer to its own success tries again and reports this error.
    """
    words = text.rstrip()
    if deletes:
        return words.endswith(_NOT_FOUND)
    return words.endswith(_ALREADY_EXISTS) and _BEING_DELETED not in words


def _attempt(meta: ObjectMeta) -> int:
    text = (meta.annotations or {}).get(ATTEMPT_ANNOTATION, "1")
    return int(text) if text.isdecimal() and len(text) <= 4 and int(text) > 0 else 1  # noqa: PLR2004


def _condition(conditions: tuple[Condition, ...] | None, kind: str) -> Condition | None:
    for condition in conditions or ():
        if condition.type == kind:
            return condition
    return None
