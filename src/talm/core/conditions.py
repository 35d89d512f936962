"""Two vocabularies of conditions, one story: the manual's and the existing operator's current one.

Texts are copied to the byte.  The order of the array is part of the API: `kubectl get cgu` prints its
last element.  The manual's block keeps its own order; in the current block the condition whose status
flipped moves last (existing operator, since OCPBUGS-7217).  Conditions of other writers come first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from talm.api.meta import Condition
from talm.api.words import ConditionType as T
from talm.api.words import Reason as R

from .model import Vocabulary
from .policies import go_list
from .story import Precaching, Rollout, Story

MANUAL_ORDER: Final = (T.READY, T.PRECACHING_DONE, T.PRECACHE_SPEC_VALID)
CURRENT_TYPES: Final = frozenset(
    {
        T.CLUSTERS_SELECTED,
        T.VALIDATED,
        T.PRECACHE_SPEC_VALID,
        T.PRECACHING_SUCCEEDED,
        T.BACKUP_SUCCEEDED,
        T.PROGRESSING,
        T.SUCCEEDED,
    }
)
PRECACHING_TYPES: Final = frozenset(
    {T.PRECACHING_DONE, T.PRECACHE_SPEC_VALID, T.PRECACHING_SUCCEEDED}
)

ALL_COMPLIANT: Final = "All clusters are compliant with all the managed policies"
ALREADY_COMPLIANT: Final = "All clusters already compliant with the specified managed policies"
NONE_LEFT: Final = "No clusters available for remediation (Precaching failed)"
REMEDIATING: Final = "Remediating non-compliant policies"
TOOK_TOO_LONG: Final = "Policy remediation took too long"
CGU: Final = "The ClusterGroupUpgrade CR"


@dataclass(frozen=True, slots=True)
class Says:
    """One condition without its time."""

    type: T
    status: bool
    reason: str
    message: str


def render(
    story: Story, vocabulary: Vocabulary, before: Sequence[Condition], now: dt.datetime
) -> tuple[Condition, ...]:
    """The whole array: what is said now, over what was said before.

    A condition about which nothing is said now stays as it was, but for `PrecacheSpecValid` in the manual's
    vocabulary once pre-caching is done, for what an invalid specification silences, and for pre-caching
    that was called off.
    """
    before = _without_called_off(story, before)
    foreign = [c for c in before if c.type not in CURRENT_TYPES and c.type not in MANUAL_ORDER]
    manual: list[Condition] = []
    current: list[Condition] = []
    if vocabulary is not Vocabulary.CURRENT:
        manual = _manual_block(story, before, now)
    if vocabulary is not Vocabulary.MANUAL:
        says = current_says(story)
        skip = {T.PRECACHE_SPEC_VALID} if vocabulary is Vocabulary.ALL else set()
        if story.spec is not None:
            skip |= {T.PRECACHING_SUCCEEDED, T.PROGRESSING}
        current = _current_block([s for s in says if s.type not in skip], skip, before, now)
    return tuple(foreign + manual + current)


def _without_called_off(story: Story, before: Sequence[Condition]) -> Sequence[Condition]:
    """Drop an unfinished verdict on pre-caching once none is required: nobody would ever take it back."""
    called_off = story.validated and not story.precaching_required
    if called_off and any(c.type in PRECACHING_TYPES and c.status == "False" for c in before):
        return [c for c in before if c.type not in PRECACHING_TYPES]
    return before


def _manual_block(story: Story, before: Sequence[Condition], now: dt.datetime) -> list[Condition]:
    block = {c.type: c for c in before if c.type in MANUAL_ORDER}
    if story.precaching_done or story.rollout.kind is Rollout.ALL_FAILED_PRECACHING:
        block.pop(T.PRECACHE_SPEC_VALID, None)
    for says in manual_says(story):
        block[says.type] = _stamp(says, block.get(says.type), now)
    return [block[t] for t in MANUAL_ORDER if t in block]


def _current_block(
    says: Iterable[Says], skip: set[T], before: Sequence[Condition], now: dt.datetime
) -> list[Condition]:
    block = [c for c in before if c.type in CURRENT_TYPES and c.type not in skip]
    for said in says:
        old = next((c for c in block if c.type == said.type), None)
        new = _stamp(said, old, now)
        if old is not None and old.status == new.status:
            block[block.index(old)] = new
            continue
        if old is not None:
            block.remove(old)
        block.append(new)
    return block


def _stamp(says: Says, old: Condition | None, now: dt.datetime) -> Condition:
    """A condition's time moves only when its status flips."""
    status = "True" if says.status else "False"
    since = old.last_transition_time if old is not None and old.status == status else None
    return Condition(
        type=says.type,
        status=status,
        reason=says.reason,
        message=says.message,
        last_transition_time=since or now,
    )


