"""Pre-caching of one cluster, as a table: (phase, fact) -> step.

A *phase* is what the status remembers (the manual's states); a *fact* is what the transport has just
seen.  Every rule of the ordinary course is a row of `STEPS`.  What may end a cluster from outside the
table (a deadline, an outage while enabled) is in `ending`.  `docs/states.md` is drawn from the table
(`make docs`).

A row that waits names whom it waits for; its deadline is `DEADLINES[phase]`, and the clock of a
deadline stands still while the cluster is unavailable or silent (`silence.py`), or belongs to another CGU
(`clock.py`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from talm.api.words import FINAL_PHASES, Phase

from .model import Cluster, Effect, Fact, Rules


@dataclass(frozen=True, slots=True)
class Step:
    """Where to go and what to ask for on the way; `waits_for` names the party when nothing is asked."""

    goto: Phase
    effects: tuple[Effect, ...] = ()
    waits_for: str = ""


class ImpossibleFact(Exception):
    """The table has no rule for this pair; the cluster stays and its deadline goes on."""

    def __init__(self, phase: Phase, fact: Fact) -> None:
        super().__init__(f"no pre-caching rule for fact {fact.name} in state {phase}")


P, F, E = Phase, Fact, Effect

VIEW_AGENT: Final = "the view agent of the cluster to answer"
ACTION_AGENT: Final = "the action agent of the cluster to create the Job and what it needs"
DELETION: Final = "the spoke to finish deleting the pre-caching namespace"
JOB_CONTROLLER: Final = "the Job controller of the spoke to start the Job's pod"
JOB: Final = "the Job to end"

ENDINGS: Final[Mapping[Fact, Step]] = MappingProxyType(
    {
        F.JOB_SUCCEEDED: Step(P.SUCCEEDED, (E.REMOVE,)),
        F.JOB_DEADLINE: Step(P.TIMED_OUT, (E.DROP_SETUP,)),
        F.JOB_FAILED: Step(P.FAILED, (E.DROP_SETUP,)),
    }
)

STEPS: Final[Mapping[Phase, Mapping[Fact, Step]]] = MappingProxyType(
    {
        # Whatever is seen is of an earlier run, or of another CGU's: it goes.
        P.NOT_STARTED: {fact: Step(P.PREPARING, (E.CLEAN_UP,)) for fact in F},
        P.PREPARING: {
            F.UNASKED: Step(P.PREPARING, (E.CLEAN_UP,)),
            F.UNANSWERED: Step(P.PREPARING, waits_for=VIEW_AGENT),
            F.STALE: Step(P.PREPARING, (E.ASK,)),
            F.LEFTOVERS: Step(P.PREPARING, waits_for=DELETION),
            F.LEFTOVERS_KEPT: Step(P.PREPARING, (E.REMOVE_AGAIN,)),
            F.CLEAN: Step(P.STARTING),
        },
        P.STARTING: {
            F.UNASKED: Step(P.STARTING, (E.PREPARE,)),
            F.UNANSWERED: Step(P.STARTING, waits_for=VIEW_AGENT),
            F.STALE: Step(P.STARTING, (E.ASK,)),
            F.CLEAN: Step(P.STARTING, (E.PREPARE,)),
            # The namespace is ours by now; what was in it has to be asked for again.
            F.LEFTOVERS: Step(P.STARTING, (E.PREPARE,)),
            F.LEFTOVERS_KEPT: Step(P.STARTING, (E.PREPARE,)),
            F.SETTING_UP: Step(P.STARTING, waits_for=ACTION_AGENT),
            F.SETUP_LOST: Step(P.STARTING, (E.PREPARE,)),
            F.JOB_UNASKED: Step(P.STARTING, (E.ASK_JOB,)),
            F.JOB_MISSING: Step(P.STARTING, (E.START_JOB,)),
            F.JOB_PENDING: Step(P.STARTING, waits_for=JOB_CONTROLLER),
            F.JOB_ACTIVE: Step(P.ACTIVE, (E.DROP_SETUP,)),
            F.JOB_UNREADY: Step(P.ACTIVE, (E.DROP_SETUP,)),
            F.JOB_RECOVERED: Step(P.ACTIVE, (E.DROP_SETUP,)),
            F.JOB_PODLESS: Step(P.STARTING, (E.DIAGNOSE,)),
            F.JOB_OTHER: Step(P.NOT_STARTED),
            **ENDINGS,
        },
        P.ACTIVE: {
            # Somebody took the question away: ask again, the Job goes on meanwhile.
            F.UNASKED: Step(P.ACTIVE, (E.ASK_JOB,)),
            F.CLEAN: Step(P.ACTIVE, (E.ASK_JOB,)),
            F.LEFTOVERS: Step(P.ACTIVE, (E.ASK_JOB,)),
            F.LEFTOVERS_KEPT: Step(P.ACTIVE, (E.ASK_JOB,)),
            F.SETTING_UP: Step(P.ACTIVE, (E.ASK_JOB,)),
            F.SETUP_LOST: Step(P.ACTIVE, (E.ASK_JOB,)),
            F.JOB_UNASKED: Step(P.ACTIVE, (E.ASK_JOB,)),
            F.UNANSWERED: Step(P.ACTIVE, waits_for=VIEW_AGENT),
            F.STALE: Step(P.ACTIVE, (E.ASK,)),
            F.JOB_PENDING: Step(P.ACTIVE, waits_for=JOB),
            F.JOB_ACTIVE: Step(P.ACTIVE, waits_for=JOB),
            F.JOB_UNREADY: Step(P.ACTIVE, (E.DIAGNOSE,)),
            F.JOB_PODLESS: Step(P.ACTIVE, (E.DIAGNOSE,)),
            F.JOB_RECOVERED: Step(P.ACTIVE, (E.DROP_DIAGNOSIS,)),
            # Deleted on the spoke: it is started again.
            F.JOB_MISSING: Step(P.STARTING),
            F.JOB_OTHER: Step(P.NOT_STARTED),
            **ENDINGS,
        },
    }
)

# A transport cannot report these: in PreparingToStart nothing of ours has been created yet.
IMPOSSIBLE: Final = frozenset(
    (P.PREPARING, fact)
    for fact in (
        F.SETTING_UP, F.SETUP_LOST, F.JOB_UNASKED, F.JOB_MISSING, F.JOB_PENDING, F.JOB_ACTIVE,
        F.JOB_SUCCEEDED, F.JOB_DEADLINE, F.JOB_FAILED, F.JOB_OTHER,
        F.JOB_UNREADY, F.JOB_PODLESS, F.JOB_RECOVERED,
    )
)  # fmt: skip

SETUP_PHASES: Final = frozenset({P.NOT_STARTED, P.PREPARING, P.STARTING})
# Nothing has been begun yet that depends on the specification.
BEFORE_SETUP: Final = frozenset({P.NOT_STARTED, P.PREPARING})


def advance(phase: Phase, fact: Fact) -> Step:
    """Look up the step of one cluster.

    Final phases never move.  Raises `ImpossibleFact` when the table has no rule.
    """
    if phase in FINAL_PHASES:
        return Step(phase)
    try:
        return STEPS[phase][fact]
    except KeyError:
        raise ImpossibleFact(phase, fact) from None


@dataclass(frozen=True, slots=True)
class Ending:
    """A bad end from outside the table."""

    phase: Phase
    why: str


def deadline(phase: Phase, rules: Rules, job_deadline: dt.timedelta) -> dt.timedelta:
    """How long a cluster may spend in the states of its kind, in time in which it was available.

    Setup (all states before Active) has the operator's setting.  Active has the Job's own deadline;
    the Job ends itself on the spoke, so the hub gives the news of it the setup's deadline to arrive.
    """
    if phase in SETUP_PHASES:
        return rules.setup_deadline
    return job_deadline + rules.setup_deadline


def ending(  # noqa: PLR0913 (each is one thing that was seen)
    phase: Phase,
    spent: dt.timedelta,
    limit: dt.timedelta,
    cluster: Cluster,
    *,
    enabled: bool,
    rules: Rules,
    now: dt.datetime,
    note: str = "",
) -> Ending | None:
    """Say whether an open cluster ends badly now, though its table goes on.

    Only an outage longer than the grace once the CGU is enabled, and a deadline, do so; a passing error
    never does.  `spent` is the time in its kind of state, `note` what is seen.
    """
    if outage_ends(cluster, enabled=enabled, rules=rules, now=now):
        since = f"{cluster.since:%Y-%m-%dT%H:%M:%SZ}"
        return Ending(P.FAILED, f"the cluster has been unavailable since {since}")
    if spent < limit:
        return None
    seen = f"; last seen: {note}" if note else ""
    if phase in SETUP_PHASES:
        return Ending(P.FAILED, f"the setup took longer than {minutes(limit)}{seen}")
    return Ending(
        P.TIMED_OUT, f"no end of the Job was seen {minutes(limit)} after it became active{seen}"
    )


def outage_ends(cluster: Cluster, *, enabled: bool, rules: Rules, now: dt.datetime) -> bool:
    """True when the cluster has been unavailable for longer than the grace and `enable` is true."""
    if not enabled or cluster.available or cluster.since is None:
        return False
    return now - cluster.since > rules.unavailable_grace


def minutes(span: dt.timedelta) -> str:
    """`30 min`, `1.5 min`: for messages."""
    return f"{span.total_seconds() / 60:g} min"


def to_mermaid() -> str:
    """Draw `STEPS` as a Mermaid state diagram; self-loops are in the tables below it."""
    lines = ["stateDiagram-v2", f"    [*] --> {P.NOT_STARTED}"]
    for phase, rules in STEPS.items():
        targets: dict[Phase, list[str]] = {}
        for fact, step in rules.items():
            if step.goto is not phase:
                targets.setdefault(step.goto, []).append(fact.name)
        for goto, facts in targets.items():
            label = "any" if len(facts) == len(F) else ", ".join(facts)
            lines.append(f"    {phase} --> {goto}: {label}")
    lines += [f"    {phase} --> [*]" for phase in P if phase in FINAL_PHASES]
    return "\n".join(lines)


def to_markdown() -> str:
    """The whole of `docs/states.md`: diagram, deadlines, a table per state, what the words mean."""
    parts = [
        "# States of a cluster",
        "Drawn from `src/talm/core/precache.py` by `make docs`; do not edit.",
        f"```mermaid\n{to_mermaid()}\n```",
        "Only these end a cluster badly: the Job's deadline (`PrecacheTimeout`), the Job's failure, a setup "
        "that exceeds its deadline, and, once `enable` is true, an outage or a silence longer than the "
        "grace (`UnrecoverableError`). The clock of a deadline stands still while the cluster is unavailable "
        "or silent, or belongs to another CGU.",
        f"When what a cluster is to cache has changed before the update has begun, and no attempt that the "
        f"change concerns is under way, it returns to `{P.NOT_STARTED}` (`src/talm/core/renewal.py`).",
    ]
    for phase, rules in STEPS.items():
        rows = ["| seen | goes to | asks for | waits for |", "|---|---|---|---|"]
        parts += [f"## {phase}", "\n".join(rows + _rows(rules))]
    for title, words in (("What is seen", Fact), ("What is asked for", Effect)):
        rows = [f"| {word.name} | {word.value} |" for word in words]
        parts += [f"## {title}", "\n".join(["| word | meaning |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _rows(rules: Mapping[Fact, Step]) -> list[str]:
    """One row per fact, in their order; a single one where all facts have the same step."""
    seen = {fact.name: rules[fact] for fact in Fact if fact in rules}
    if len(seen) == len(Fact) and len(set(seen.values())) == 1:
        seen = {"anything": next(iter(seen.values()))}
    return [
        f"| {name} | {step.goto} | {', '.join(e.name for e in step.effects)} | {step.waits_for} |"
        for name, step in seen.items()
    ]
