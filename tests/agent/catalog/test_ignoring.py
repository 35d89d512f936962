"""Lines of `.indexignore` as the catalogs' own tool reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.catalog.channels import BadCatalog
from talm.agent.catalog.ignoring import Ignoring


@pytest.mark.parametrize(
    ("line", "ignored", "read"),
    [
        ("*.md", ["README.md", "a/b/README.md"], ["README.mdx", "a/c.json"]),
        ("docs", ["docs", "docs/a", "x/docs/a/b"], ["docs2/a"]),
        ("docs/", ["docs/a", "x/docs/a"], ["docs", "x/docs"]),
        ("/docs", ["docs", "docs/a"], ["x/docs"]),
        ("/docs/", ["docs/a"], ["docs", "x/docs/a"]),
        ("a/b.json", ["a/b.json"], ["x/a/b.json", "a/c/b.json"]),
        ("a/*", ["a/b", "a/b/c"], ["a", "x/a/b"]),
        ("**/old.json", ["old.json", "a/old.json", "a/b/old.json"], ["old.jsonx"]),
        ("a/**", ["a/b", "a/b/c"], ["b/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z/x"], ["a/b", "z"]),
        ("a?c", ["abc", "x/abc"], ["ac", "abbc"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[^a]x", ["bx"], ["ax"]),
        (r"\*x", ["*x"], ["ax"]),
        (r"\#a", ["#a"], ["a"]),
        ("a   ", ["a"], ["a   "]),
        ("# a", [], ["a", "# a"]),
        ("", [], ["a"]),
        ("/", [], ["a"]),
    ],
)
def test_a_line_is_about_the_files_that_it_means(
    line: str, ignored: list[str], read: list[str]
) -> None:
    ignoring = Ignoring({"": line.encode()})
    assert [path for path in ignored if not ignoring.ignores(path)] == []
    assert [path for path in read if ignoring.ignores(path)] == []


def test_the_last_line_that_matches_decides() -> None:
    ignoring = Ignoring({"": b"*\n!catalog.json\n!a/*.yaml\na/x.yaml"})
    assert ignoring.ignores("a/b")
    assert not ignoring.ignores("a/catalog.json")
    assert not ignoring.ignores("a/b.yaml")
    assert ignoring.ignores("a/x.yaml")


def test_a_file_speaks_for_its_own_directory_and_over_those_above() -> None:
    ignoring = Ignoring({"": b"*.json", "a": b"!kept.json\n*.md"})
    assert not ignoring.ignores("a/b/kept.json")
    assert ignoring.ignores("kept.json")
    assert ignoring.ignores("a/x.md")
    assert not ignoring.ignores("x.md")


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(BadCatalog, match=r"\.indexignore has 100000 bytes"):
        Ignoring({"": b"x" * 100_000})


@given(st.text(max_size=30), st.lists(st.text("ab*?/[]", min_size=1, max_size=8), min_size=1))
def test_any_line_is_read(line: str, names: list[str]) -> None:
    Ignoring({"": line.encode(errors="replace")}).ignores("/".join(names))
