"""A batch's turn has come: who of it is asked whether everything is still cached, and who is left out.

    the batch before it is over ──► records say so, and are new enough ───────► it begins
                                └─► others ──► NotStarted … Succeeded ─────────► it begins with those
                                                                └──► a bad end ► left out, and named

Before the update starts all clusters are asked together (decide.py), not batch by batch.  That costs a
cluster no run more, unless the update lasts longer than a record is believed; it is one round instead of one
for each of a hundred batches, and it is over before the update's time begins to run, while the user may
still close the window.  So here only those are asked again whose turn comes later than their record is
believed.

Whoever is asked goes the way of pre-caching, for the specification that is stored: the policies are partly
enforced by now.  Whether `enable` has been taken back does not matter, as for the rest of a running update.

How it is remembered: the batch is the current one and has no beginning (`currentBatchStartedAt`), and
`verifyingSince` says that it was asked.  Where an older CRD drops that and the operator is restarted,
clusters that are open say the same, and of those that have answered a record tells that is new.

What it costs in time: a batch's own share of the time begins with the batch.  The timeout of the whole update
goes on, since it is the window that the user has given, and an end that moves is none; what is left of it is
shared by the batches that are left.  A cluster that has to pull again for hours must not eat the others'
time: besides the deadlines of pre-caching a batch's answers have `answer_by`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from talm.api.words import BAD_PHASES, FINAL_PHASES, Phase

from .fleet import JUST_AFTER, FleetDecision, Phases, decide_fleet, stored_phases
from .model import Effect, Move, Rules, Snapshot
from .phrases import first_few
from .plan import batch_deadline
from .precache import minutes
from .rollout import Course
from .specifications import stored_specifications
from .verification import send_back

NOBODY: Final = FleetDecision()


@dataclass(frozen=True, slots=True)
class Turn:
    """`since` None: the batch may begin with the clusters that `course` has now.

    Else clusters have been asked since then, of whom `awaited` have not answered; `fleet` has their moves.
    """

    course: Course
    fleet: FleetDecision = NOBODY
    since: dt.datetime | None = None
    awaited: tuple[str, ...] = ()


def take_turn(
    seen: Snapshot, course: Course, timeout: dt.timedelta, *, asked: dt.datetime | None
) -> Turn:
    """Ask the clusters of the current batch, follow those that were asked, or let it begin.

    `timeout` is that of the whole update; `asked` is when this batch was asked, None: not yet.
    """
    phases = stored_phases(seen.cgu.status)
    awaited = still_asked(course, phases)
    if awaited:
        since = asked or seen.now
        return Turn(course, _followed(seen, course, awaited, since, timeout), since, awaited)
    back = _send_back(seen, course, phases) if asked is None else ()
    if back:
        return Turn(course, FleetDecision(back), seen.now, tuple(move.cluster for move in back))
    return Turn(_without_unverified(course, phases) if seen.cgu.spec.pre_caching else course)


def still_asked(course: Course, phases: Phases) -> tuple[str, ...]:
    """The clusters of the current batch that have not answered yet."""
    return tuple(c for c in course.current if phases.get(c, Phase.SUCCEEDED) not in FINAL_PHASES)


def awaited_now(course: Course, phases: Phases) -> tuple[str, ...]:
    """For whom a batch waits whose turn has come; nobody where it has begun."""
    return still_asked(course, phases) if course.batch_started_at is None else ()


def answer_by(
    course: Course, since: dt.datetime, timeout: dt.timedelta, rules: Rules
) -> dt.datetime:
    """Until when the clusters of the current batch, asked at `since`, may take to answer.

    Half of the batch's share of the time, so that as much is left to update the others; but no less than
    what the setup of a run may take, which the number of batches does not shorten.
    """
    left = max(len(course.plan) - (course.batch - 1), 1)
    share = batch_deadline(course.started_at, since, left, timeout) - since
    return since + max(rules.setup_deadline, share / 2)


def waits_for(course: Course, awaited: tuple[str, ...]) -> str:
    """Completes "waits for ...": whose answers, and in which batch."""
    count = len(awaited)
    return (
        f"{count} cluster{'' if count == 1 else 's'} of batch {course.batch} of {len(course.plan)}"
        f" to verify that everything is still cached: {first_few(awaited)}"
    )


def named_at_the_end(turn: Turn, farewell: Iterable[Move]) -> tuple[Move, ...]:
    """The farewell of an update whose time is up while clusters are asked: they are named, not forgotten."""
    asked = frozenset(turn.awaited)
    why = "the time of the update was up before it was verified"
    return tuple(
        replace(move, goto=Phase.TIMED_OUT, why=why)
        if move.goto is None and move.cluster in asked
        else move
        for move in farewell
    )


def _send_back(seen: Snapshot, course: Course, phases: Phases) -> tuple[Move, ...]:
    specs = stored_specifications(seen.cgu.status)
    if specs is None or not seen.cgu.spec.pre_caching:
        return ()
    cached = (c for c in course.current if phases.get(c) is Phase.SUCCEEDED)
    return send_back(seen, cached, specs.hash_of)


def _followed(
    seen: Snapshot,
    course: Course,
    awaited: Iterable[str],
    since: dt.datetime,
    timeout: dt.timedelta,
) -> FleetDecision:
    """A step further for each of them; when pre-caching was called off what was begun is taken away."""
    if not seen.cgu.spec.pre_caching:
        return decide_fleet(seen, (), held=False, enabled=True)
    fleet = decide_fleet(seen, course.current, held=False, enabled=True)
    until = answer_by(course, since, timeout, seen.rules)
    if seen.now < until:
        look = until - seen.now + JUST_AFTER
        other = fleet.look_again_after
        return replace(fleet, look_again_after=look if other is None else min(look, other))
    ending = {move.cluster for move in fleet.moves if move.goto in FINAL_PHASES}
    late = [cluster for cluster in awaited if cluster not in ending]
    moves = [move for move in fleet.moves if move.cluster not in late]
    return replace(fleet, moves=(*moves, *(_too_late(seen, c, until - since) for c in late)))


def _too_late(seen: Snapshot, cluster: str, limit: dt.timedelta) -> Move:
    why = f"not verified within {minutes(limit)}, for which its batch has waited"
    # What is on a cluster that another CGU has is the other's.
    effects = () if cluster in seen.owners else (Effect.WITHDRAW,)
    return Move(cluster, Phase.TIMED_OUT, effects, why)


def _without_unverified(course: Course, phases: Phases) -> Course:
    """Without those of the batch that could not be verified.

    The batch stays, if nobody is left as an empty one that is over at once, so that batches keep their
    numbers.
    """
    left = tuple(c for c in course.current if phases.get(c) not in BAD_PHASES)
    if len(left) == len(course.current):
        return course
    at = course.batch - 1
    return replace(course, plan=(*course.plan[:at], left, *course.plan[at + 1 :]))
