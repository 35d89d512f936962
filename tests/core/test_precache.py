"""The pre-caching table itself: complete, live, free of silent loops; and the ends from outside it."""

from __future__ import annotations

import datetime as dt
from typing import Final

import pytest

from talm.api.words import BAD_PHASES, FINAL_PHASES, Phase
from talm.core.model import Cluster, Effect, Fact, Rules
from talm.core.precache import (
    BEFORE_SETUP,
    ENDINGS,
    IMPOSSIBLE,
    SETUP_PHASES,
    STEPS,
    Ending,
    ImpossibleFact,
    Step,
    advance,
    deadline,
    ending,
    minutes,
    to_markdown,
    to_mermaid,
)

from .given import NOW, later

OPEN: Final = [phase for phase in Phase if phase not in FINAL_PHASES]
PAIRS: Final = [(phase, fact) for phase in OPEN for fact in Fact]
RULES: Final = [
    (phase, fact, step) for phase, rules in STEPS.items() for fact, step in rules.items()
]
HALF_AN_HOUR: Final = dt.timedelta(minutes=30)
UP: Final = Cluster("cnfdb1")


def show(value: object) -> str:
    return getattr(value, "name", str(value))


@pytest.mark.parametrize(("phase", "fact"), PAIRS, ids=show)
def test_every_pair_has_a_rule_or_is_listed_as_impossible(phase: Phase, fact: Fact) -> None:
    assert (fact in STEPS[phase]) != ((phase, fact) in IMPOSSIBLE)


def test_a_self_loop_asks_for_something_or_says_whom_it_waits_for() -> None:
    loops = [step for phase, _, step in RULES if step.goto is phase]
    assert [step for step in loops if bool(step.effects) == bool(step.waits_for)] == []


def test_only_a_self_loop_waits() -> None:
    assert [step for phase, _, step in RULES if step.goto is not phase and step.waits_for] == []


def test_every_row_that_waits_has_a_deadline() -> None:
    rules = Rules(setup_deadline=HALF_AN_HOUR)
    waiting = {phase for phase, _, step in RULES if step.goto is phase}
    limits = {phase: deadline(phase, rules, dt.timedelta(hours=4)) for phase in waiting}
    assert limits == {
        Phase.PREPARING: HALF_AN_HOUR,
        Phase.STARTING: HALF_AN_HOUR,
        Phase.ACTIVE: dt.timedelta(hours=4, minutes=30),
    }


def test_every_phase_can_reach_an_end() -> None:
    reach = set(FINAL_PHASES)
    while more := {p for p, r in STEPS.items() if {s.goto for s in r.values()} & reach} - reach:
        reach |= more
    assert reach == set(Phase)


@pytest.mark.parametrize("fact", list(Fact), ids=show)
@pytest.mark.parametrize("phase", sorted(FINAL_PHASES))
def test_a_final_phase_never_moves_and_asks_for_nothing(phase: Phase, fact: Fact) -> None:
    assert advance(phase, fact) == Step(phase)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.ACTIVE])
def test_the_jobs_end_is_the_clusters_end(phase: Phase) -> None:
    ends = {fact: advance(phase, fact).goto for fact in ENDINGS}
    assert ends == {
        Fact.JOB_SUCCEEDED: Phase.SUCCEEDED,
        Fact.JOB_DEADLINE: Phase.TIMED_OUT,
        Fact.JOB_FAILED: Phase.FAILED,
    }


def test_nothing_but_the_jobs_end_is_final_in_the_table() -> None:
    assert {fact for _, fact, step in RULES if step.goto in FINAL_PHASES} == set(ENDINGS)


def test_success_always_asks_for_removal() -> None:
    wins = [step for _, _, step in RULES if step.goto is Phase.SUCCEEDED]
    assert {step.effects for step in wins} == {(Effect.REMOVE,)}


@pytest.mark.parametrize("fact", list(Fact), ids=show)
def test_the_first_state_cleans_up_whatever_is_seen(fact: Fact) -> None:
    assert advance(Phase.NOT_STARTED, fact) == Step(Phase.PREPARING, (Effect.CLEAN_UP,))


def test_only_a_clean_spoke_leaves_preparing_to_start() -> None:
    leaving = {
        fact for fact, step in STEPS[Phase.PREPARING].items() if step.goto is not Phase.PREPARING
    }
    assert leaving == {Fact.CLEAN}


def test_the_job_is_started_only_when_it_was_seen_missing() -> None:
    starts = {(phase, fact) for phase, fact, step in RULES if Effect.START_JOB in step.effects}
    assert starts == {(Phase.STARTING, Fact.JOB_MISSING)}


def test_a_job_that_vanished_is_started_again_and_one_of_another_run_is_cleaned_up() -> None:
    assert advance(Phase.ACTIVE, Fact.JOB_MISSING) == Step(Phase.STARTING)
    for phase in (Phase.STARTING, Phase.ACTIVE):
        assert advance(phase, Fact.JOB_OTHER) == Step(Phase.NOT_STARTED)


def test_an_impossible_fact_names_the_pair() -> None:
    with pytest.raises(ImpossibleFact, match="JOB_ACTIVE in state PreparingToStart"):
        advance(Phase.PREPARING, Fact.JOB_ACTIVE)


