"""Plays the script twice beside each other, by real and by simulated agents, once per run; prints
the checklist at its end."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping

import pytest
import pytest_asyncio

from tests.conftest import skip_without, skip_without_program

from .checklist import checklist
from .plays import IN_ORDER
from .real import perform_for_real


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """Transcripts by slug."""

    real: Mapping[str, str]
    simulated: Mapping[str, str]
    seconds: float


PLAYED = pytest.StashKey[Played]()
POLICIES = pytest.StashKey[Mapping[str, Mapping[str, str]]]()
"""Who played -> transcripts of the policy engine's rows, by name."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def played(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Played:
    """Both plays, each on a hub and a spoke of its own."""
    skip_without(own=True)
    for program in ("view-action-agent", "action-gc"):
        skip_without_program(program)
    began = time.monotonic()
    rows = list(IN_ORDER)
    real, simulated = await asyncio.gather(
        perform_for_real(rows, tmp_path_factory.mktemp("real"), real=True),
        perform_for_real(rows, tmp_path_factory.mktemp("simulated"), real=False),
    )
    found = Played(real, simulated, time.monotonic() - began)
    pytestconfig.stash[PLAYED] = found
    return found


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the checklist when the script was played."""
    found = config.stash.get(PLAYED, None)
    if found is not None:
        terminalreporter.section("simulated agents beside the real ones")
        for line in checklist(found.real, found.simulated):
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"played in {found.seconds:.0f} s")
    policies = config.stash.get(POLICIES, None)
    if policies is not None:
        terminalreporter.section("simulated policy engine beside the real one")
        for slug, real in policies["real"].items():
            is_same = policies["simulated"][slug] == real
            terminalreporter.write_line(f"{slug:<70} {'same' if is_same else 'DIFFERS'}")