def current_says(story: Story) -> list[Says]:
    """The existing operator's current conditions, in the order in which they come into being."""
    if story.selection is not None:
        return [Says(T.CLUSTERS_SELECTED, False, story.selection.reason, story.selection.message)]
    says = []
    if story.validated or story.validation is not None:
        says.append(
            Says(
                T.CLUSTERS_SELECTED,
                True,
                R.CLUSTER_SELECTION_COMPLETED,
                "All selected clusters are valid",
            )
        )
    if story.validation is not None:
        return [
            *says,
            Says(T.VALIDATED, False, story.validation.reason, story.validation.message),
        ]
    if story.validated:
        says.append(Says(T.VALIDATED, True, R.VALIDATION_COMPLETED, "Completed validation"))
    if story.spec_judged:
        says.append(_current_spec(story))
    if story.precaching is not None:
        says.append(_current_precaching(story))
    return says + _current_rollout(story)


def _current_spec(story: Story) -> Says:
    if story.spec is not None:
        return Says(T.PRECACHE_SPEC_VALID, False, story.spec.reason, story.spec.message)
    text = "Precaching spec is valid and consistent"
    return Says(T.PRECACHE_SPEC_VALID, True, R.SPEC_IS_WELL_FORMED, text)


def _current_precaching(story: Story) -> Says:
    assert story.precaching is not None  # noqa: S101 (the caller asked)
    count = story.precaching.count
    done, reason, text = {
        Precaching.IN_PROGRESS: (
            False,
            R.IN_PROGRESS,
            f"Precaching in progress for {count} clusters",
        ),
        Precaching.COMPLETED: (
            True,
            R.PRECACHING_COMPLETED,
            "Precaching is completed for all clusters",
        ),
        Precaching.PARTIALLY_DONE: (
            True,
            R.PARTIALLY_DONE,
            f"Precaching failed for {count} clusters",
        ),
        Precaching.FAILED: (False, R.FAILED, "Precaching failed for all clusters"),
    }[story.precaching.kind]
    return Says(T.PRECACHING_SUCCEEDED, done, reason, text)


def _current_rollout(story: Story) -> list[Says]:
    verdict = story.rollout
    names = go_list(verdict.names)
    progressing = {
        Rollout.NOT_ENABLED: (False, R.NOT_ENABLED, "Not enabled"),
        Rollout.BLOCKED_BY_MISSING: (
            False,
            R.MISSING_BLOCKING_CR,
            f"Missing blocking CRs: {names}",
        ),
        Rollout.BLOCKED_BY_INCOMPLETE: (
            False,
            R.INCOMPLETE_BLOCKING_CR,
            f"Blocking CRs that are not completed: {names}",
        ),
        Rollout.UNSUPPORTED: (False, R.UNSUPPORTED, verdict.text),
        Rollout.RUNNING: (True, R.IN_PROGRESS, REMEDIATING),
        Rollout.WAITING_FOR_PLACEMENT: (True, R.WAITING_FOR_PLACEMENT, verdict.text),
        Rollout.VERIFYING: (True, R.IN_PROGRESS, f"{REMEDIATING}: waiting for {verdict.text}"),
        Rollout.COMPLETED: (False, R.COMPLETED, ALL_COMPLIANT),
        Rollout.TIMED_OUT: (False, R.TIMED_OUT, TOOK_TOO_LONG + verdict.text),
        Rollout.ALL_FAILED_PRECACHING: (False, R.COMPLETED, NONE_LEFT),
    }.get(verdict.kind)
    says = [] if progressing is None else [Says(T.PROGRESSING, *progressing)]
    ended = {
        Rollout.COMPLETED: (True, R.COMPLETED, ALL_COMPLIANT),
        Rollout.ALREADY_COMPLIANT: (True, R.COMPLETED, ALREADY_COMPLIANT),
        Rollout.TIMED_OUT: (False, R.TIMED_OUT, TOOK_TOO_LONG + verdict.text),
        Rollout.ALL_FAILED_PRECACHING: (False, R.FAILED, NONE_LEFT),
    }.get(verdict.kind)
    return says if ended is None else [*says, Says(T.SUCCEEDED, *ended)]


