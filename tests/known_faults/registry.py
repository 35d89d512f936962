"""The list of the faults, filled as the tests of this package are imported; and the page that tells it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import tests.known_faults
from tests.known_faults.mutant import Mutation

T = TypeVar("T", bound=Callable[..., Any])
ROOT: Final = Path(__file__).parents[2]
_FAULTS: Final[list[KnownFault]] = []


@dataclass(frozen=True)
class KnownFault:
    """One fault in words, what happens here instead, the test's node id, and the mutation."""

    words: str
    here: str
    test: str
    mutation: Mutation


def known_fault(words: str, *, here: str, mutation: Mutation) -> Callable[[T], T]:
    """Say which fault of the existing operator a test is about, and which line keeps it away."""

    def register(test: T) -> T:
        path = Path(test.__code__.co_filename).relative_to(ROOT)
        _FAULTS.append(KnownFault(words, here, f"{path}::{test.__name__}", mutation))
        return test

    return register


def known_faults() -> tuple[KnownFault, ...]:
    """All of them, in the order of files and of tests in a file."""
    for found in pkgutil.iter_modules(tests.known_faults.__path__):
        if found.name.startswith("test_") and found.name != "test_mutations":
            importlib.import_module(f"tests.known_faults.{found.name}")
    return tuple(sorted(_FAULTS, key=lambda fault: fault.test.partition("::")[0]))


def to_markdown() -> str:
    """The reference page."""
    rows = ["| fault of the existing operator | here | test | decided in |", "|---|---|---|---|"]
    for fault in known_faults():
        path, name = fault.test.split("::")
        where = fault.mutation.path.relative_to(ROOT)
        rows.append(
            f"| {fault.words} | {fault.here} | [`{name}`](../../{path}) | [`{where}`](../../{where}) |"
        )
    return (
        "# Faults that are known of the existing operator\n\n"
        "Made from `tests/known_faults` by `UPDATE_GOLDEN=1 pytest tests/known_faults`; do not edit.\n\n"
        "What pre-caching of the existing operator does wrong on its main branch of August 2026, and what "
        "happens here instead. Each test has a one-line mutation beside it that brings the fault back; "
        "that the test then fails is tested, too.\n\n" + "\n".join(rows) + "\n"
    )
