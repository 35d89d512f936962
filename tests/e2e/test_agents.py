"""The script on real API servers: the simulated agents do what the real ones do, and these do
what was recorded of them."""

from __future__ import annotations

import pytest

from . import golden
from .checklist import difference
from .conftest import Played
from .plays import IN_ORDER
from .script import Row

# The first test waits for both plays: 90 s on an idle machine.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.mark.parametrize("row", IN_ORDER, ids=lambda row: row.slug)
def test_the_simulated_agents_do_the_same_as_the_real_ones(row: Row, played: Played) -> None:
    real, simulated = played.real[row.slug], played.simulated[row.slug]
    assert not difference(real, simulated, names=("real", "simulated"))


@pytest.mark.parametrize("row", IN_ORDER, ids=lambda row: row.slug)
def test_the_real_agents_do_as_recorded(row: Row, played: Played) -> None:
    recorded, real = golden.recorded()[row.title], played.real[row.slug]
    assert not difference(recorded, real, names=("recorded", "real"))
