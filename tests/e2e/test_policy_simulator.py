"""The simulated policy engine, in memory and virtual time, does what the real one was recorded doing,
and the comparison notices when it does not."""

from __future__ import annotations

import pytest

from . import policygolden
from .broken_policies import BROKEN
from .policymemory import perform_in_memory
from .policyrows import ROWS

RECORDED = policygolden.recorded()


def test_every_row_is_recorded_and_nothing_else() -> None:
    assert list(RECORDED) == list(ROWS)


def test_every_row_is_broken_once() -> None:
    assert sorted(BROKEN) == sorted(ROWS)


@pytest.mark.parametrize("slug", ROWS)
def test_the_simulated_policy_engine_plays_a_row_as_the_real_one_did(slug: str) -> None:
    assert perform_in_memory(slug) == RECORDED[slug]


@pytest.mark.parametrize("slug", ROWS)
def test_a_row_that_is_broken_in_the_simulator_is_noticed(
    slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BROKEN[slug](monkeypatch)
    assert perform_in_memory(slug) != RECORDED[slug]
