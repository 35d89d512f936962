"""The remediation: batch by batch, in each batch every cluster policy by policy.

Decided here: who is enforced now, which clusters and which batch are done, when time is up.  Not
decided here: who is in the plan (`plan.py`) and whether to begin (`gates.py`).  What a running
remediation needs is frozen in the status: the plan and the policies; the timeout is read anew.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from talm.api.cgu import ClusterRemediationProgress, ClusterState, PolicyRef, PolicyStatus
from talm.api.words import BatchTimeoutAction, ClusterOutcome, RemediationState

from .model import RootPolicy
from .plan import batch_deadline
from .policies import Standing, compliance
from .story import Rollout, RolloutVerdict

Batches = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Course:
    """A remediation as it is stored: which batch (from 1), since when, and how far its clusters are."""

    started_at: dt.datetime
    plan: Batches
    policies: tuple[PolicyRef, ...]
    batch: int = 1
    batch_started_at: dt.datetime | None = None
    progress: Mapping[str, ClusterRemediationProgress] = field(default_factory=dict)
    clusters: tuple[ClusterState, ...] = ()

    @property
    def current(self) -> tuple[str, ...]:
        """The clusters of the running batch."""
        return self.plan[self.batch - 1] if self.batch <= len(self.plan) else ()

    @property
    def upcoming(self) -> tuple[str, ...]:
        """The clusters whose turn comes next: it has come where the current batch has no beginning."""
        at = self.batch if self.batch_started_at is not None else self.batch - 1
        return self.plan[at] if at < len(self.plan) else ()


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout` of the whole CGU; what happens to a batch that exceeds its share; how many batches, the
    first ones, are canaries'."""

    timeout: dt.timedelta
    on_batch_timeout: str = BatchTimeoutAction.CONTINUE
    canaries: int = 0


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """One pass further: the course to store, whom to enforce per policy, and how it stands."""

    course: Course
    enforced: Mapping[PolicyRef, tuple[str, ...]]
    verdict: RolloutVerdict
    deadline: dt.datetime | None = None


RUNNING: Final = RolloutVerdict(Rollout.RUNNING)


def step(
    course: Course,
    policies: Mapping[PolicyRef, RootPolicy],
    limits: Limits,
    now: dt.datetime,
) -> RolloutStep:
    """Go one step on: move the clusters of the batch, finish the batch, start the next.

    One batch at most is finished per pass, so that its clusters are released from enforcement before the
    next ones are taken (existing operator: the Placements are emptied on batch completion).
    """
    found = [policies.get(ref) for ref in course.policies]
    batch_started = course.batch_started_at or now
    progress = {c: _advance(course.progress.get(c), c, found, now) for c in course.current}
    done = {c for c, p in progress.items() if p.state == RemediationState.COMPLETED}
    course = replace(
        course,
        batch_started_at=batch_started,
        progress=progress,
        clusters=_with_complete(course.clusters, done),
    )
    if now - course.started_at >= limits.timeout:
        return _time_up(course, found, "")
    if len(done) == len(course.current):
        return _batch_done(course, found, limits, now)
    deadline = _batch_end(course, limits)
    if course.batch < len(course.plan) and now >= deadline:
        return _batch_timed_out(course, found, limits, now)
    end = course.started_at + limits.timeout
    return RolloutStep(course, enforced(course), RUNNING, min(deadline, end))


def wait(course: Course, verdict: RolloutVerdict, limits: Limits, now: dt.datetime) -> RolloutStep:
    """Leave the current batch unbegun for now: nobody is enforced, and only the whole CGU's time runs.

    Clusters that were never enforced have no entry when it is up.
    """
    course = replace(course, batch_started_at=None, progress={})
    if now - course.started_at >= limits.timeout:
        return _time_up(course, (), "")
    nobody: dict[PolicyRef, tuple[str, ...]] = {ref: () for ref in course.policies}
    return RolloutStep(course, nobody, verdict, course.started_at + limits.timeout)


