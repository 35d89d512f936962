"""What must be heard of a cluster next: by the question that is open, or by the Job that is at work.

    a question without an answer ──► the agent's answer
    a workload that has told     ──► its next record
    anything else                ──► nothing: an agent with no news is quiet, and so is a pod that is pulled

Not here: how soon it must come (patience.py), when something was heard (hearing.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from talm.api.ocm import ManifestWork, ViewedObject
from talm.api.progress import RECORD_KEY
from talm.api.words import Action, View
from talm.core.due import Due, Voice
from talm.core.model import Fact, Sight
from talm.spokes.answers import Answer, State
from talm.spokes.desk import Desk
from talm.spokes.hearing import Heard
from talm.spokes.patience import Patience
from talm.spokes.workfacts import is_applied, is_watched, told_job

_AGENTS_TURN: Final = frozenset({Fact.UNANSWERED, Fact.SETTING_UP, Fact.LEFTOVERS})


def due_in_views(desk: Desk, sight: Sight, heard: Heard | None, patience: Patience) -> Due | None:
    """What views and actions must tell next of this cluster; None: nothing is due."""
    if sight.fact is Fact.JOB_ACTIVE:
        view = desk.find_view(View.PROGRESS)
        shown = view.cached if view is not None else None
        if heard is not None and shown is not None and _tells(desk.view(View.JOB).result, sight):
            within = patience.record_in_view(shown.spec.scope.update_interval_seconds)
            return Due(Voice.WORKLOAD, heard.record_at, within)
        # An action whose end got lost stays open for ever: by now it says nothing.
        asked = min(_unanswered_since(desk), default=None)
    elif sight.fact in _AGENTS_TURN:
        asked = min((*_unanswered_since(desk), *_undone_since(desk)), default=None)
    else:
        return None
    if asked is None:
        return None
    return Due(Voice.VIEW_AGENT, max(asked, heard.at) if heard else asked, patience.agent)


def due_in_work(
    work: ManifestWork, sight: Sight, heard: Heard | None, patience: Patience
) -> Due | None:
    """What a work must tell next of a cluster of which this is seen; None: nothing is due."""
    if heard is None:
        return None
    if sight.fact is Fact.JOB_ACTIVE:
        if not _tells(told_job(work), sight):
            return None
        by_events = is_watched(work) and heard.by_events
        within = patience.record_in_work(by_events=by_events)
        return Due(Voice.WORKLOAD, heard.record_at, within)
    if sight.fact is Fact.SETTING_UP and not is_applied(work):
        return Due(Voice.WORK_AGENT, heard.at, patience.work_answer(told=True))
    if sight.fact is Fact.JOB_PENDING and told_job(work) is None:
        return Due(Voice.WORK_AGENT, heard.at, patience.work_answer(told=False))
    return None


def _tells(job: ViewedObject | None, sight: Sight) -> bool:
    """Whether a workload is at work that has told something.

    One that has told nothing yet may be none of ours, or cannot write: the Job's end says more of it.  While
    the Job makes another pod nobody writes.
    """
    status = job.status if job is not None else None
    return RECORD_KEY in sight.progress and (status is None or status.ready != 0)


def _unanswered_since(desk: Desk) -> Iterator[dt.datetime]:
    """When each view was made that has no answer yet, not even a refusal."""
    for view in View:
        question = desk.view(view)
        found = desk.find_view(view) if question.answer is Answer.AWAITED else None
        if found is not None and not question.note:
            yield found.since


def _undone_since(desk: Desk) -> Iterator[dt.datetime]:
    """When each action was made that has no end yet."""
    for action in Action:
        deed = desk.action(action)
        if deed.state is State.PENDING:
            yield desk.now - deed.age
