"""The simulated work agent says and does what OCM's own does, row by row, on real API servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import skip_without, skip_without_program

from .checklist import difference
from .workrows import ROWS
from .workstage import WorkStage, playing

# The first test waits for both plays.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
CLUSTER = "cnfdb1"


async def play_all(directory: Path, *, real: bool) -> dict[str, str]:
    """All rows beside each other; transcripts by name."""
    async with playing(directory, CLUSTER, real=real) as (hub, spoke):
        stages = {slug: WorkStage(slug, CLUSTER, hub, spoke) for slug in ROWS}
        async with asyncio.TaskGroup() as rows:
            for slug, play in ROWS.items():
                rows.create_task(play(stages[slug]))
    return {slug: "\n".join(stage.lines) for slug, stage in stages.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plays(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    skip_without(own=True)
    skip_without_program("work-agent")
    async with asyncio.TaskGroup() as both:  # when one fails, the other is ended in order
        plays = [
            both.create_task(play_all(tmp_path_factory.mktemp(name), real=name == "real"))
            for name in ("real", "simulated")
        ]
    real, simulated = (play.result() for play in plays)
    return real, simulated


@pytest.mark.parametrize("slug", ROWS)
def test_the_simulated_work_agent_does_the_same_as_the_real_one(
    slug: str, plays: tuple[Mapping[str, str], Mapping[str, str]]
) -> None:
    real, simulated = plays
    assert real[slug]
    assert not difference(real[slug], simulated[slug], names=("real", "simulated"))
