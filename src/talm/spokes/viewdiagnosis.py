"""The pod that tells why the Job's does not get ready, through actions and a view.

    the action that makes it ─► refused: its words are the cause
                            ─► done: the view, whose answer is the pod's status

Its deletion is requested when the Job's pod is ready or the Job has ended badly, and never waited for:
the namespace takes along what is left.  Profile existing has none of it: what a pod of somebody else's
image does with another command is not known.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Final

from talm.api.words import Action, View
from talm.core.model import Sight
from talm.spokes.answers import Answer, State
from talm.spokes.desk import Desk
from talm.spokes.diagnosis import (
    NO_DIAGNOSIS,
    Diagnosis,
    Stalls,
    concerns,
    is_refusal,
    is_unready,
    of_pod,
    of_refusal,
    with_diagnosis,
)
from talm.spokes.profile import Try
from talm.spokes.seen import Seen, is_stale

_ASKED: Final = of_pod(None)
_HOLD_OFF: Final = dt.timedelta(seconds=10)
_NO_TIME: Final = dt.timedelta(0)


def diagnosed(sight: Sight, desk: Desk, stalls: Stalls) -> Sight:
    """What is seen, with why the Job's pod does not get ready where that takes long."""
    if not desk.profile.diagnoses or not concerns(sight):
        return sight
    result = desk.view(View.JOB).result
    job = result.status if result else None
    if not is_unready(sight, job):
        stalls.over(desk.cluster)
        return with_diagnosis(sight, job, find_diagnosis(desk))
    unready_for = stalls.seen(desk.cluster, desk.order.run, desk.now)
    return with_diagnosis(sight, job, find_diagnosis(desk), unready_for)


def find_diagnosis(seen: Seen) -> Diagnosis:
    """What action and view tell of the pod."""
    deed, asked = seen.action(Action.DIAGNOSE_CREATE), seen.view(View.DIAGNOSE)
    if asked.answer is Answer.FOUND:
        return of_pod(asked.result.status if asked.result else None)
    if deed.state is State.FAILED:
        if is_refusal(deed.text):
            return of_refusal(deed.text)
        return replace(of_refusal(deed.text), due=deed.is_due, recheck=deed.pause_left or None)
    if asked.answer is not Answer.UNASKED:
        return replace(_ASKED, due=is_stale(View.DIAGNOSE, asked, deed))
    match deed.state:
        case State.ABSENT:
            return NO_DIAGNOSIS
        case State.PENDING:  # its end may get lost: the question does not wait for it for ever
            left = _HOLD_OFF - deed.age
            return replace(_ASKED, due=left <= _NO_TIME, recheck=max(left, _NO_TIME) or None)
        case State.DONE:
            return replace(_ASKED, due=True)


async def diagnose(desk: Desk) -> None:
    """Make the pod, and once it is made ask about it; a refusal that would be repeated stands."""
    if not desk.profile.diagnoses:
        return
    deed = desk.action(Action.DIAGNOSE_CREATE)
    if deed.state in (State.DONE, State.PENDING):
        stale = is_stale(View.DIAGNOSE, desk.view(View.DIAGNOSE), deed)
        await (desk.ask_again(View.DIAGNOSE) if stale else desk.ask(View.DIAGNOSE))
    elif deed.state is State.ABSENT:
        await desk.drop_action(Action.DIAGNOSE_DELETE)  # of an earlier pod; it would meet this one
        await desk.order_action(Action.DIAGNOSE_CREATE)
    elif deed.state is State.FAILED and deed.is_due and not is_refusal(deed.text):
        await desk.order_action(Action.DIAGNOSE_CREATE, Try(deed.attempt + 1))


async def drop_diagnosis(desk: Desk) -> None:
    """Have the pod deleted and forget about it; the view goes last, since it tells of the pod."""
    if not desk.profile.diagnoses:
        return
    deed = desk.action(Action.DIAGNOSE_CREATE)
    asked = desk.find_view(View.DIAGNOSE) is not None
    if deed.state is State.ABSENT and not asked:
        return
    await desk.drop_action(Action.DIAGNOSE_CREATE)
    desk.office.ledger.forget_outcomes(desk.cluster, (Action.DIAGNOSE_CREATE,))
    if deed.state is not State.FAILED or asked:
        await desk.order_action(Action.DIAGNOSE_DELETE)
    await desk.drop_view(View.DIAGNOSE)
