"""What now?  One pure look at a snapshot; every effect it asks for is idempotent.

deleted ──► farewell, finalizer off          ended elsewhere ──► farewell
no finalizer ──► finalizer on                remediation runs ──► rollout.step, turns.take_turn
else ──► prepare ──► pre-caching ──► gates ──► remediation begins
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from talm.api.cgu import CguStatus, ClusterState, PolicyRef
from talm.api.words import BAD_PHASES, FINALIZER, ClusterOutcome, ConditionType, Phase

from . import rollout
from .fleet import FleetDecision, decide_fleet, stored_phases
from .gates import first_gate
from .model import Move, RootPolicy, Snapshot, WantedPlacement
from .parting import farewell, follow_up, held_for
from .placements import wanted_placements
from .plan import plan_batches
from .prepare import Prepared, prepare
from .renewal import Change, renew
from .rollout import Course, Limits, RolloutStep
from .story import ENDS, Rollout, RolloutVerdict
from .turns import Turn, named_at_the_end, take_turn, waits_for
from .verification import send_back, verifying_since

NO_MOVES: Final = FleetDecision()


class Stage(enum.Enum):
    """Where the CGU is, judged from what is stored and seen."""

    ADOPTING = enum.auto()  # it gets the finalizer
    PREPARING = enum.auto()  # before the remediation: selection, policies, pre-caching, gates
    REMEDIATING = enum.auto()
    ENDED = enum.auto()  # the Succeeded condition was written, by whomever; the farewell is due
    OVER = enum.auto()  # nothing is left to do
    DELETING = enum.auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and what was found on the way (`settle` needs it).

    `placements` None: they are left as they are; `drop_placements`: all of this CGU's are deleted.
    The finalizer is changed last, and dropped only when every move was carried out; `held_for`: not yet,
    since what is left on these clusters could not be removed.
    `verifying_since` is what is to be stored: clusters are asked before the update starts
    (verification.py), or before their batch begins (turns.py).
    """

    stage: Stage
    prepared: Prepared | None = None
    fleet: FleetDecision = NO_MOVES
    placements: tuple[WantedPlacement, ...] | None = None
    drop_placements: bool = False
    add_finalizer: bool = False
    drop_finalizer: bool = False
    rollout: RolloutStep | None = None
    verifying_since: dt.datetime | None = None
    gate: RolloutVerdict | None = None
    held_for: frozenset[str] = frozenset()

    @property
    def moves(self) -> tuple[Move, ...]:
        return self.fleet.moves

    @property
    def ends(self) -> bool:
        """True when this pass brings the CGU to its end."""
        return self.gate is not None and self.gate.kind in ENDS


def decide(seen: Snapshot) -> Decision:
    """Say what to do now for one CGU.  Cost: linear in its clusters times its policies."""
    decision = _decide(seen)
    if not seen.removals or decision.stage is Stage.ADOPTING:
        return decision
    held = held_for(seen)
    return replace(
        decision,
        fleet=follow_up(seen, decision.fleet),
        held_for=held,
        drop_finalizer=decision.drop_finalizer and not held,
    )


def _decide(seen: Snapshot) -> Decision:
    meta = seen.cgu.metadata
    if meta.deletion_timestamp is not None:
        return Decision(
            Stage.DELETING,
            fleet=FleetDecision(() if is_over(seen.cgu.status) else farewell(seen)),
            drop_placements=True,
            drop_finalizer=FINALIZER in (meta.finalizers or ()),
        )
    if FINALIZER not in (meta.finalizers or ()):
        return Decision(Stage.ADOPTING, add_finalizer=True)
    if is_over(seen.cgu.status):
        return Decision(Stage.OVER)
    if has_succeeded_condition(seen.cgu.status):
        fleet = FleetDecision(farewell(seen))
        return Decision(Stage.ENDED, fleet=fleet, drop_placements=_deletes_objects(seen))
    course = stored_course(seen.cgu.status)
    if course is not None:
        return _remediate(seen, course)
    return _prepare(seen)