def test_the_setup_ends_with_the_first_active_job() -> None:
    assert set(OPEN) - SETUP_PHASES == {Phase.ACTIVE}
    begun = SETUP_PHASES - BEFORE_SETUP
    assert begun == {Phase.STARTING}


# --- ends from outside the table ---


def ends(
    phase: Phase = Phase.STARTING,
    *,
    spent: dt.timedelta = dt.timedelta(),
    cluster: Cluster = UP,
    enabled: bool = False,
    now: dt.datetime = NOW,
    note: str = "",
) -> Ending | None:
    rules = Rules(unavailable_grace=dt.timedelta(minutes=10))
    limit = deadline(phase, rules, dt.timedelta(hours=4))
    return ending(phase, spent, limit, cluster, enabled=enabled, rules=rules, now=now, note=note)


@pytest.mark.parametrize("phase", sorted(SETUP_PHASES))
def test_a_setup_that_exceeds_its_deadline_fails_and_says_what_was_seen_last(phase: Phase) -> None:
    almost = HALF_AN_HOUR - dt.timedelta(seconds=1)
    assert ends(phase, spent=almost) is None
    assert ends(phase, spent=HALF_AN_HOUR) == Ending(
        Phase.FAILED, "the setup took longer than 30 min"
    )
    seen = ends(phase, spent=HALF_AN_HOUR, note="the namespace is being deleted")
    assert seen is not None
    assert seen.why == (
        "the setup took longer than 30 min; last seen: the namespace is being deleted"
    )


def test_a_job_of_which_no_end_is_heard_is_a_timeout() -> None:
    limit = dt.timedelta(hours=4, minutes=30)
    assert ends(Phase.ACTIVE, spent=limit - dt.timedelta(seconds=1)) is None
    assert ends(Phase.ACTIVE, spent=limit) == Ending(
        Phase.TIMED_OUT, "no end of the Job was seen 270 min after it became active"
    )


OUT: Final = Cluster("cnfdb1", available=False, since=NOW)


@pytest.mark.parametrize("phase", OPEN)
def test_once_enabled_an_outage_longer_than_the_grace_fails_the_cluster(phase: Phase) -> None:
    assert ends(phase, cluster=OUT, enabled=True, now=later(minutes=10)) is None
    assert ends(phase, cluster=OUT, enabled=True, now=later(minutes=10, seconds=1)) == Ending(
        Phase.FAILED, "the cluster has been unavailable since 2022-01-27T19:00:00Z"
    )


@pytest.mark.parametrize("phase", OPEN)
def test_an_outage_never_fails_a_cluster_while_the_cgu_is_not_enabled(phase: Phase) -> None:
    assert ends(phase, cluster=OUT, now=later(minutes=10_000)) is None


def test_a_cluster_without_the_availability_condition_counts_as_available() -> None:
    assert ends(cluster=Cluster("cnfdb1"), enabled=True, now=later(minutes=10_000)) is None
    unsaid = Cluster("cnfdb1", available=False, since=None)
    assert ends(cluster=unsaid, enabled=True, now=later(minutes=10_000)) is None


def test_the_outage_is_named_rather_than_the_deadline_when_both_have_passed() -> None:
    end = ends(spent=HALF_AN_HOUR, cluster=OUT, enabled=True, now=later(minutes=11))
    assert end is not None
    assert "unavailable" in end.why


def test_minutes_are_written_as_short_as_they_can_be() -> None:
    assert minutes(HALF_AN_HOUR) == "30 min"
    assert minutes(dt.timedelta(seconds=90)) == "1.5 min"


# --- what is drawn from the table ---


def test_the_diagram_shows_every_transition() -> None:
    lines = to_mermaid().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> NotStarted"]
    for phase, fact, step in RULES:
        if step.goto is not phase:
            (line,) = [x for x in lines if x.startswith(f"    {phase} --> {step.goto}: ")]
            label = line.partition(": ")[2]
            assert label == "any" or fact.name in label.split(", ")
    assert {x for x in lines if x.endswith("--> [*]")} == {
        f"    {phase} --> [*]" for phase in FINAL_PHASES
    }


def test_the_page_lists_every_rule_with_what_it_asks_or_waits_for() -> None:
    page = to_markdown()
    for phase, fact, step in RULES:
        section = page.split(f"## {phase}\n")[1].split("\n## ")[0]
        asks = ", ".join(effect.name for effect in step.effects)
        seen = "anything" if phase is Phase.NOT_STARTED else fact.name
        assert f"| {seen} | {step.goto} | {asks} | {step.waits_for} |" in section
    assert to_mermaid() in page
    assert all(phase in page for phase in BAD_PHASES)


def test_the_page_says_what_its_words_mean() -> None:
    page = to_markdown()
    assert all(f"| {word.name} | {word.value} |" in page for word in (*Fact, *Effect))


def test_every_word_means_something_of_its_own() -> None:
    """Equal values would make one enum member an alias of another."""
    assert len(Fact.__members__) == len(list(Fact)) == 19
    assert len(Effect.__members__) == len(list(Effect)) == 13
