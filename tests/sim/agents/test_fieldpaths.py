"""Paths of a work's feedback: what they find, and what they cannot tell."""

from __future__ import annotations

import pytest

from talm.sim.agents.fieldpaths import BadPath, read

JOB = {
    "metadata": {"labels": {"a.example/run": "7"}},
    "status": {
        "active": 1,
        "conditions": [
            {"type": "Complete", "status": "True"},
            {"type": "Failed", "status": "False", "reason": "No"},
        ],
    },
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".status.active", 1),
        (r".metadata.labels.a\.example/run", "7"),
        ('.status.conditions[?(@.type=="Complete")].status', "True"),
        ('.status.conditions[?(@.type=="Other")].status', None),
        (".status.ready", None),
        (".spec.parallelism", None),
        (".status", None),
        (".status.conditions", None),
    ],
)
def test_a_path_finds_one_plain_value_or_none(path: str, value: object) -> None:
    assert read(JOB, path) == value


@pytest.mark.parametrize("path", ["status", ".status[0]", ".a..b"])
def test_a_path_of_another_kind_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        read(JOB, path)