def enforced(course: Course) -> dict[PolicyRef, tuple[str, ...]]:
    """Per policy the clusters of the batch that have reached it (they stay until the batch ends)."""
    return {
        ref: tuple(c for c, p in course.progress.items() if _reached(p, len(course.policies)) >= i)
        for i, ref in enumerate(course.policies)
    }


def _reached(progress: ClusterRemediationProgress, count: int) -> int:
    if progress.state == RemediationState.COMPLETED:
        return count
    return progress.policy_index or 0


def _advance(
    before: ClusterRemediationProgress | None,
    cluster: str,
    policies: Sequence[RootPolicy | None],
    now: dt.datetime,
) -> ClusterRemediationProgress:
    """Skip what the cluster complies with or is not matched by; stop at the first other policy."""
    if before is not None and before.state == RemediationState.COMPLETED:
        return before
    index = (before.policy_index or 0) if before is not None else 0
    while index < len(policies) and _passes(policies[index], cluster):
        index += 1
    if index == len(policies):
        return ClusterRemediationProgress(state=RemediationState.COMPLETED)
    return ClusterRemediationProgress(state=RemediationState.IN_PROGRESS, policy_index=index)


def _passes(policy: RootPolicy | None, cluster: str) -> bool:
    """A policy that has vanished holds the cluster: nobody can say that it complies."""
    return policy is not None and compliance(policy, cluster) is not Standing.NON_COMPLIANT


def _batch_done(
    course: Course, policies: Sequence[RootPolicy | None], limits: Limits, now: dt.datetime
) -> RolloutStep:
    if course.batch < len(course.plan):
        return _next_batch(course, now)
    earlier = [c for batch in course.plan[:-1] for c in batch]
    if all(_passes(policy, c) for c in earlier for policy in policies):
        return RolloutStep(course, {}, RolloutVerdict(Rollout.COMPLETED))
    # An earlier batch's cluster is not compliant (any more): it has until the CGU's timeout.
    return RolloutStep(course, enforced(course), RUNNING, course.started_at + limits.timeout)


def _next_batch(course: Course, now: dt.datetime) -> RolloutStep:
    course = replace(course, batch=course.batch + 1, batch_started_at=now, progress={})
    return RolloutStep(course, {ref: () for ref in course.policies}, RUNNING, now)


def _batch_end(course: Course, limits: Limits) -> dt.datetime:
    left = len(course.plan) - (course.batch - 1)
    assert course.batch_started_at is not None  # noqa: S101 (set by `step`)
    return batch_deadline(course.started_at, course.batch_started_at, left, limits.timeout)


def _batch_timed_out(
    course: Course, policies: Sequence[RootPolicy | None], limits: Limits, now: dt.datetime
) -> RolloutStep:
    if course.batch <= limits.canaries:
        return _time_up(course, policies, " on canary clusters")
    if limits.on_batch_timeout == BatchTimeoutAction.ABORT:
        return _time_up(course, policies, " on some clusters")
    return _next_batch(_with_timed_out(course, policies), now)


def _time_up(course: Course, policies: Sequence[RootPolicy | None], tail: str) -> RolloutStep:
    course = _with_timed_out(course, policies)
    return RolloutStep(course, {}, RolloutVerdict(Rollout.TIMED_OUT, text=tail))


def _with_complete(clusters: tuple[ClusterState, ...], done: set[str]) -> tuple[ClusterState, ...]:
    known = {state.name for state in clusters}
    new = sorted(done - known)
    return clusters + tuple(ClusterState(name=c, state=ClusterOutcome.COMPLETE) for c in new)


def _with_timed_out(course: Course, policies: Sequence[RootPolicy | None]) -> Course:
    """An entry for each cluster of the batch that is not complete, with the policy it hangs on."""
    known = {state.name for state in course.clusters}
    entries = []
    for cluster, progress in course.progress.items():
        if cluster in known or progress.state == RemediationState.COMPLETED:
            continue
        ref = course.policies[progress.policy_index or 0]
        entries.append(
            ClusterState(
                name=cluster,
                state=ClusterOutcome.TIMED_OUT,
                current_policy=PolicyStatus(name=ref.name, status="NonCompliant"),
            )
        )
    return replace(course, clusters=course.clusters + tuple(entries))
