"""Names of many clusters in few bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from talm.core.folding import fold, unfold

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,12}[a-z0-9])?", fullmatch=True)


def test_names_that_begin_alike_are_put_together() -> None:
    assert fold(["site-004", "west", "site-001", "site-b-1", "east"]) == (
        "east", "west", "site-{001,004}", "site-b-1",
    )  # fmt: skip


@given(st.sets(NAMES))
def test_all_names_are_told_again(names: set[str]) -> None:
    folded = fold(names)
    told = list(unfold(folded))
    assert (len(told), set(told)) == (len(names), names)


def test_names_by_number_take_little_room() -> None:
    names = [f"region-1-site-{number:04}" for number in range(5000)]
    assert sum(map(len, fold(names))) < 26_000
