"""Reading kubectl's tables by their headers."""

from __future__ import annotations

from talm.sim.plane.kubectltables import read_tables


def test_columns_are_found_by_their_header_wherever_they_are() -> None:
    (table,) = read_tables("NAME    STATUS   COMPLETIONS\njob/a   Failed   0/1\n")
    assert table.headers == ("NAME", "STATUS", "COMPLETIONS")
    assert table.rows == ({"NAME": "job/a", "STATUS": "Failed", "COMPLETIONS": "0/1"},)


def test_cells_may_be_empty_and_may_hold_blanks() -> None:
    text = "NAME  STATE       DETAILS\na                 Precaching in progress\nb     Completed\n"
    (table,) = read_tables(text)
    assert [row["STATE"] for row in table.rows] == ["", "Completed"]
    assert [row["DETAILS"] for row in table.rows] == ["Precaching in progress", ""]


def test_a_header_of_two_words_is_one_column() -> None:
    (table,) = read_tables("NAME  LAST SEEN  TYPE\na     5s         Normal\n")
    assert table.headers == ("NAME", "LAST SEEN", "TYPE")


def test_several_kinds_are_several_tables() -> None:
    jobs, pods = read_tables("NAME   AGE\njob/a  1s\n\nNAME   READY\npod/a  1/1\npod/b  0/1\n")
    assert jobs.rows == ({"NAME": "job/a", "AGE": "1s"},)
    assert [row["READY"] for row in pods.rows] == ["1/1", "0/1"]


def test_no_output_is_no_table() -> None:
    assert read_tables("\n") == ()