def manual_says(story: Story) -> list[Says]:
    """The manual's conditions: 4.10/4.11 of the existing operator."""
    says = [_ready(story)] if _ready_is_known(story) else []
    if story.precaching_done:
        says.append(
            Says(T.PRECACHING_DONE, True, R.PRECACHING_COMPLETED, "Precaching is completed")
        )
    elif story.precaching_required:
        text = "Precaching is required and not done"
        says.append(Says(T.PRECACHING_DONE, False, R.PRECACHING_NOT_DONE, text))
    if story.spec_judged and not story.precaching_done and not _is_over(story):
        says.append(_manual_spec(story))
    return says


def _is_over(story: Story) -> bool:
    return story.rollout.kind is Rollout.ALL_FAILED_PRECACHING


def _manual_spec(story: Story) -> Says:
    if story.spec is not None:
        return Says(
            T.PRECACHE_SPEC_VALID, False, story.spec.manual_reason, story.spec.manual_message
        )
    text = "Pre-caching spec is valid and consistent"
    return Says(T.PRECACHE_SPEC_VALID, True, R.SPEC_IS_WELL_FORMED, text)


def _ready_is_known(story: Story) -> bool:
    """Nothing is said of Ready while nothing has been judged, or while a start was tried in vain."""
    if story.selection is not None or story.validation is not None or story.precaching_done:
        return True
    if story.rollout.kind is Rollout.NOT_REACHED:
        return story.precaching_required and story.validated
    return story.rollout.kind is not Rollout.READY


def _ready(story: Story) -> Says:
    problem = story.selection or story.validation
    if problem is not None:
        return Says(T.READY, False, problem.manual_reason, problem.manual_message)
    if story.rollout.kind in _READY:
        done, reason, text = _READY[story.rollout.kind]
        return Says(T.READY, done, reason, text.format(names=go_list(story.rollout.names)))
    if story.rollout.kind is Rollout.UNSUPPORTED:
        return Says(T.READY, False, R.UPGRADE_CANNOT_START, f"{CGU}: {story.rollout.text}")
    if story.precaching_done:
        return Says(T.READY, False, R.UPGRADE_NOT_STARTED, "Precaching is completed")
    return Says(T.READY, False, R.PRECACHING_REQUIRED, "Precaching is not completed (required)")


_NOT_COMPLIANT: Final = (
    False,
    R.UPGRADE_NOT_COMPLETED,
    f"{CGU} has upgrade policies that are still non compliant",
)
_READY: Final = {
    Rollout.NOT_ENABLED: (False, R.UPGRADE_NOT_STARTED, f"{CGU} is not enabled"),
    Rollout.BLOCKED_BY_MISSING: (
        False,
        R.UPGRADE_CANNOT_START,
        f"{CGU} has blocking CRs that are missing: {{names}}",
    ),
    Rollout.BLOCKED_BY_INCOMPLETE: (
        False,
        R.UPGRADE_CANNOT_START,
        f"{CGU} is blocked by other CRs that have not yet completed: {{names}}",
    ),
    Rollout.RUNNING: _NOT_COMPLIANT,
    Rollout.WAITING_FOR_PLACEMENT: _NOT_COMPLIANT,
    Rollout.VERIFYING: _NOT_COMPLIANT,
    Rollout.COMPLETED: (
        True,
        R.UPGRADE_COMPLETED,
        f"{CGU} has all clusters compliant with all the managed policies",
    ),
    Rollout.ALREADY_COMPLIANT: (
        True,
        R.UPGRADE_COMPLETED,
        f"{CGU} has all clusters already compliant with the specified managed policies",
    ),
    Rollout.TIMED_OUT: (
        False,
        R.UPGRADE_TIMED_OUT,
        f"{CGU} policies are taking too long to complete",
    ),
    # Ours: the manual's vocabulary cannot say that nobody is left.
    Rollout.ALL_FAILED_PRECACHING: (
        False,
        R.UPGRADE_CANNOT_START,
        f"{CGU} has no clusters left: pre-caching failed for all clusters",
    ),
}
