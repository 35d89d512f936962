"""Semantic versions and ranges of them, as the operator catalogs write them in `skipRange`.

The subset of blang/semver that its documentation describes: strict three-part versions, the
comparisons = == != ! > >= < <=, blanks for "and", `||` for "or", and `1.x`, `1.2.x`.  There is no
special rule for pre-releases: they are ordered and that is all.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
from collections.abc import Callable
from typing import Final

_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
_PART = r"[0-9A-Za-z-]+"
_VERSION: Final = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>{_PART}(?:\.{_PART})*))?(?:\+{_PART}(?:\.{_PART})*)?"
)
_COMPARISON: Final = re.compile(r"(==|=|!=|!|>=|>|<=|<|)\s*([^\s<>=!]+)\s*")
_WILDCARD: Final = re.compile(rf"(?P<major>{_NUMBER})\.(?:(?P<minor>{_NUMBER})\.)?x")

Range = Callable[["Version"], bool]


class BadVersion(ValueError):
    """No version, or no range of versions."""


@functools.total_ordering
@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """A version without its build, which orders nothing; `pre` is empty for a release."""

    numbers: tuple[int, int, int]
    pre: tuple[int | str, ...] = ()

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[object, ...]:
        # A release is above its pre-releases, a number is below a word.
        pre = tuple((0, p, "") if isinstance(p, int) else (1, 0, p) for p in self.pre)
        return self.numbers, not self.pre, pre


_OPERATORS: Final[dict[str, Callable[[Version, Version], bool]]] = {
    "": operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    "!": operator.ne,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def parse_version(text: str) -> Version:
    """Parse `MAJOR.MINOR.PATCH[-PRE][+BUILD]`.  Raises BadVersion."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise BadVersion(f"{text[:80]!r} is no semantic version")
    pre = tuple(_identifier(p, text) for p in match["pre"].split(".")) if match["pre"] else ()
    return Version((int(match["major"]), int(match["minor"]), int(match["patch"])), pre)


def parse_range(text: str) -> Range:
    """Parse a range; the result tells whether a version lies in it.  Raises BadVersion."""
    options = [_all_of(option, text) for option in text.split("||")]
    return lambda version: any(holds(version) for holds in options)


def _identifier(part: str, text: str) -> int | str:
    if not part.isdigit():
        return part
    if part != "0" and part.startswith("0"):
        raise BadVersion(f"{text[:80]!r}: a number with a leading zero")
    return int(part[:40])


def _all_of(option: str, text: str) -> Range:
    rest = option.strip()
    holds = []
    while rest:
        match = _COMPARISON.match(rest)
        if match is None:
            raise BadVersion(f"{text[:80]!r} is no range of versions")
        holds.append(_comparison(match[1], match[2]))
        rest = rest[match.end() :]
    if not holds:
        raise BadVersion(f"{text[:80]!r} is no range of versions")
    return lambda version: all(one(version) for one in holds)


def _comparison(sign: str, text: str) -> Range:
    match = _WILDCARD.fullmatch(text)
    if match is None:
        limit = parse_version(text)
        compare = _OPERATORS[sign]
        return lambda version: compare(version, limit)
    major, minor = int(match["major"]), match["minor"]
    low = Version((major, int(minor or 0), 0))
    high = Version((major, int(minor) + 1, 0) if minor is not None else (major + 1, 0, 0))
    return {
        ">": lambda version: version >= high,
        ">=": lambda version: version >= low,
        "<": lambda version: version < low,
        "<=": lambda version: version < high,
        "!": lambda version: not low <= version < high,
        "!=": lambda version: not low <= version < high,
    }.get(sign, lambda version: low <= version < high)
