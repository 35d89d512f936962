"""A removal after a success that has failed on the spoke: how it stands, and the next try.

    deletion failed ──► the namespace is asked about ──► deletion ordered again, each time later
                        └── the view tells, also an operator that was started since, that this is open ──┘
    deletion carried out, or the view finds no namespace ──► the view goes

An agent tries what has failed once more at once and then never again, and the hub's collector takes the
failed action away a minute later: only the view is left then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from talm.api.words import Action, View
from talm.core.removal import Removal, Standing
from talm.spokes.answers import Answer, Deed, State
from talm.spokes.desk import Desk
from talm.spokes.effects import made, next_try
from talm.spokes.profile import DELETES, Try

# With pauses of 5 s, doubled up to 5 min, the last of them is made 25 minutes after the first.
MOST_TRIES: Final = 10
_NOW: Final = dt.timedelta()
_OPEN: Final = frozenset({State.PENDING, State.FAILED})


def has_traces(desk: Desk) -> bool:
    """Whether anything on the hub may be about a removal, whosever it is."""
    asked = desk.find_view(View.NAMESPACE) is not None
    return asked or any(desk.action(action).state in _OPEN for action in DELETES)


def removal(desk: Desk) -> Removal | None:
    """How the removal of this run stands on a cluster that has succeeded; None: done, or not this run's."""
    deeds = {action: desk.action(action) for action in made(desk)}
    asked = desk.view(View.NAMESPACE)
    failed = {a: d for a, d in deeds.items() if d.state is State.FAILED and _counts(desk, a, d)}
    if asked.answer is Answer.UNASKED:
        return _unmarked(desk, failed)
    pending = [d for d in deeds.values() if d.state is State.PENDING]
    if _is_gone(desk):
        failed.pop(Action.NS_DELETE, None)
        if not failed and not pending:
            return Removal(Standing.DONE, due=_NOW)
    if pending:
        return Removal(Standing.REPEATED, age=min(d.age for d in pending))
    note = next((deed.text for deed in failed.values()), "")
    again = dict(_to_repeat(desk))
    if not again:
        return Removal(Standing.GIVEN_UP, note)
    tried = [deed for deed in again.values() if deed.state is State.FAILED]
    return Removal(
        Standing.FAILED,
        note,
        due=max((deed.pause_left for deed in tried), default=_NOW),
        age=min((deed.age for deed in tried), default=_NOW),
    )


async def finish_removal(desk: Desk) -> None:
    """Do what the removal wants next, due or not; the view comes first and goes last."""
    found = removal(desk)
    if found is None:
        return
    if found.standing is Standing.DONE:
        await _let_go(desk)
    elif desk.view(View.NAMESPACE).answer is Answer.UNASKED:
        await desk.ask(View.NAMESPACE)
    else:
        for action, deed in tuple(_to_repeat(desk)):
            succeeded = action is Action.NS_DELETE
            await desk.order_action(action, Try(next_try(deed).number, succeeded=succeeded))


def _unmarked(desk: Desk, failed: dict[Action, Deed]) -> Removal | None:
    """Nobody asks about the namespace yet: that is what a failure wants first."""
    if failed:
        return Removal(Standing.FAILED, next(iter(failed.values())).text, due=_NOW)
    deletion = desk.action(Action.NS_DELETE)
    under_way = deletion.state is State.PENDING and _counts(desk, Action.NS_DELETE, deletion)
    return Removal(Standing.REQUESTED, age=deletion.age) if under_way else None


def _counts(desk: Desk, action: Action, deed: Deed) -> bool:
    """Whether a deletion is of the end of this run; of what is outside of the namespace nobody can tell."""
    return action is not Action.NS_DELETE or deed.succeeded == desk.order.run


def _is_gone(desk: Desk) -> bool:
    """Whether the namespace is gone, or its end was accepted: what holds it then is no failure to delete."""
    if desk.action(Action.NS_DELETE).state is State.DONE:
        return True
    asked = desk.view(View.NAMESPACE)
    if asked.answer is Answer.FOUND and asked.result is not None:
        return asked.result.metadata.deletion_timestamp is not None
    return asked.answer is Answer.MISSING


def _to_repeat(desk: Desk) -> Iterator[tuple[Action, Deed]]:
    """The deletions for another try.  One whose end nobody has seen is ordered anew."""
    for action in made(desk):
        deed = desk.action(action)
        if action is Action.NS_DELETE:
            wanted = deed.state is not State.PENDING and not _is_gone(desk)
        else:
            wanted = deed.state is State.FAILED
        if wanted and deed.attempt < MOST_TRIES:
            yield action, deed


async def _let_go(desk: Desk) -> None:
    """Take failed deletions back, which an agent that restarts would repeat, and at last the view."""
    for action in made(desk):
        if desk.action(action).state is State.FAILED:
            await desk.drop_action(action)
            desk.office.ledger.forget_outcomes(desk.cluster, (action,))
    await desk.drop_view(View.NAMESPACE)
