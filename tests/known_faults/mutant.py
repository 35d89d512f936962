"""A pytest plugin that changes one line of one module as it is imported: `-p tests.known_faults.mutant`.

The mutation is given in the environment, as `Mutation.for_environment` has it.  Nothing is written to
disk, byte code included.  The run's exit status is `BROKEN` when a test ended by anything but an
assertion: a mutation that makes the code fall over proves nothing about the test.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import pytest

VARIABLE: Final = "TALM_MUTATION"
BROKEN: Final = 20
SOURCES: Final = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Mutation:
    """In `module`, `old` (a part of one line that occurs once) becomes `new`."""

    module: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        return SOURCES.joinpath(*self.module.split(".")).with_suffix(".py")

    def mutate(self, source: str) -> str:
        """The changed source.  Raises ValueError when it is not exactly one line that changes."""
        if "\n" in self.old + self.new or self.old == self.new:
            raise ValueError(f"{self.module}: a mutation changes one line")
        times = source.count(self.old)
        if times != 1:
            raise ValueError(
                f"{self.module}: {self.old!r} occurs {times} times; the line has changed, so choose anew "
                "which one decides this"
            )
        return source.replace(self.old, self.new)

    def for_environment(self) -> dict[str, str]:
        """What the plugin reads."""
        return {VARIABLE: json.dumps(asdict(self))}


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, mutation: Mutation) -> None:
        super().__init__(mutation.module, str(mutation.path))
        self._mutation = mutation

    def get_code(self, fullname: str) -> CodeType:
        source = self._mutation.mutate(self._mutation.path.read_text())
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Before all others: serves the mutated module, and no other."""

    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutation.module:
            return None
        loader = _Loader(self._mutation)
        return importlib.machinery.ModuleSpec(fullname, loader, origin=loader.path)


class _Verdict:
    """Watches how tests end."""

    def __init__(self) -> None:
        self._is_broken = False

    @pytest.hookimpl
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is not None and not call.excinfo.errisinstance(AssertionError):
            self._is_broken = True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._is_broken:
            session.exitstatus = BROKEN


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Verdict())


def _install() -> None:
    """As early as this module is imported as a plugin: before anything of the product is."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        mutation = Mutation(**json.loads(given))
        assert mutation.module not in sys.modules, f"{mutation.module} was imported too early"
        sys.meta_path.insert(0, _Finder(mutation))


_install()