def is_over(status: CguStatus) -> bool:
    """True once `completedAt` is stored: the farewell has been said."""
    return status.status is not None and status.status.completed_at is not None


def has_succeeded_condition(status: CguStatus) -> bool:
    """The one condition that steers: `Succeeded`, whoever wrote it, whatever its status, is the end."""
    return any(c.type == ConditionType.SUCCEEDED for c in status.conditions or ())


def stored_course(status: CguStatus) -> Course | None:
    """The running remediation as it was stored; None when none runs."""
    stored = status.status
    if stored is None or stored.started_at is None or not status.remediation_plan:
        return None
    return Course(
        started_at=stored.started_at,
        plan=status.remediation_plan,
        policies=status.managed_policies_for_upgrade or (),
        batch=max(stored.current_batch, 1),
        batch_started_at=stored.current_batch_started_at,
        progress=stored.current_batch_remediation_progress or {},
        clusters=status.clusters or (),
    )


def _prepare(seen: Snapshot) -> Decision:
    found = prepare(seen)
    required = found.precaching_required
    held = found.held
    # A hold does not touch those who have begun: they are in the stored plan.
    plan = tuple(stored_phases(seen.cgu.status)) if held else (found.plan if required else ())
    fleet = decide_fleet(seen, plan, held=held, enabled=seen.cgu.spec.enable, waiting=found.waiting)
    if found.renewal is not None and found.change is Change.DUE:
        fleet = renew(seen, found.renewal, fleet)
    asked = verifying_since(seen.cgu.status)
    if held:
        return Decision(Stage.PREPARING, found, fleet, verifying_since=asked)
    placements = _placements(seen, found.assessment.refs, {})
    base = Decision(Stage.PREPARING, found, fleet, placements=placements, verifying_since=asked)
    if required and not _is_precached(seen, found):
        return base
    return _begin(seen, base, found)


def _is_precached(seen: Snapshot, found: Prepared) -> bool:
    if found.change is not Change.NONE:
        return False
    phases = stored_phases(seen.cgu.status)
    return all(phases.get(c) in BAD_PHASES | {Phase.SUCCEEDED} for c in found.plan)


def _begin(seen: Snapshot, base: Decision, found: Prepared) -> Decision:
    """Pre-caching is done or not asked for: end, wait at a gate, ask who is still cached, or begin."""
    phases = stored_phases(seen.cgu.status)
    left = found.plan
    if found.precaching_required:
        left = tuple(c for c in found.plan if phases.get(c) is Phase.SUCCEEDED)
        if not left:
            return _ending(seen, base, Rollout.ALL_FAILED_PRECACHING)
    closed = first_gate(seen)
    if closed is not None:
        return replace(base, gate=closed, verifying_since=None)
    if base.verifying_since is None and found.specs is not None:
        back = send_back(seen, left, found.specs.hash_of)
        if back:
            fleet = replace(base.fleet, moves=(*base.fleet.moves, *back))
            return replace(base, fleet=fleet, verifying_since=seen.now)
    return _begin_with(seen, replace(base, verifying_since=None), found, left)


def _begin_with(seen: Snapshot, base: Decision, found: Prepared, left: tuple[str, ...]) -> Decision:
    """The remediation of those who are left begins."""
    canaries = seen.cgu.spec.remediation_strategy.canaries or ()
    compliant = [c for c in found.selection.clusters if c not in set(found.plan)]
    course = Course(
        started_at=seen.now,
        plan=plan_batches(left, canaries, found.max_concurrency),
        policies=found.assessment.refs,
        clusters=tuple(ClusterState(name=c, state=ClusterOutcome.COMPLETE) for c in compliant),
    )
    if not left:
        verdict = RolloutVerdict(Rollout.ALREADY_COMPLIANT)
        ended = _ending(seen, base, Rollout.ALREADY_COMPLIANT)
        return replace(ended, rollout=RolloutStep(course, {}, verdict))
    return _step(seen, course, base)


