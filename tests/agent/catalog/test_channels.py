"""Small catalogs written by hand, with the head that an operator's user would expect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.catalog.channels import (
    BadCatalog,
    Bundle,
    Channel,
    Entry,
    Package,
    Wanted,
    bundles_for,
    head_of,
    images_of,
    path_to,
)


def package(*entries: Entry, recorded_head: str = "") -> tuple[Package, Channel]:
    """A package of one channel; a bundle `x.vVERSION` for every entry."""
    channel = Channel("stable", entries, recorded_head)
    bundles = {e.name: Bundle(e.name, e.name.partition(".v")[2]) for e in entries}
    return Package("x", {"stable": channel}, bundles), channel


def entry(version: str, replaces: str = "", *skips: str, skip_range: str = "") -> Entry:
    names = tuple(f"x.v{skip}" for skip in skips)
    return Entry(f"x.v{version}", f"x.v{replaces}" if replaces else "", names, skip_range)


CORPUS = {
    "one": ([entry("1.0.0")], "1.0.0"),
    "a chain in any order": (
        [entry("1.0.1", "1.0.0"), entry("1.0.2", "1.0.1"), entry("1.0.0")],
        "1.0.2",
    ),
    "the first replaces what the catalog no longer has": (
        [entry("1.0.1", "0.9.0"), entry("1.0.2", "1.0.1")],
        "1.0.2",
    ),
    "a head that only skips": (
        [entry("1.0.0"), entry("1.0.1"), entry("1.1.0", "", "1.0.0", "1.0.1")],
        "1.1.0",
    ),
    "a z-stream that is skipped beside the chain": (
        [entry("1.0.0"), entry("1.0.1", "1.0.0"), entry("1.1.0", "1.0.0", "1.0.1")],
        "1.1.0",
    ),
    "a head by range alone": (
        [entry("1.9.0"), entry("1.10.0"), entry("1.11.0", skip_range=">=1.0.0 <1.11.0")],
        "1.11.0",
    ),
    "each with a range up to itself": (
        [entry(f"4.14.{n}", skip_range=f">=4.0.0 <=4.14.{n}") for n in (2, 0, 1)],
        "4.14.2",
    ),
    "ranges that cover each other": (
        [entry("1.0.0", skip_range="<2.0.0"), entry("1.1.0", skip_range="<2.0.0")],
        "1.1.0",
    ),
    "numbers are no words": (
        [entry("4.9.0", skip_range="<4.10.0"), entry("4.10.0", skip_range="<4.10.0")],
        "4.10.0",
    ),
}


@pytest.mark.parametrize("name", CORPUS)
def test_the_head_is_what_nothing_follows(name: str) -> None:
    entries, head = CORPUS[name]
    assert head_of(*package(*entries)).name == f"x.v{head}"


def test_a_recorded_head_is_believed() -> None:
    entries = (entry("1.0.0"), entry("1.0.1"))
    assert head_of(*package(*entries, recorded_head="x.v1.0.0")).name == "x.v1.0.0"


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([], "stable of package x has no head"),
        ([entry("1.0.0", "1.0.1"), entry("1.0.1", "1.0.0")], "no head"),
        ([entry("1.0.0"), entry("1.0.1")], r"2 heads \(x.v1.0.0, x.v1.0.1\)"),
        ([entry("1.0.0"), entry("1.0.1", skip_range="no range")], "skipRange of x.v1.0.1"),
        ([entry("1.0.0"), entry("one")], "bundle x.vone: 'one' is no semantic version"),
    ],
)
def test_a_channel_without_one_head_says_what_it_has(entries: list[Entry], complaint: str) -> None:
    with pytest.raises(BadCatalog, match=complaint):
        head_of(*package(*entries))


def test_a_head_without_a_bundle_is_named() -> None:
    channel = Channel("stable", (entry("1.0.0"),))
    with pytest.raises(BadCatalog, match=r"leads to 'x.v1.0.0', which is no bundle"):
        head_of(Package("x", {"stable": channel}, {}), channel)


@given(st.integers(1, 12), st.randoms(use_true_random=False), st.data())
def test_in_a_chain_the_head_is_the_last_and_the_path_is_the_rest(
    length: int, chance: object, data: st.DataObject
) -> None:
    entries = [entry(f"1.0.{n}", f"1.0.{n - 1}" if n else "") for n in range(length)]
    start = data.draw(st.integers(0, length - 1))
    chance.shuffle(entries)  # type: ignore[attr-defined]
    found = path_to(*package(*entries), f"x.v1.0.{start}")
    assert [bundle.name for bundle in found] == [f"x.v1.0.{n}" for n in range(start, length)]


def test_the_path_takes_the_fewest_steps() -> None:
    entries = [entry("1.0.0"), entry("1.0.1", "1.0.0"), entry("1.0.2", "1.0.1", "1.0.0")]
    assert [b.name for b in path_to(*package(*entries), "x.v1.0.0")] == ["x.v1.0.0", "x.v1.0.2"]


def test_the_path_goes_by_ranges_too() -> None:
    entries = [entry("1.0.0"), entry("1.1.0", skip_range=">=1.0.0 <1.1.0")]
    assert [b.name for b in path_to(*package(*entries), "x.v1.0.0")] == ["x.v1.0.0", "x.v1.1.0"]


@pytest.mark.parametrize(
    "first",
    [
        entry("1.1.0", "1.0.9"),
        entry("1.1.0", "1.0.0", "1.0.9"),
        entry("1.1.0", skip_range=">=1.0.0 <1.1.0"),
    ],
    ids=["replaced", "skipped", "in the range"],
)
def test_a_start_of_another_channel_leads_in_by_the_entry_that_follows_it(first: Entry) -> None:
    """An operator that changes its channel is not an entry of the new one."""
    found = package(first, entry("1.2.0", "1.1.0"))
    assert [b.name for b in path_to(*found, "x.v1.0.9")] == ["x.v1.1.0", "x.v1.2.0"]


def test_a_start_that_the_catalog_has_dropped_is_not_part_of_the_way() -> None:
    x, channel = package(entry("1.0.0"), entry("1.1.0", "1.0.0"))
    left = Package("x", x.channels, {"x.v1.1.0": x.bundles["x.v1.1.0"]})
    assert [b.name for b in path_to(left, channel, "x.v1.0.0")] == ["x.v1.1.0"]


def test_a_channel_without_end_is_refused() -> None:
    with pytest.raises(BadCatalog, match="has more than 2000 entries"):
        head_of(*package(*(entry(f"1.0.{n}") for n in range(2001))))


@pytest.mark.parametrize(
    ("start", "complaint"), [("x.v9.0.0", "has no entry"), ("x.v0.1.0", "no way from x.v0.1.0")]
)
def test_a_start_that_leads_nowhere_is_named(start: str, complaint: str) -> None:
    found = package(entry("0.1.0"), entry("1.0.0"), recorded_head="x.v1.0.0")
    with pytest.raises(BadCatalog, match=complaint):
        path_to(*found, start)


def test_a_start_that_is_gone_leaves_the_head_where_that_will_do() -> None:
    found = package(entry("1.0.0"), entry("1.0.1", "1.0.0"))
    old = Wanted("x", "stable", "x.v0.9.0", if_there=True)
    there = Wanted("x", "stable", "x.v1.0.0", if_there=True)
    assert [b.name for b in bundles_for(*found, old)] == ["x.v1.0.1"]
    assert [b.name for b in bundles_for(*found, there)] == ["x.v1.0.0", "x.v1.0.1"]
    with pytest.raises(BadCatalog, match="has no entry"):
        bundles_for(*found, Wanted("x", "stable", "x.v0.9.0"))


def test_images_are_the_bundles_own_and_the_related_each_once_without_empty_ones() -> None:
    bundle = Bundle("x.v1", image="r/own", related=("r/own", "", " ", "r/operator", "r/operator"))
    assert images_of(bundle) == ("r/own", "r/operator")


@pytest.mark.parametrize("related", [(), ("", "  ")])
def test_a_bundle_without_related_images_is_no_success(related: tuple[str, ...]) -> None:
    with pytest.raises(BadCatalog, match=r"bundle x.v1 names no related images"):
        images_of(Bundle("x.v1", image="r/own", related=related))
