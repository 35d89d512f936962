"""Where nothing may be skipped, a skipped test fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS_ITSELF = {
    "a test": "import pytest\ndef test_it():\n    pytest.skip('no hub')\n",
    "a module": "import pytest\npytest.skip('no hub', allow_module_level=True)\n",
}


@pytest.mark.parametrize("content", SKIPS_ITSELF.values(), ids=SKIPS_ITSELF.keys())
@pytest.mark.parametrize("forbidden", [False, True])
def test_a_skip_fails_only_where_it_is_forbidden(
    tmp_path: Path, content: str, forbidden: bool
) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(content)
    environment = {key: value for key, value in os.environ.items() if key != "TALM_NO_SKIP"}
    if forbidden:
        environment["TALM_NO_SKIP"] = "1"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-ra",
            "-p",
            "tests.conftest",
            "--rootdir",
            tmp_path,
            file,
        ],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no hub" in done.stdout
    failed = done.returncode not in (0, 5)  # 5: pytest found no test, when the module skips itself
    assert failed == forbidden
