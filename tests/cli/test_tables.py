"""What `talm status` prints, against golden files: small and large fleets, wide and narrow terminals."""

from __future__ import annotations

import pytest

from talm.cli.layout import Cell, Column, ansi, cut, lay_out
from talm.cli.rows import CguRow, cgu_row
from talm.cli.tables import cgu_lines, cluster_lines
from talm.core.precache_spec import spec_hash
from tests.cli.fleets import (
    MORE,
    NOT_ENABLED,
    NOW,
    SELECTED,
    SMALL,
    SMALL_TOLD,
    VALIDATED,
    a_cgu,
    asked_for_more,
    before,
    condition,
    large,
)
from tests.cli.golden import assert_golden

REFUSED = 'User "alice" cannot list resource "managedclusterviews" in API group "view"'
WIDTHS = pytest.mark.parametrize("width", [None, 140, 100, 80, 60])


def small(unknown: str = "") -> CguRow:
    return cgu_row(SMALL, SMALL_TOLD, {"": unknown} if unknown else {}, NOW)


def several() -> list[CguRow]:
    """A CGU in each situation."""
    over = {"completedAt": before(hours=1)}
    missing = condition(
        "Validated", "False", "NotAllManagedPoliciesExist", "Missing managed policies: [x] "
    )
    good = condition("Succeeded", "True", "Completed", "All clusters are compliant")
    late = condition("Succeeded", "False", "TimedOut", "Policy remediation took too long")
    done = {"spoke-0001": "Succeeded"}
    running = {
        "startedAt": before(hours=1),
        "currentBatch": 1,
        "currentBatchStartedAt": before(minutes=40),
        "currentBatchRemediationProgress": {"spoke-0001": {"state": "InProgress"}},
    }
    cgus = [
        SMALL,
        a_cgu("held", {}, conditions=[SELECTED, missing]),
        a_cgu("ready", done, conditions=[SELECTED, VALIDATED, NOT_ENABLED]),
        a_cgu("running", done, status=running),
        a_cgu("done", done, conditions=[good], status=over, namespace="ztp-other"),
        a_cgu("late", done, conditions=[late], status=over),
    ]
    return [cgu_row(cgu, SMALL_TOLD if cgu is SMALL else {}, {}, NOW) for cgu in cgus]


@WIDTHS
def test_a_small_fleet_shows_every_cluster_failed_and_stuck_ones_first(width: int | None) -> None:
    lines = cluster_lines(small(), width=width)
    assert_golden(f"status-small-{width or 'pipe'}", lines)
    table = lines[lines.index("") :]
    assert width is None or max(map(len, table)) <= width


@pytest.mark.parametrize("width", [None, 80])
def test_of_a_large_fleet_those_are_shown_that_want_to_be_looked_at(width: int | None) -> None:
    row = cgu_row(*large(), {}, NOW)
    lines = cluster_lines(row, width=width)
    assert_golden(f"status-large-{width or 'pipe'}", lines)
    assert len(lines) < 50
    assert len(cluster_lines(row, width=None, most=None)) > 3500


def test_what_may_not_be_read_is_unknown_with_the_reason() -> None:
    lines = cluster_lines(small(REFUSED), width=None)
    assert_golden("status-small-refused", lines)
    assert lines[-1] == f"progress of 2 clusters unknown: {REFUSED}"


def test_wide_shows_the_image_that_is_at_work() -> None:
    assert_golden("status-small-wide", cluster_lines(small(), width=80, wide=True))


def test_wide_names_the_specification_of_those_who_have_another_than_most() -> None:
    of = asked_for_more(SMALL, "spoke-0003")
    lines = cluster_lines(cgu_row(of, SMALL_TOLD, {}, NOW), width=80, wide=True)
    named = [line.split()[0] for line in lines if spec_hash(MORE) in line]
    assert named == ["spoke-0003"]
    assert any("SPEC" in line.split() for line in lines)


@WIDTHS
def test_the_list_of_cgus_says_what_each_waits_for(width: int | None) -> None:
    lines = cgu_lines(several(), width=width)
    assert_golden(f"status-cgus-{width or 'pipe'}", lines)
    assert width is None or max(map(len, lines)) <= width


def test_an_empty_hub_says_so() -> None:
    assert cgu_lines([], width=80) == ["no ClusterGroupUpgrades"]


def test_a_cgu_without_clusters_has_no_table() -> None:
    row = cgu_row(a_cgu("new", {}), {}, {}, NOW)
    assert cluster_lines(row, width=80) == [
        "ztp-group-du-sno/new  PreCaching",
        "Waits for  the operator",
    ]


def test_an_update_shows_how_far_each_cluster_is() -> None:
    words = dict.fromkeys(["a", "b", "c"], "Succeeded")
    running = {
        "startedAt": before(hours=1),
        "currentBatch": 2,
        "currentBatchStartedAt": before(minutes=40),
        "currentBatchRemediationProgress": {"b": {"state": "InProgress", "policyIndex": 0}},
    }
    cgu = a_cgu(
        "up",
        words,
        remediationPlan=[["a"], ["b"], ["c"]],
        clusters=[{"name": "a", "state": "complete"}],
        status=running,
    )
    lines = cluster_lines(cgu_row(cgu, {}, {}, NOW), width=None)
    assert [line.split() for line in lines[-3:]] == [
        ["a", "Succeeded", "complete"],
        ["b", "Succeeded", "InProgress"],
        ["c", "Succeeded", "batch", "3"],
    ]


def test_colors_change_nothing_but_colors() -> None:
    bare = cluster_lines(small(), width=100)
    painted = cluster_lines(small(), width=100, paint=ansi)
    assert painted != bare
    stripped = ["".join(_without_codes(line)) for line in painted]
    assert stripped == bare


def _without_codes(line: str) -> list[str]:
    first, *rest = line.split("\x1b[")
    return [first, *(part.partition("m")[2] for part in rest)]


def test_a_terminal_narrower_than_the_columns_that_must_be_is_overrun() -> None:
    rows = [[Cell("spoke-0001"), Cell("why it is so")]]
    lines = lay_out([Column("A"), Column("B")], rows, width=14)
    assert lines == ["A           B", "spoke-0001  w…"]


def test_line_breaks_in_a_cause_do_not_break_the_table() -> None:
    assert cut("one\n  two", None) == "one two"
    assert cut("one two", 5) == "one …"
