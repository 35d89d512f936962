"""The agent's replacing patch turns any object into any template."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.sim.agents.mergepatch import apply_patch, replacing_patch

values = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(objects, objects)
def test_what_the_template_lacks_is_gone_afterwards(
    current: dict[str, Any], template: dict[str, Any]
) -> None:
    assert apply_patch(current, replacing_patch(current, template)) == template


@given(objects)
def test_an_equal_template_makes_an_empty_patch(current: dict[str, Any]) -> None:
    assert replacing_patch(current, current) == {}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": 1}, {"a": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"b": {"c": None}}, {"a": 1, "b": {}}),
        ({"a": "text"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_a_patch_is_applied_as_rfc_7386_says(target: object, patch: object, result: object) -> None:
    assert apply_patch(target, patch) == result
