"""The simulated agents, in memory and virtual time, do what the real ones were recorded doing,
and the comparison notices when they do not."""

from __future__ import annotations

import pytest

from . import broken_actions, broken_views, golden
from .memory import perform_in_memory
from .plays import IN_ORDER
from .script import ROWS, Row

RECORDED = golden.recorded()
BROKEN = {**broken_views.BROKEN, **broken_actions.BROKEN}


def test_every_row_is_recorded_and_nothing_else() -> None:
    assert list(RECORDED) == [row.title for row in IN_ORDER]


def test_every_row_is_broken_once() -> None:
    assert sorted(BROKEN) == sorted(ROWS)


@pytest.mark.parametrize("row", IN_ORDER, ids=lambda row: row.slug)
def test_the_simulated_agents_play_a_row_as_the_real_ones_did(row: Row) -> None:
    assert perform_in_memory(row) == RECORDED[row.title]


@pytest.mark.parametrize("row", IN_ORDER, ids=lambda row: row.slug)
def test_a_row_that_is_broken_in_the_simulator_is_noticed(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    BROKEN[row.slug](monkeypatch)
    assert perform_in_memory(row) != RECORDED[row.title]
