from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.catalog.versions import BadVersion, Version, parse_range, parse_version

# In ascending order, as the specification of semantic versions has it.
ORDER = (
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.9.0",
    "1.10.0",
    "2.0.0",
)


def test_versions_are_ordered_as_the_specification_says() -> None:
    versions = [parse_version(text) for text in ORDER]
    assert sorted(reversed(versions)) == versions
    assert len(set(versions)) == len(versions)


def test_a_build_orders_nothing() -> None:
    assert parse_version("1.0.0+a") == parse_version("1.0.0+b") == Version((1, 0, 0))


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0 ", "1.x"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(BadVersion):
        parse_version(text)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=4.0.0 <4.14.3", ["4.0.0", "4.14.2", "4.14.3-rc.1"], ["3.9.9", "4.14.3"]),
        (">= 4.0.0  < 4.14.3", ["4.0.0"], ["4.14.3"]),
        (">=4.0.0<4.14.3", ["4.0.0"], ["4.14.3"]),
        ("1.0.0", ["1.0.0"], ["1.0.1"]),
        ("==1.0.0 || =2.0.0", ["1.0.0", "2.0.0"], ["1.5.0"]),
        ("!=1.0.0", ["1.0.1"], ["1.0.0"]),
        ("!1.0.0", ["1.0.1"], ["1.0.0"]),
        (">1.0.0 <=2.0.0", ["1.0.1", "2.0.0"], ["1.0.0", "2.0.1"]),
        ("<1.0.0 || >=3.0.0 !3.1.0", ["0.9.0", "3.0.0"], ["1.0.0", "3.1.0"]),
        ("1.x", ["1.0.0", "1.9.9"], ["0.9.0", "2.0.0"]),
        ("1.2.x", ["1.2.0", "1.2.9"], ["1.1.9", "1.3.0"]),
        (">1.2.x", ["1.3.0"], ["1.2.9"]),
        (">=1.2.x", ["1.2.0"], ["1.1.9"]),
        ("<1.2.x", ["1.1.9"], ["1.2.0"]),
        ("<=1.x", ["1.9.9"], ["2.0.0"]),
        ("!=1.x", ["0.9.0", "2.0.0"], ["1.0.0"]),
    ],
)
def test_ranges_hold_what_they_say(text: str, inside: list[str], outside: list[str]) -> None:
    holds = parse_range(text)
    assert [version for version in inside if not holds(parse_version(version))] == []
    assert [version for version in outside if holds(parse_version(version))] == []


@pytest.mark.parametrize(
    "text", ["", " ", "||", ">=1.0.0 ||", ">=", "~1.0.0", "^1.0.0", "x", "1.0"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(BadVersion):
        parse_range(text)


NUMBERS = st.tuples(*[st.integers(0, 30)] * 3)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_range_of_two_bounds_is_the_interval(
    low: tuple[int, int, int], high: tuple[int, int, int], probe: tuple[int, int, int]
) -> None:
    def text(numbers: tuple[int, int, int]) -> str:
        return ".".join(map(str, numbers))

    holds = parse_range(f">={text(low)} <{text(high)}")
    assert holds(Version(probe)) == (low <= probe < high)


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    with contextlib.suppress(BadVersion):
        parse_range(text)(Version((1, 0, 0)))
