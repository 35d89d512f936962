"""Every known fault's test sees the fault when it is there, and the page tells of them all.

`UPDATE_GOLDEN=1 pytest tests/known_faults` writes the page anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

import pytest

from .mutant import BROKEN, Mutation
from .registry import ROOT, KnownFault, known_faults, to_markdown

FAULTS: Final = known_faults()
PAGE: Final = ROOT / "docs" / "reference" / "known-faults.md"
each_fault: Final = pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.test.split("::")[1])


def run(*tests: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run tests in a process of their own, with the plugin that mutates."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-p", "tests.known_faults.mutant"]
    command += ["-p", "no:cacheprovider", "-q", "--timeout", "60", *tests]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@each_fault
def test_a_mutation_changes_the_one_line_that_it_names(fault: KnownFault) -> None:
    path = fault.mutation.path
    compile(fault.mutation.mutate(path.read_text()), str(path), "exec")


def test_a_mutation_that_would_change_nothing_or_too_much_is_refused() -> None:
    here = Mutation("talm.errors", "x = 1", "x = 2")
    assert here.mutate("y\nx = 1\n") == "y\nx = 2\n"
    for source in ("y", "x = 1; x = 1"):
        with pytest.raises(ValueError, match="occurs"):
            here.mutate(source)
    with pytest.raises(ValueError, match="one line"):
        Mutation("talm.errors", "x\n", "y").mutate("x\n")


def test_every_test_of_this_package_names_its_fault_and_the_page_tells_of_it() -> None:
    tests = {
        f"{path.relative_to(ROOT)}::{line.partition('def ')[2].partition('(')[0]}"
        for path in sorted((ROOT / "tests" / "known_faults").glob("test_*.py"))
        if path.name != "test_mutations.py"
        for line in path.read_text().splitlines()
        if line.startswith(("def test_", "async def test_"))
    }
    assert tests == {fault.test for fault in FAULTS}
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(to_markdown())
    assert PAGE.read_text() == to_markdown()


@pytest.mark.long
def test_without_a_mutation_the_same_runner_sees_all_tests_pass() -> None:
    done = run(*(fault.test for fault in FAULTS), environment={})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@each_fault
def test_with_its_line_changed_the_fault_is_back_and_its_test_fails(fault: KnownFault) -> None:
    done = run(fault.test, environment=fault.mutation.for_environment())
    said = done.stdout + done.stderr
    assert done.returncode != 0, f"the test does not see this fault:\n{said}"
    assert done.returncode != BROKEN, f"the code falls over, which proves nothing:\n{said}"
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, said
