"""The committed page is about exactly the rows that there are, and the rows say what they mean."""

from __future__ import annotations

import itertools

from talm.sim.faults import FAULTS, parse_faults
from talm.spokes.bycluster import Way

from .__main__ import waves
from .case import Case, Result
from .mixtures import SEEDS, SHARES, mixture
from .page import HOLDS, PAGE, is_on_terms, page, rows_of, wanted
from .rows import ROWS, Crew

HEAD = {"clusters": 200, "pace": 20.0, "notice": 5.0, "keep": 3.0}


def test_the_page_lists_exactly_the_rows_that_there_are_and_nothing_is_amiss() -> None:
    by_name = {row.name: row for row in ROWS}
    told = rows_of(PAGE.read_text())
    assert [(cells[0], cells[3]) for cells in told] == wanted(), "run `make fault-matrix`"
    for name, happens, must, way, outcome, verdict in told:
        assert (happens, must) == (by_name[name].happens, by_name[name].must)
        assert outcome
        assert verdict == HOLDS, (name, way)


def test_a_page_is_read_back_as_it_was_written() -> None:
    row = ROWS[0]
    results = [
        Result(row, Way.MANIFEST_WORK, 3, 1.0, "2 Succeeded, 1 Active", ["c: stuck", "d: 2 Jobs"]),
        Result(row, Way.VIEW_ACTION, 3, 1.0, "3 Succeeded"),
    ]
    assert rows_of(page(results, head=HEAD)) == [
        (row.name, row.happens, row.must, "view-action", "3 Succeeded", HOLDS),
        (
            row.name,
            row.happens,
            row.must,
            "manifest-work",
            "2 Succeeded, 1 Active",
            "**not so**: c: stuck; d: 2 Jobs",
        ),
    ]


def test_rows_that_are_played_anew_take_the_place_of_theirs_on_a_page_of_the_same_terms() -> None:
    first, second = ROWS[:2]
    bad = Result(first, Way.MANIFEST_WORK, 3, 1.0, "3 Succeeded", ["c: 2 Jobs"])
    good = Result(first, Way.MANIFEST_WORK, 3, 1.0, "3 Succeeded")
    other = Result(second, Way.MANIFEST_WORK, 3, 1.0, "2 Succeeded, 1 PrecacheTimeout")
    before = page([bad, other], head=HEAD)
    assert page([good], head=HEAD, before=before) == page([good, other], head=HEAD)
    assert is_on_terms(before, HEAD)
    assert not is_on_terms(before, HEAD | {"clusters": 50})


def test_row_names_are_unique_and_every_fault_is_in_some_row() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    said = {part.partition("=")[0] for row in ROWS for part in row.faults.split(",")}
    # Namespaces that nobody but the run itself has made go with it: `stuck-leftovers` is the worse case.
    assert set(FAULTS) - said == {"stuck-namespace"}


def test_mixtures_are_the_same_for_the_same_seed_and_no_two_alike() -> None:
    drawn = [mixture(seed) for seed in range(50)]
    assert drawn == [mixture(seed) for seed in range(50)]
    assert len(set(drawn)) == 50
    met = {fault for text in drawn for fault in parse_faults(text).shares}
    assert met >= set(SHARES)
    assert [row.faults for row in ROWS if row.crew is Crew.ALL] == [mixture(s) for s in SEEDS]


def test_waves_are_of_one_way_and_one_untroubled_operator_and_not_too_large() -> None:
    cases = [
        Case(row, way, 200, seed=1, limit_s=1.0)
        for row, way in itertools.product(ROWS, Way)
        if way in row.ways
    ]
    played = list(waves(cases, 1000))
    assert sorted(c.namespace for wave in played for c in wave) == sorted(
        c.namespace for c in cases
    )
    for wave in played:
        assert len({case.way for case in wave}) == 1
        assert sum(case.size for case in wave) <= 1000
        assert len(wave) == 1 or {case.row.crew for case in wave} == {Crew.ONE}
