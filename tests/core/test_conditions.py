"""Two vocabularies, to the byte: what is said of every story, in which order, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from talm.api.meta import Condition
from talm.api.words import Reason
from talm.core.conditions import current_says, manual_says, render
from talm.core.model import Vocabulary
from talm.core.story import Precaching, PrecachingVerdict, Problem, Rollout, RolloutVerdict, Story

from .given import NOW, condition, later

CGU: Final = "The ClusterGroupUpgrade CR"
NO_CLUSTER: Final = Problem(
    Reason.CLUSTER_NOT_FOUND,
    "Unable to select clusters: cluster cnfdb9 is not a ManagedCluster",
    Reason.UPGRADE_CANNOT_START,
    f"{CGU}: Unable to select clusters: cluster cnfdb9 is not a ManagedCluster",
)
NO_POLICY: Final = Problem(
    Reason.NOT_ALL_MANAGED_POLICIES_EXIST,
    "Missing managed policies: [a b] ",
    Reason.UPGRADE_CANNOT_START,
    f"{CGU} has: missing managed policies: [a b] ",
)
NO_SPEC: Final = Problem(
    Reason.SPEC_INCOMPLETE,
    "Precaching spec is incomplete: inconsistent precaching configuration: no software spec provided",
    Reason.SPEC_IS_INCOMPLETE,
    "inconsistent precaching configuration: no software spec provided",
)
SELECTED: Final = "ClustersSelected=True ClusterSelectionCompleted: All selected clusters are valid"
VALIDATED: Final = "Validated=True ValidationCompleted: Completed validation"
SPEC_VALID: Final = (
    "PrecacheSpecValid=True PrecacheSpecIsWellFormed: Precaching spec is valid and consistent"
)
MANUAL_SPEC_VALID: Final = (
    "PrecacheSpecValid=True PrecacheSpecIsWellFormed: Pre-caching spec is valid and consistent"
)
REQUIRED: Final = "Ready=False PrecachingRequired: Precaching is not completed (required)"
NOT_DONE: Final = "PrecachingDone=False PrecachingNotDone: Precaching is required and not done"
DONE: Final = "PrecachingDone=True PrecachingCompleted: Precaching is completed"


def told(story: Story, vocabulary: Vocabulary) -> list[str]:
    """`Type=Status Reason: Message`, in order, of a CGU of which nothing has been said before."""
    return lines(render(story, vocabulary, (), NOW))


def lines(conditions: Sequence[Condition]) -> list[str]:
    return [f"{c.type}={c.status} {c.reason}: {c.message}" for c in conditions]


def types(conditions: Sequence[Condition]) -> list[str]:
    return [c.type for c in conditions]


def story(
    precaching: PrecachingVerdict | None = None,
    rollout: Rollout = Rollout.NOT_REACHED,
    *,
    names: tuple[str, ...] = (),
    text: str = "",
) -> Story:
    """A valid CGU; with pre-caching when a verdict on it is given."""
    return Story(
        validated=True,
        precaching_required=precaching is not None,
        spec_judged=precaching is not None,
        precaching=precaching,
        rollout=RolloutVerdict(rollout, names, text),
    )


ONGOING: Final = PrecachingVerdict(Precaching.IN_PROGRESS, 2)
COMPLETED: Final = PrecachingVerdict(Precaching.COMPLETED)
PARTLY: Final = PrecachingVerdict(Precaching.PARTIALLY_DONE, 1)
FAILED: Final = PrecachingVerdict(Precaching.FAILED, 2)

# What is judged before pre-caching and remediation.
FIRST_ROWS: Final = {
    "nothing judged yet": (Story(), [], []),
    "unknown cluster": (
        Story(selection=NO_CLUSTER),
        [
            "Ready=False UpgradeCannotStart: The ClusterGroupUpgrade CR: Unable to select clusters: "
            "cluster cnfdb9 is not a ManagedCluster"
        ],
        [
            "ClustersSelected=False ClusterNotFound: Unable to select clusters: "
            "cluster cnfdb9 is not a ManagedCluster"
        ],
    ),
    "missing policies": (
        Story(validation=NO_POLICY),
        [
            "Ready=False UpgradeCannotStart: The ClusterGroupUpgrade CR has: missing managed "
            "policies: [a b] "
        ],
        [
            SELECTED,
            "Validated=False NotAllManagedPoliciesExist: Missing managed policies: [a b] ",
        ],
    ),
    "invalid specification": (
        Story(validated=True, precaching_required=True, spec_judged=True, spec=NO_SPEC),
        [
            REQUIRED,
            NOT_DONE,
            "PrecacheSpecValid=False PrecacheSpecIsIncomplete: inconsistent precaching "
            "configuration: no software spec provided",
        ],
        [
            SELECTED,
            VALIDATED,
            "PrecacheSpecValid=False PrecacheSpecIncomplete: Precaching spec is incomplete: "
            "inconsistent precaching configuration: no software spec provided",
        ],
    ),
    "update graph not answered": (Story(precaching_required=True), [NOT_DONE], []),
}

PRECACHING_ROWS: Final = {
    "in progress": (
        story(ONGOING),
        [REQUIRED, NOT_DONE, MANUAL_SPEC_VALID],
        "PrecachingSuceeded=False InProgress: Precaching in progress for 2 clusters",
    ),
    "completed": (
        story(COMPLETED, Rollout.READY),
        ["Ready=False UpgradeNotStarted: Precaching is completed", DONE],
        "PrecachingSuceeded=True PrecachingCompleted: Precaching is completed for all clusters",
    ),
    "partially done": (
        story(PARTLY, Rollout.READY),
        ["Ready=False UpgradeNotStarted: Precaching is completed", DONE],
        "PrecachingSuceeded=True PartiallyDone: Precaching failed for 1 clusters",
    ),
    "failed, end not yet stored": (
        story(FAILED),
        [REQUIRED, NOT_DONE, MANUAL_SPEC_VALID],
        "PrecachingSuceeded=False Failed: Precaching failed for all clusters",
    ),
}

# kind, names, text -> Ready; Progressing; Succeeded
ROLLOUT_ROWS: Final[dict[Rollout, tuple[tuple[str, ...], str, str, list[str]]]] = {
    Rollout.NOT_ENABLED: (
        (),
        "",
        f"Ready=False UpgradeNotStarted: {CGU} is not enabled",
        ["Progressing=False NotEnabled: Not enabled"],
    ),
    Rollout.BLOCKED_BY_MISSING: (
        ("x", "y"),
        "",
        f"Ready=False UpgradeCannotStart: {CGU} has blocking CRs that are missing: [x y]",
        ["Progressing=False MissingBlockingCR: Missing blocking CRs: [x y]"],
    ),
    Rollout.BLOCKED_BY_INCOMPLETE: (
        ("x",),
        "",
        f"Ready=False UpgradeCannotStart: {CGU} is blocked by other CRs that have not yet "
        "completed: [x]",
        ["Progressing=False IncompleteBlockingCR: Blocking CRs that are not completed: [x]"],
    ),
    Rollout.UNSUPPORTED: (
        (),
        "backup is not supported by this version",
        f"Ready=False UpgradeCannotStart: {CGU}: backup is not supported by this version",
        ["Progressing=False Unsupported: backup is not supported by this version"],
    ),
    Rollout.RUNNING: (
        (),
        "",
        f"Ready=False UpgradeNotCompleted: {CGU} has upgrade policies that are still non compliant",
        ["Progressing=True InProgress: Remediating non-compliant policies"],
    ),
    Rollout.WAITING_FOR_PLACEMENT: (
        ("p",),
        'Placement "p" in namespace "n" cannot select clusters: why.',
        f"Ready=False UpgradeNotCompleted: {CGU} has upgrade policies that are still non compliant",
        [
            'Progressing=True WaitingForPlacement: Placement "p" in namespace "n" cannot select '
            "clusters: why."
        ],
    ),
    Rollout.VERIFYING: (
        (),
        "1 cluster of batch 2 of 3 to verify that everything is still cached: a",
        f"Ready=False UpgradeNotCompleted: {CGU} has upgrade policies that are still non compliant",
        [
            "Progressing=True InProgress: Remediating non-compliant policies: waiting for 1 cluster of "
            "batch 2 of 3 to verify that everything is still cached: a"
        ],
    ),
    Rollout.COMPLETED: (
        (),
        "",
        f"Ready=True UpgradeCompleted: {CGU} has all clusters compliant with all the managed "
        "policies",
        [
            "Progressing=False Completed: All clusters are compliant with all the managed policies",
            "Succeeded=True Completed: All clusters are compliant with all the managed policies",
        ],
    ),
    Rollout.ALREADY_COMPLIANT: (
        (),
        "",
        f"Ready=True UpgradeCompleted: {CGU} has all clusters already compliant with the specified "
        "managed policies",
        [
            "Succeeded=True Completed: All clusters already compliant with the specified managed "
            "policies"
        ],
    ),
    Rollout.TIMED_OUT: (
        (),
        " on some clusters",
        f"Ready=False UpgradeTimedOut: {CGU} policies are taking too long to complete",
        [
            "Progressing=False TimedOut: Policy remediation took too long on some clusters",
            "Succeeded=False TimedOut: Policy remediation took too long on some clusters",
        ],
    ),
    Rollout.ALL_FAILED_PRECACHING: (
        (),
        "",
        f"Ready=False UpgradeCannotStart: {CGU} has no clusters left: pre-caching failed for all "
        "clusters",
        [
            "Progressing=False Completed: No clusters available for remediation (Precaching failed)",
            "Succeeded=False Failed: No clusters available for remediation (Precaching failed)",
        ],
    ),
}


@pytest.mark.parametrize("row", FIRST_ROWS)
def test_what_is_found_at_first_is_told_to_the_byte(row: str) -> None:
    of, manual, current = FIRST_ROWS[row]
    assert told(of, Vocabulary.MANUAL) == manual
    assert told(of, Vocabulary.CURRENT) == current


@pytest.mark.parametrize("row", PRECACHING_ROWS)
def test_pre_caching_is_told_to_the_byte(row: str) -> None:
    of, manual, current = PRECACHING_ROWS[row]
    assert told(of, Vocabulary.MANUAL) == manual
    assert told(of, Vocabulary.CURRENT) == [SELECTED, VALIDATED, SPEC_VALID, current]


@pytest.mark.parametrize("kind", ROLLOUT_ROWS, ids=lambda kind: kind.name)
def test_the_remediation_is_told_to_the_byte(kind: Rollout) -> None:
    names, text, ready, current = ROLLOUT_ROWS[kind]
    of = story(rollout=kind, names=names, text=text)
    assert told(of, Vocabulary.MANUAL) == [ready]
    assert told(of, Vocabulary.CURRENT) == [SELECTED, VALIDATED, *current]


def test_every_kind_of_remediation_that_is_told_has_its_row() -> None:
    assert set(Rollout) - set(ROLLOUT_ROWS) == {Rollout.NOT_REACHED, Rollout.READY}


def test_a_start_that_was_tried_in_vain_leaves_ready_as_it_was() -> None:
    for kind in (Rollout.NOT_REACHED, Rollout.READY):
        assert told(story(rollout=kind), Vocabulary.MANUAL) == []
        before = (condition("Ready", "False", "UpgradeNotStarted"),)
        assert render(story(rollout=kind), Vocabulary.MANUAL, before, NOW) == before


def test_when_all_failed_pre_caching_stays_undone_in_the_manuals_words() -> None:
    before = render(story(ONGOING), Vocabulary.MANUAL, (), NOW)
    after = render(story(FAILED, Rollout.ALL_FAILED_PRECACHING), Vocabulary.MANUAL, before, NOW)
    assert lines(after) == [
        f"Ready=False UpgradeCannotStart: {CGU} has no clusters left: pre-caching failed for all "
        "clusters",
        NOT_DONE,
    ]


def test_both_vocabularies_together_are_the_manuals_block_and_then_the_current_one() -> None:
    assert told(story(ONGOING), Vocabulary.ALL) == [
        REQUIRED,
        NOT_DONE,
        MANUAL_SPEC_VALID,
        SELECTED,
        VALIDATED,
        "PrecachingSuceeded=False InProgress: Precaching in progress for 2 clusters",
    ]


def test_both_vocabularies_name_precache_spec_valid_once() -> None:
    for of in (story(ONGOING), FIRST_ROWS["invalid specification"][0]):
        both = types(render(of, Vocabulary.ALL, (), NOW))
        assert both.count("PrecacheSpecValid") == 1


# --- what goes away ---


def test_precache_spec_valid_goes_away_when_pre_caching_is_done_but_for_the_current_words() -> None:
    for vocabulary, stays in (
        (Vocabulary.MANUAL, False),
        (Vocabulary.ALL, False),
        (Vocabulary.CURRENT, True),
    ):
        before = render(story(ONGOING), vocabulary, (), NOW)
        after = render(story(COMPLETED, Rollout.READY), vocabulary, before, NOW)
        assert ("PrecacheSpecValid" in types(after)) is stays


@pytest.mark.parametrize("vocabulary", [Vocabulary.CURRENT, Vocabulary.ALL])
def test_an_invalid_specification_silences_pre_caching_and_remediation(
    vocabulary: Vocabulary,
) -> None:
    before = render(story(PARTLY, Rollout.NOT_ENABLED), vocabulary, (), NOW)
    assert {"PrecachingSuceeded", "Progressing"} <= set(types(before))
    after = render(FIRST_ROWS["invalid specification"][0], vocabulary, before, NOW)
    assert not {"PrecachingSuceeded", "Progressing"} & set(types(after))


@pytest.mark.parametrize("vocabulary", list(Vocabulary))
@pytest.mark.parametrize("of", [story(ONGOING), FIRST_ROWS["invalid specification"][0]])
def test_an_unfinished_verdict_goes_away_when_pre_caching_is_called_off(
    vocabulary: Vocabulary, of: Story
) -> None:
    before = render(of, vocabulary, (), NOW)
    after = render(story(rollout=Rollout.NOT_ENABLED), vocabulary, before, NOW)
    assert not {"PrecachingDone", "PrecachingSuceeded", "PrecacheSpecValid"} & set(types(after))


@pytest.mark.parametrize("vocabulary", list(Vocabulary))
def test_a_finished_verdict_stays_when_no_cluster_is_left_to_update(vocabulary: Vocabulary) -> None:
    before = render(story(COMPLETED, Rollout.READY), vocabulary, (), NOW)
    after = render(story(rollout=Rollout.ALREADY_COMPLIANT), vocabulary, before, NOW)
    kept = {"PrecachingDone", "PrecachingSuceeded", "PrecacheSpecValid"} & set(types(before))
    assert kept
    assert kept <= set(types(after))


def test_while_the_remediation_runs_nothing_else_is_said_or_taken_back() -> None:
    before = render(story(COMPLETED, Rollout.RUNNING), Vocabulary.ALL, (), NOW)
    running = Story(rollout=RolloutVerdict(Rollout.RUNNING))
    assert render(running, Vocabulary.ALL, before, later(minutes=5)) == before


def test_a_change_of_vocabulary_takes_the_other_words_away() -> None:
    before = render(story(ONGOING), Vocabulary.ALL, (), NOW)
    assert render(story(ONGOING), Vocabulary.MANUAL, before, NOW) == before[:3]
    current = render(story(ONGOING), Vocabulary.CURRENT, before, NOW)
    assert sorted(lines(current)) == sorted(
        [
            SELECTED,
            VALIDATED,
            SPEC_VALID,
            "PrecachingSuceeded=False InProgress: Precaching in progress for 2 clusters",
        ]
    )


# --- order and times ---


def test_conditions_of_others_are_kept_and_come_first() -> None:
    foreign = condition("SomebodysOwn", "True", "Because", "of this")
    before = (*render(story(ONGOING), Vocabulary.ALL, (), NOW), foreign)
    after = render(story(COMPLETED, Rollout.READY), Vocabulary.ALL, before, later(minutes=1))
    assert after[0] == foreign


def test_the_manuals_block_keeps_its_own_order_whatever_flips() -> None:
    before = render(story(ONGOING), Vocabulary.ALL, (), NOW)
    assert types(before)[:3] == ["Ready", "PrecachingDone", "PrecacheSpecValid"]
    after = render(story(COMPLETED, Rollout.RUNNING), Vocabulary.ALL, before, NOW)
    assert types(after)[:2] == ["Ready", "PrecachingDone"]
    shuffled = tuple(reversed(after))
    again = render(story(COMPLETED, Rollout.RUNNING), Vocabulary.ALL, shuffled, NOW)
    assert types(again)[:2] == ["Ready", "PrecachingDone"]


def test_in_the_current_block_the_condition_that_flipped_moves_last() -> None:
    before = render(story(ONGOING), Vocabulary.CURRENT, (), NOW)
    held = render(Story(validation=NO_POLICY), Vocabulary.CURRENT, before, NOW)
    assert types(held) == [
        "ClustersSelected",
        "PrecacheSpecValid",
        "PrecachingSuceeded",
        "Validated",
    ]
    mended = render(story(COMPLETED, Rollout.NOT_ENABLED), Vocabulary.CURRENT, held, NOW)
    assert types(mended) == [
        "ClustersSelected", "PrecacheSpecValid", "Validated", "PrecachingSuceeded", "Progressing",
    ]  # fmt: skip


def test_a_new_reason_alone_leaves_place_and_time_of_a_condition() -> None:
    before = render(story(ONGOING), Vocabulary.CURRENT, (), NOW)
    fewer = PrecachingVerdict(Precaching.IN_PROGRESS, 1)
    after = render(story(fewer), Vocabulary.CURRENT, before, later(minutes=5))
    assert types(after) == types(before)
    assert {c.last_transition_time for c in after} == {NOW}
    assert after[-1].message == "Precaching in progress for 1 clusters"


def test_a_time_moves_when_the_status_flips() -> None:
    before = render(story(ONGOING), Vocabulary.ALL, (), NOW)
    after = render(story(COMPLETED, Rollout.READY), Vocabulary.ALL, before, later(minutes=5))
    moved = {c.type for c in after if c.last_transition_time == later(minutes=5)}
    assert moved == {"PrecachingDone", "PrecachingSuceeded"}


def test_a_condition_without_a_time_gets_one() -> None:
    before = (Condition(type="Ready", status="False"),)
    (ready,) = render(story(rollout=Rollout.NOT_ENABLED), Vocabulary.MANUAL, before, NOW)
    assert ready.last_transition_time == NOW


def test_the_headline_of_the_end_is_succeeded() -> None:
    before = render(story(COMPLETED, Rollout.RUNNING), Vocabulary.ALL, (), NOW)
    end = Story(rollout=RolloutVerdict(Rollout.COMPLETED))
    assert types(render(end, Vocabulary.ALL, before, NOW))[-2:] == ["Progressing", "Succeeded"]


def test_both_renderings_are_there_for_the_reference_page() -> None:
    assert [s.type for s in manual_says(story(ONGOING))] == [
        "Ready", "PrecachingDone", "PrecacheSpecValid",
    ]  # fmt: skip
    assert [s.type for s in current_says(story(ONGOING))] == [
        "ClustersSelected", "Validated", "PrecacheSpecValid", "PrecachingSuceeded",
    ]  # fmt: skip
