"""The pages that are made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from talm.core.conditions import CURRENT_TYPES, MANUAL_ORDER
from talm.core.story import Rollout
from talm.hub.settings import Settings, flag

ROOT = Path(__file__).parents[2]


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "docs" / "generate.py"), *arguments]
    return subprocess.run(script, capture_output=True, text=True, check=False)


def test_pages_are_written_once_and_then_up_to_date(tmp_path: Path) -> None:
    stale = generate("--check", "--root", str(tmp_path))
    assert stale.returncode == 1
    assert "make docs" in stale.stderr
    assert not list(tmp_path.iterdir())
    assert "wrote docs/states.md" in generate("--root", str(tmp_path)).stdout
    assert generate("--root", str(tmp_path)).stdout == ""
    assert generate("--check", "--root", str(tmp_path)).returncode == 0
    (tmp_path / "docs/states.md").write_text("# Something else\n")
    changed = generate("--check", "--root", str(tmp_path))
    assert changed.returncode == 1
    assert "-# Something else" in changed.stdout


def test_the_page_of_conditions_has_every_type_and_every_state_of_a_remediation(
    tmp_path: Path,
) -> None:
    generate("--root", str(tmp_path))
    page = (tmp_path / "docs/reference/conditions.md").read_text()
    backup = {"BackupSuceeded"}  # backups are not supported
    for kind in {*CURRENT_TYPES, *MANUAL_ORDER} - backup:
        assert f"`{kind}`" in page
    source = (ROOT / "docs/generate.py").read_text()
    for state in set(Rollout) - {Rollout.NOT_REACHED}:
        assert f"Rollout.{state.name}" in source


def test_the_page_of_settings_has_every_setting(tmp_path: Path) -> None:
    generate("--root", str(tmp_path))
    page = (tmp_path / "docs/reference/settings.md").read_text()
    assert all(f"`{flag(name)}`" in page for name in Settings.__slots__)
