"""The rows on real API servers: the simulated policy engine does what OCM's own does, and that does
what was recorded of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
import pytest_asyncio

from talm.sim.plane import policyagents
from tests.conftest import skip_without, skip_without_program

from . import policygolden
from .checklist import difference
from .conftest import POLICIES
from .policyplays import play_all
from .policyrows import ROWS

# The first test waits for both plays.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]
Plays = Mapping[str, Mapping[str, str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plays(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Plays:
    """All rows by the real and by the simulated engine, beside each other."""
    skip_without(own=True)
    for program in policyagents.PROGRAMS:
        skip_without_program(program)
    async with asyncio.TaskGroup() as both:  # when one fails, the other is ended in order
        plays = {
            name: both.create_task(
                play_all(tmp_path_factory.mktemp(name), real_engine=name == "real")
            )
            for name in ("real", "simulated")
        }
    found = pytestconfig.stash[POLICIES] = {name: play.result() for name, play in plays.items()}
    return found


@pytest.mark.parametrize("slug", ROWS)
async def test_the_simulated_policy_engine_does_the_same_as_the_real_one(
    slug: str, plays: Plays
) -> None:
    real, simulated = plays["real"][slug], plays["simulated"][slug]
    assert not difference(real, simulated, names=("real", "simulated"))


@pytest.mark.parametrize("slug", ROWS)
async def test_the_real_policy_engine_does_as_recorded(slug: str, plays: Plays) -> None:
    recorded, real = policygolden.recorded()[slug], plays["real"][slug]
    assert not difference(recorded, real, names=("recorded", "real"))
