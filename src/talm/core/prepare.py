"""What is true of a CGU before any cluster is looked at: selection, policies, plan, specification.

The order of judgement is the existing operator's: who, then which policies, then which images.  What
is found wrong becomes a `Problem` with the words of both vocabularies.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass, replace
from typing import Final, assert_never

from talm.api.cgu import PrecachingSpec
from talm.api.words import Reason

from .model import Hold, Snapshot
from .plan import computed_max_concurrency, plan_batches
from .platform_image import Pending, validate_platform_image
from .policies import Assessment, assess, unresolvable_dependency
from .precache_spec import Invalid, names_platform_image
from .renewal import AWAITED_NOTE, Change, Renewal, go_on, has_begun, renewal
from .selection import Selection, select
from .specifications import Specifications, stored_specifications
from .story import Problem
from .variants import Derived, Variant, derive_for_all, variants

FIVE_MINUTES: Final = dt.timedelta(minutes=5)
CGU: Final = "The ClusterGroupUpgrade CR"
NO_ASSESSMENT: Final = Assessment()


@dataclass(frozen=True, slots=True)
class Prepared:
    """The findings.  With a problem of selection or validation the rest is as far as it got.

    `pending`: an update graph, or the hub, has not answered yet: nothing can be said of what depends on it.
    `warnings` are about what the user gave and has no effect.
    `renewal` has every cluster's specification, and what becomes of those for whom it has changed; None
    when pre-caching is not required or there is no valid one.
    """

    selection: Selection
    assessment: Assessment = NO_ASSESSMENT
    selection_problem: Problem | None = None
    validation_problem: Problem | None = None
    pending: bool = False
    batches: tuple[tuple[str, ...], ...] = ()
    max_concurrency: int = 0
    precaching_required: bool = False
    renewal: Renewal | None = None
    warnings: tuple[str, ...] = ()
    spec_problem: Problem | None = None
    look_again_after: dt.timedelta | None = None

    @property
    def plan(self) -> tuple[str, ...]:
        """The clusters of the plan, in the plan's order."""
        return tuple(itertools.chain.from_iterable(self.batches))

    @property
    def held(self) -> bool:
        """True when nothing new may begin."""
        return (
            self.pending
            or self.selection_problem is not None
            or self.validation_problem is not None
            or self.spec_problem is not None
        )

    @property
    def specs(self) -> Specifications | None:
        """Every cluster's own specification."""
        return self.renewal.specs if self.renewal is not None else None

    @property
    def spec(self) -> PrecachingSpec | None:
        """The commonest specification."""
        return self.renewal.specs.spec if self.renewal is not None else None

    @property
    def change(self) -> Change:
        return self.renewal.change if self.renewal is not None else Change.NONE

    @property
    def waiting(self) -> frozenset[str]:
        """The clusters that may not begin with pre-caching although the CGU is not held."""
        return self.renewal.waiting if self.renewal is not None else frozenset()


def prepare(seen: Snapshot) -> Prepared:
    """Judge one CGU; linear in clusters times policies."""
    spec = seen.cgu.spec
    selection = select(spec, seen.clusters)
    concurrency = computed_max_concurrency(
        spec.remediation_strategy.max_concurrency, len(selection.clusters)
    )
    if selection.problem:
        problem = Problem(
            Reason.CLUSTER_NOT_FOUND,
            selection.problem,
            Reason.UPGRADE_CANNOT_START,
            f"{CGU}: {selection.problem}",
        )
        return Prepared(
            selection,
            selection_problem=problem,
            max_concurrency=concurrency,
            look_again_after=FIVE_MINUTES,
        )
    assessment = assess(seen.cgu, selection.clusters, seen.policies)
    found = _validation(seen, assessment)
    canaries = spec.remediation_strategy.canaries or ()
    batches = plan_batches(assessment.non_compliant, canaries, concurrency)
    if found is not None:
        wrong = None if found is _PENDING else _in_both_words(found, assessment)
        return Prepared(
            selection,
            assessment,
            validation_problem=wrong,
            pending=wrong is None,
            max_concurrency=concurrency,
            warnings=_unreadable(seen, assessment),
            look_again_after=found.look_again_after,
        )
    base = Prepared(selection, assessment, batches=batches, max_concurrency=concurrency)
    if not spec.pre_caching or not batches:
        return base
    return _with_spec(seen, base)


