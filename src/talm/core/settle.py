"""What has become of it?  The status to store after the effects of a decision were tried.

A move counts only if its effects were carried out; a cluster whose effect failed stays where it is and
the others go on.  An end counts only if the farewell was said to every cluster.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, assert_never

from talm.api.cgu import (
    CguStatus,
    OtherSpecification,
    PrecachingSpec,
    PrecachingStatus,
    UpgradeStatus,
)
from talm.api.meta import changed

from . import progress, report
from .conditions import render
from .decide import Decision, Stage, is_over
from .fleet import Phases, settle_phases, stored_phases, verdict
from .gates import first_gate
from .model import EventNote, Outcomes, Settled, Snapshot
from .pace import paced
from .prepare import FIVE_MINUTES, Prepared
from .renewal import Change
from .settle_clusters import with_clusters
from .settle_turn import left_out, settle_asked
from .specifications import to_wire
from .story import Precaching, PrecachingVerdict, Rollout, RolloutVerdict, Story
from .verification import reasons, verifying_since


def settle(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> Settled:
    """Say what is to be stored, which events follow, and when to look again unasked."""
    return paced(seen, _settled(seen, decision, outcomes))


def _settled(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> Settled:
    before = seen.cgu.status
    match decision.stage:
        case Stage.ADOPTING:
            return Settled(before, () if outcomes.hub_failed else (_created(seen),))
        case Stage.OVER:
            look = decision.fleet.look_again_after
            return Settled(report.with_removals(seen, before), look_again_after=look)
        case Stage.DELETING:
            return _settle_deletion(seen, decision, outcomes)
        case Stage.ENDED:
            if outcomes.failed or outcomes.hub_failed:
                return Settled(before)
            over = _completed(before, seen.now, dropped=decision.drop_placements)
            return _with_events(seen, over, None)
        case Stage.PREPARING:
            return _settle_preparation(seen, decision, outcomes)
        case Stage.REMEDIATING:
            return _settle_remediation(seen, decision, outcomes)
        case never:
            assert_never(never)


def _settle_deletion(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> Settled:
    """Nothing is stored any more, but of a CGU that stays for removals: its farewell is said once."""
    before = seen.cgu.status
    if not decision.held_for or outcomes.failed:
        return Settled(before)
    look = decision.fleet.look_again_after
    status = report.with_removals(seen, before)
    if not is_over(before):
        phases = settle_phases(stored_phases(before), (), decision.moves, {})
        words = {cluster: phase.value for cluster, phase in phases.items()} or None
        assert status.precaching is not None  # noqa: S101 (it has what is to be removed)
        status = changed(status, precaching=changed(status.precaching, status=words))
        status = _completed(status, seen.now, dropped=True)
    return Settled(status, look_again_after=look)


def _settle_preparation(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> Settled:
    found = decision.prepared
    assert found is not None  # noqa: S101 (of this stage)
    status = _found_fields(seen.cgu.status, found)
    phases = _phases(seen, decision, outcomes)
    state = verdict(phases, found.plan) if _is_judged(found) else None
    status = _precaching_fields(seen, decision, outcomes, status, phases)
    if decision.placements is not None and not outcomes.hub_failed:
        status = _placement_fields(status, decision)
    gate = _gate(seen, decision, outcomes, state)
    if decision.rollout is not None and not outcomes.hub_failed:
        status = _course_fields(status, decision)
    if decision.ends and gate is decision.gate:
        status = _completed(status, seen.now, dropped=decision.drop_placements)
    return _told(seen, decision, status, _story(found, state, gate))


def _settle_remediation(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> Settled:
    """While it runs, everything but the course, and those who are asked before their batch, is frozen.

    A cluster that had left the plan with its pre-caching open is forgotten with the farewell.
    """
    before = seen.cgu.status
    if outcomes.hub_failed or (decision.ends and outcomes.failed):
        return Settled(before)
    assert decision.gate is not None  # noqa: S101 (of this stage)
    status = changed(before, precaching=settle_asked(seen, decision, outcomes))
    status = _course_fields(status, decision)
    if decision.placements is not None:
        status = _placement_fields(status, decision)
    if decision.ends:
        status = _completed(status, seen.now, dropped=decision.drop_placements)
    story = Story(precaching=left_out(before, status), rollout=decision.gate)
    return _told(seen, decision, report.with_removals(seen, status), story)


def _is_judged(found: Prepared) -> bool:
    return found.precaching_required and not found.held


def _phases(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> Phases:
    found = decision.prepared
    plan = found.plan if found is not None and _is_judged(found) else ()
    stored = stored_phases(seen.cgu.status)
    return settle_phases(stored, plan, decision.moves, outcomes.failed)


def _gate(
    seen: Snapshot, decision: Decision, outcomes: Outcomes, state: PrecachingVerdict | None
) -> RolloutVerdict:
    """How the remediation stands; what could not be carried out has not happened."""
    trouble = outcomes.hub_failed or (decision.ends and outcomes.failed)
    if decision.gate is not None and not trouble:
        return decision.gate
    if state is None or state.kind not in {Precaching.COMPLETED, Precaching.PARTIALLY_DONE}:
        return RolloutVerdict(Rollout.NOT_REACHED)
    return first_gate(seen) or RolloutVerdict(Rollout.READY)


def _story(found: Prepared, state: PrecachingVerdict | None, gate: RolloutVerdict) -> Story:
    return Story(
        selection=found.selection_problem,
        validation=found.validation_problem,
        validated=found.selection_problem is None
        and found.validation_problem is None
        and not found.pending,
        precaching_required=found.precaching_required,
        spec=found.spec_problem,
        spec_judged=found.precaching_required and not found.pending,
        precaching=state,
        rollout=gate,
    )


def _found_fields(status: CguStatus, found: Prepared) -> CguStatus:
    """Selection, policies and plan as just found; unchanged as far as they could not be judged."""
    fields: dict[str, Any] = {}
    if found.selection_problem is None:
        fields["computed_max_concurrency"] = found.max_concurrency
    if not found.held or found.spec_problem is not None:
        judged = found.assessment
        fields |= {
            "remediation_plan": found.batches or None,
            "managed_policies_ns": judged.namespaces or None,
            "managed_policies_for_upgrade": judged.refs or None,
            "managed_policies_compliant_before_upgrade": judged.compliant_names or None,
            "managed_policies_content": judged.content or None,
        }
    return changed(status, **fields)


def _precaching_fields(
    seen: Snapshot,
    decision: Decision,
    outcomes: Outcomes,
    status: CguStatus,
    phases: Phases,
) -> CguStatus:
    found = decision.prepared
    assert found is not None  # noqa: S101 (the caller looked)
    stored = status.precaching
    if stored is None and not found.precaching_required:
        return status
    asked = _verifying_since(seen, decision, outcomes)
    spec = _spec(found, stored)
    block = PrecachingStatus(
        spec=spec,
        specs=_specs(found, stored, phases),
        verifying_since=asked,
        clusters=(found.plan if _is_judged(found) else stored.clusters if stored else None) or None,
        spec_hash=progress.name_of(spec),
    )
    verifying = reasons(seen, phases, "the update starts") if asked is not None else {}
    waiting = verifying | _waiting(found)
    block = with_clusters(seen, decision, outcomes, block, phases, waiting=waiting)
    return changed(status, precaching=block)


def _spec(found: Prepared, stored: PrecachingStatus | None) -> PrecachingSpec | None:
    """What is on the wire: `{}` while it is invalid."""
    if found.spec is not None:
        return found.spec
    if found.spec_problem is not None:
        return PrecachingSpec()
    return stored.spec if stored is not None else None


def _specs(
    found: Prepared, stored: PrecachingStatus | None, phases: Phases
) -> tuple[OtherSpecification, ...] | None:
    """The specifications beside that one, and who has begun with which."""
    if found.specs is not None:
        return to_wire(found.specs, phases)
    if found.spec_problem is not None:
        return None
    return stored.specs if stored is not None else None


def _waiting(found: Prepared) -> dict[str, tuple[str, str]]:
    """Why clusters may not begin with pre-caching although the CGU is not held."""
    if found.renewal is None or not found.waiting:
        return {}
    if found.change is Change.AWAITED:
        return dict.fromkeys(found.waiting, (report.SPEC_CHANGED, report.CHANGE_WAITS))
    why = found.renewal.unknown
    return dict.fromkeys(found.waiting, (report.SPEC_UNKNOWN, why)) if why else {}


def _verifying_since(seen: Snapshot, decision: Decision, outcomes: Outcomes) -> dt.datetime | None:
    """A start that could not be carried out leaves it as it was: nobody is asked again."""
    if decision.rollout is not None and outcomes.hub_failed:
        return verifying_since(seen.cgu.status)
    return decision.verifying_since


def _placement_fields(status: CguStatus, decision: Decision) -> CguStatus:
    wanted = decision.placements or ()
    names = tuple(sorted(w.name for w in wanted)) or None
    safe = {f"{w.policy.namespace}/{w.desired}": w.name for w in wanted} or None
    return changed(status, placements=names, placement_bindings=names, safe_resource_names=safe)


def _course_fields(status: CguStatus, decision: Decision) -> CguStatus:
    assert decision.rollout is not None  # noqa: S101 (the caller looked)
    course = decision.rollout.course
    return changed(
        status,
        remediation_plan=course.plan or None,
        clusters=course.clusters or None,
        status=UpgradeStatus(
            started_at=course.started_at,
            current_batch=course.batch,
            current_batch_started_at=course.batch_started_at,
            current_batch_remediation_progress=dict(course.progress) or None,
        ),
    )


def _completed(status: CguStatus, now: dt.datetime, *, dropped: bool) -> CguStatus:
    """The end: `completedAt` is set, the batch is over, deleted Placements are no longer named."""
    started = status.status.started_at if status.status is not None else None
    fields: dict[str, Any] = {"status": UpgradeStatus(started_at=started, completed_at=now)}
    if status.precaching is not None:
        known = progress.at_the_end(status.precaching.progress, stored_phases(status))
        fields["precaching"] = changed(
            status.precaching, waits=None, verifying_since=None, progress=known
        )
    if dropped:
        fields |= {"placements": None, "placement_bindings": None, "safe_resource_names": None}
    return changed(status, **fields)


def _told(
    seen: Snapshot,
    decision: Decision,
    status: CguStatus,
    story: Story,
) -> Settled:
    conditions = render(story, seen.rules.vocabulary, seen.cgu.status.conditions or (), seen.now)
    # Readers rely on `status.status`: it is there, empty, before the start.
    upgrade = status.status or UpgradeStatus()
    status = changed(status, conditions=conditions or None, status=upgrade)
    return _with_events(seen, status, _look_again(seen, decision, story))


def _look_again(seen: Snapshot, decision: Decision, story: Story) -> dt.timedelta | None:
    """The soonest moment at which time alone may change something."""
    looks = [decision.fleet.look_again_after]
    if decision.prepared is not None:
        looks.append(decision.prepared.look_again_after)
    if decision.rollout is not None and decision.rollout.deadline is not None:
        looks.append(max(decision.rollout.deadline - seen.now, dt.timedelta()))
    if story.rollout.kind in {Rollout.BLOCKED_BY_MISSING, Rollout.BLOCKED_BY_INCOMPLETE}:
        looks.append(FIVE_MINUTES)
    return min((look for look in looks if look is not None), default=None)


def _with_events(seen: Snapshot, status: CguStatus, look: dt.timedelta | None) -> Settled:
    notes = report.events(seen.cgu.metadata.name, seen.cgu.status, status)
    return Settled(status, notes, look)


def _created(seen: Snapshot) -> EventNote:
    name = seen.cgu.metadata.name
    return EventNote(
        "CguCreated", "BuildingRemediationPlan", f"New ClusterGroupUpgrade found: {name}"
    )
