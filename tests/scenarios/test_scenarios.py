"""Golden diaries: each scenario's run reads as it is written down beside it.

A change on purpose: `UPDATE_GOLDEN=1 pytest tests/scenarios/test_scenarios.py`, then read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .script import play

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*.yaml"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_scenario_reads_like_its_golden_diary(script: Path) -> None:
    golden = script.with_suffix(".golden")
    diary = play(script)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(diary)
    assert diary == golden.read_text()


def test_every_golden_diary_has_its_scenario() -> None:
    assert {p.stem for p in HERE.glob("*.golden")} == {p.stem for p in SCRIPTS}