# Somebody has been asked and has not answered: the answer brings the next look.
_PENDING: Final = Hold("", "", FIVE_MINUTES)


def _validation(seen: Snapshot, assessment: Assessment) -> Hold | None:
    """The first thing wrong with policies, platform image or their order; None when all is well."""
    if seen.cgu.spec.manifest_work_templates:
        text = "manifestWorkTemplates are not supported by this version; use managedPolicies"
        return Hold(Reason.UNSUPPORTED, text, FIVE_MINUTES)
    if assessment.problem is not None:
        return assessment.problem
    # Whoever has begun keeps its specification: a flaky graph must not hold what is under way.
    wrong = None if has_begun(seen) else _platform_image(seen, assessment)
    return wrong or unresolvable_dependency(assessment.for_upgrade)


def _platform_image(seen: Snapshot, assessment: Assessment) -> Hold | None:
    """What is wrong with the release that the policies ask for.

    One that only the clusters know can be updated to; to be cached, somebody must say which it is.
    """
    derived = seen.cgu.spec.pre_caching and not names_platform_image(seen.sources)
    found = _variants(seen, assessment) if derived else (Variant(assessment.in_spec_order),)
    if found is None:
        return _PENDING
    for variant in found:
        image = validate_platform_image(variant.policies, seen.sources.graph, pre_caching=derived)
        if image is not None:
            return _PENDING if isinstance(image, Pending) else image
    return None


def _variants(seen: Snapshot, assessment: Assessment) -> tuple[Variant, ...] | None:
    """What is asked of the clusters that are to be updated; None while that is not known."""
    return variants(assessment.in_spec_order, seen.resolved, assessment.non_compliant)


def _unreadable(seen: Snapshot, assessment: Assessment) -> tuple[str, ...]:
    """Why policies are invalid: the condition's message is the existing operator's and cannot say it."""
    return tuple(
        f"policy {policy.namespace}/{policy.name} cannot be read: {policy.broken}"
        for name in assessment.invalid
        for policy in seen.policies[name]
        if policy.broken
    )


def _in_both_words(hold: Hold, assessment: Assessment) -> Problem:
    manual = assessment.manual_message or f"{CGU}: {hold.message}"
    return Problem(hold.reason, hold.message, Reason.UPGRADE_CANNOT_START, manual)


def _with_spec(seen: Snapshot, base: Prepared) -> Prepared:
    """Derive the specifications; who has begun keeps the stored one until the change's turn comes."""
    base = replace(base, precaching_required=True)
    stored = stored_specifications(seen.cgu.status)
    found = derive_for_all(
        seen.cgu,
        _variants(seen, base.assessment) or (),
        seen.sources,
        seen.rules.allowed_workload_images,
        prefer=stored.common if stored is not None else "",
    )
    if stored is not None and has_begun(seen):
        return _after_the_beginning(seen, base, stored, found)
    match found:
        case Derived():
            begins = Renewal(Change.NONE, found.specs)
            return replace(base, renewal=begins, warnings=found.warnings)
        case Pending():
            return replace(base, pending=True)
        case Invalid():
            problem = Problem(
                found.reason,
                found.message,
                found.manual_reason,
                found.manual_message,
            )
            return replace(
                base,
                spec_problem=problem,
                warnings=found.warnings,
                look_again_after=FIVE_MINUTES,
            )
        case never:
            assert_never(never)


def _after_the_beginning(
    seen: Snapshot, base: Prepared, stored: Specifications, found: Derived | Invalid | Pending
) -> Prepared:
    """Put the new specifications in the stored ones' place, or say why not.

    What cannot be derived now takes nothing away from those who have begun: a flaky update graph
    or a typo must not throw away what was downloaded.
    """
    match found:
        case Pending():
            return replace(base, renewal=go_on(seen, base.plan, stored))
        case Invalid():
            stays = f"what was begun goes on with its specification: {found.why}"
            goes_on = go_on(seen, base.plan, stored, found.why)
            return replace(base, renewal=goes_on, warnings=(*found.warnings, stays))
        case Derived():
            turn = renewal(seen, base.plan, stored, found.specs)
            note = (AWAITED_NOTE,) if turn.change is Change.AWAITED else ()
            return replace(base, renewal=turn, warnings=found.warnings + note)
        case never:
            assert_never(never)
