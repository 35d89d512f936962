"""The space asked for: texts become whole GiB as in the existing operator."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.core.space import whole_gib
from talm.errors import BadSpec


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("35 GiB", 35),
        ("35GiB", 35),
        ("40 GB", 38),
        ("40 gb", 38),
        ("40G", 38),
        ("2500000 KB", 3),
        ("38.5 GiB", 39),
        (".5 GiB", 1),
        ("1e3 MiB", 1),
        ("1 TiB", 1024),
        ("1 PiB", 2**20),
        (" 35 GiB\n", 35),
        ("0", 0),
        ("1", 1),
        ("1 B", 1),
        ("1073741824", 1),
        ("1073741825", 2),
    ],
)
def test_a_size_is_rounded_up_to_whole_gib(text: str, gib: int) -> None:
    assert whole_gib(text) == gib


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-30 GiB", "invalid size: '-30 GiB'"),
        ("lots", "invalid size: 'lots'"),
        ("", "invalid size: ''"),
        ("nan", "invalid size: 'nan'"),
        ("1_000 GB", "invalid size: '1_000 GB'"),
        ("1e400", "invalid size: '1e400'"),
        ("9e9 PiB", "invalid size: '9e9 PiB'"),
        ("35 Gi", "invalid suffix: 'gi'"),
        ("35 XiB", "invalid suffix: 'xib'"),
        ("35 GiBs", "invalid suffix: 'gibs'"),
        ("35 bb", "invalid suffix: 'bb'"),
    ],
)
def test_what_is_no_size_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadSpec) as refused:
        whole_gib(text)
    assert str(refused.value) == why


@given(st.integers(0, 2**62))
def test_bytes_fit_into_the_gib_that_are_asked_for_and_into_no_less(size: int) -> None:
    gib = whole_gib(str(size))
    # A float holds 53 bits: the existing operator's arithmetic, too.
    assert abs(size - int(float(size))) <= 512
    assert gib * 2**30 >= int(float(size)) > (gib - 1) * 2**30 or (gib, size) == (0, 0)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert whole_gib(text) >= 0
    except BadSpec as refused:
        assert "invalid" in str(refused)
