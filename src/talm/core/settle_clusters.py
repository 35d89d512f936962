"""What is stored of clusters that are under way, before the update and before a batch alike."""

from __future__ import annotations

from collections.abc import Mapping

from talm.api.cgu import PrecachingStatus
from talm.api.meta import changed

from . import causes, deadlines, progress, report
from .decide import Decision
from .fleet import Phases, stored_phases
from .model import Outcomes, Snapshot
from .renewal import Change


def with_clusters(
    seen: Snapshot,
    decision: Decision,
    outcomes: Outcomes,
    block: PrecachingStatus,
    phases: Phases,
    *,
    waiting: Mapping[str, tuple[str, str]],
) -> PrecachingStatus:
    """The block with the states that clusters have now, their clocks, and what is told of them.

    `waiting`: why open ones may not get on, as in `report.failures`.
    """
    found, stored = decision.prepared, seen.cgu.status.precaching
    failed = report.failures(
        seen,
        phases,
        decision.moves,
        outcomes.failed,
        decision.fleet.complaints,
        waiting=waiting,
    )
    before = stored_phases(seen.cgu.status)
    renewed = found is not None and found.change is Change.DUE
    anew = progress.begins_anew(before, phases, renewed=renewed)
    clocks = deadlines.settle_clocks(
        seen,
        before,
        phases,
        held=found is not None and found.held,
        waiting=found.waiting if found is not None else frozenset(),
    )
    return changed(
        block,
        status={cluster: phase.value for cluster, phase in phases.items()} or None,
        waits=deadlines.to_wire(clocks) or None,
        failures=causes.shown(failed) or None,
        failures_by_class=causes.counted(failed, stored) or None,
        attempt=progress.attempt(stored, block.spec, anew=anew),
        progress=progress.progress(seen, before, phases, anew=anew),
    )
