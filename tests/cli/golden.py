"""Text that is compared with a file: `UPDATE_GOLDEN=1` writes what was shown."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def assert_golden(name: str, lines: Iterable[str]) -> None:
    """Compare with tests/cli/golden/NAME.txt; blanks at the end of a line count, too."""
    path = FOLDER / f"{name}.txt"
    text = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()
