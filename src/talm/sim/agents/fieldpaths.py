"""The paths by which a work's feedback reads an object: the part of Kubernetes' JSONPath that is used.

`.a.b`, `.labels.with\\.dots/and-slash`, `.list[?(@.type=="X")].field`.  The first match counts, a missing
field is no value, and only strings, whole numbers and booleans can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_FIELD: Final = re.compile(r"\.((?:\\.|[^.\[\]\\])+)")
_FILTER: Final = re.compile(r'\[\?\(@\.(\w+)=="([^"]*)"\)\]')


class BadPath(Exception):
    """The path is none of those that are understood here."""


def read(obj: object, path: str) -> str | int | bool | None:
    """The first value at `path`; None when there is none that can be told.  Raises BadPath."""
    found: list[object] = [obj]
    for step in _steps(path):
        found = [inner for one in found for inner in step(one)]
    value = found[0] if found else None
    return value if isinstance(value, str | int) else None


def _steps(path: str) -> Iterator[_Step]:
    at = 0
    while at < len(path):
        if match := _FIELD.match(path, at):
            yield _Field(re.sub(r"\\(.)", r"\1", match[1]))
        elif match := _FILTER.match(path, at):
            yield _Filter(match[1], match[2])
        else:
            raise BadPath(path)
        at = match.end()


class _Field:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, obj: object) -> Iterator[object]:
        if isinstance(obj, Mapping) and self._name in obj:
            yield obj[self._name]


class _Filter:
    def __init__(self, name: str, value: str) -> None:
        self._name, self._value = name, value

    def __call__(self, obj: object) -> Iterator[object]:
        if isinstance(obj, Sequence) and not isinstance(obj, str):
            for one in obj:
                if isinstance(one, Mapping) and one.get(self._name) == self._value:
                    yield one


_Step = _Field | _Filter
