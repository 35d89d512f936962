"""The script that holds the simulated agents to the real ones: a row per rule.

    @row("1.4", "a view polls")            what the checklist prints: section, rule
    async def polls(stage: Stage) -> None: the play; its name is the row's namespace on the spoke

Sections: 1.3 how a view finds its object, 1.4 when it is read again, 1.5 trouble; 2.2 what an
action does, 2.3 how often and in which order, 2.4 the hub's collector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from .journal import Never
from .lane import Lane
from .stage import Stage

Play: TypeAlias = Callable[[Stage], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """`alone`: it disturbs its agents or counts on what they know: it gets a cluster of its own."""

    section: str
    rule: str
    slug: str
    play: Play
    alone: bool

    @property
    def title(self) -> str:
        """As in the checklist."""
        return f"{self.section} {self.rule}"


ROWS: Final[dict[str, Row]] = {}

NOT_PROVOKED: Final = {
    "2.2 without spec.kube the agent panics and tries again for ever": (
        "the attempts ask nobody anything; seen is that no condition comes and the others go on"
    ),
    "2.3(2) a failed action runs again every 10 hours": "the cache's resync takes 10 hours",
    "2.4 an action without Completed is kept for ever": "seen for longer than the minute only",
}
"""Rules, or parts of them, that no row can show, and why."""


def row(section: str, rule: str, *, alone: bool = False) -> Callable[[Play], Play]:
    """Enter a play into the script."""

    def enter(play: Play) -> Play:
        slug = play.__name__.replace("_", "-")
        ROWS[slug] = Row(section, rule, slug, play, alone)
        return play

    return enter


async def perform(row: Row, lane: Lane) -> str:
    """Play one row; its transcript.  What never happens ends the row and is written down."""
    stage = Stage(row.slug, row.title, lane, collected=row.section.startswith("2.4"))
    try:
        await row.play(stage)
    except Never as never:
        stage.transcript.say("never", str(never))
    await stage.leave()
    return str(stage.transcript)