def _remediate(seen: Snapshot, course: Course) -> Decision:
    """The running batch goes a step on; one whose turn has come begins once its clusters are verified."""
    timeout = _limits(seen, course).timeout
    if course.batch_started_at is None:
        turn = take_turn(seen, course, timeout, asked=verifying_since(seen.cgu.status))
        if turn.since is not None:
            return _wait(seen, turn)
        course = turn.course
    found = _step(seen, course, Decision(Stage.REMEDIATING))
    if found.ends or found.rollout is None or found.rollout.course.batch == course.batch:
        return found
    turn = take_turn(seen, found.rollout.course, timeout, asked=None)
    return found if turn.since is None else _wait(seen, turn)


def _wait(seen: Snapshot, turn: Turn) -> Decision:
    """The batch's turn has come, and not all of its clusters are verified."""
    verdict = RolloutVerdict(Rollout.VERIFYING, text=waits_for(turn.course, turn.awaited))
    step = rollout.wait(turn.course, verdict, _limits(seen, turn.course), seen.now)
    asking = Decision(Stage.REMEDIATING, fleet=turn.fleet, verifying_since=turn.since)
    found = _with_step(seen, step, asking)
    if found.ends:
        return replace(found, fleet=FleetDecision(named_at_the_end(turn, found.moves)))
    return found


def _step(seen: Snapshot, course: Course, base: Decision) -> Decision:
    step = rollout.step(course, _policies_of(seen, course), _limits(seen, course), seen.now)
    return _with_step(seen, step, base)


def _limits(seen: Snapshot, course: Course) -> Limits:
    """Canaries have the first batches; one that was left out has left an empty one."""
    spec = seen.cgu.spec
    canaries = set(spec.remediation_strategy.canaries or ())
    theirs = (n for n, batch in enumerate(course.plan, 1) if not canaries.isdisjoint(batch))
    return Limits(
        timeout=dt.timedelta(minutes=spec.remediation_strategy.timeout),
        on_batch_timeout=spec.batch_timeout_action,
        canaries=max(theirs, default=0) if canaries else 0,
    )


def _with_step(seen: Snapshot, step: RolloutStep, base: Decision) -> Decision:
    course = step.course
    if step.verdict.kind in ENDS:
        return replace(_ending(seen, base, step.verdict.kind), rollout=step, gate=step.verdict)
    gate = step.verdict
    if seen.placement_problems and gate.kind is Rollout.RUNNING:
        name, text = min(seen.placement_problems.items())
        gate = RolloutVerdict(Rollout.WAITING_FOR_PLACEMENT, (name,), text)
    placements = _placements(seen, course.policies, step.enforced)
    return replace(base, rollout=step, gate=gate, placements=placements)


def _ending(seen: Snapshot, base: Decision, kind: Rollout) -> Decision:
    """The end: what is left is taken away in the same pass that stores it."""
    drop = _deletes_objects(seen)
    return replace(
        base,
        fleet=FleetDecision(farewell(seen)),
        drop_placements=drop,
        placements=None,
        gate=RolloutVerdict(kind),
    )


def _policies_of(seen: Snapshot, course: Course) -> Mapping[PolicyRef, RootPolicy]:
    return {
        policy.ref: policy
        for ref in course.policies
        for policy in seen.policies.get(ref.name, ())
        if policy.namespace == ref.namespace
    }


def _placements(
    seen: Snapshot, refs: tuple[PolicyRef, ...], enforced: Mapping[PolicyRef, tuple[str, ...]]
) -> tuple[WantedPlacement, ...]:
    return wanted_placements(seen.cgu.metadata, refs, enforced)


def _deletes_objects(seen: Snapshot) -> bool:
    actions = seen.cgu.spec.actions
    after = actions.after_completion if actions else None
    return after is None or after.delete_objects
