"""The manual's walk-through, followed word for word: every line of the expectations' file holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from talm.sim.demo.expectations import read_manual
from tests.integration.demoprocess import Demo

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_every_line_of_the_manual_holds(tmp_path: Path) -> None:
    manual = read_manual()
    demo = Demo(tmp_path)
    code = demo.wait()
    output = demo.output
    assert code == 0, output
    shown = re.findall(r"^  ([✓✗]) (.*)$", output, re.MULTILINE)
    beyond = [("✓", entry.says) for entry in manual.beyond]
    assert [line for line in shown if line not in beyond] == [
        ("✓", entry.says) for entry in manual.expectations
    ]
    assert [line for line in shown if line in beyond] == beyond
    typed = re.findall(r"^(\S+) \$ (.*)$", output, re.MULTILINE)
    assert typed == [(c.cluster, c.with_kubectl()) for c in manual.commands.values()]
    for state in manual.states[:5]:
        assert f"cnfdb1  {state.name}  " in output
        assert f"cnfdb2  {state.name}  " in output
    end = rf"^✓ All {len(manual.expectations)} expectations of the manual hold, and 1 beyond it "
    assert re.search(end + r"\(\d+ s\)\.$", output, re.MULTILINE)
    assert demo.processes_left() == []
    assert demo.files_left() == []
