from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.content.manifests import Blob
from talm.agent.transfer.ranges import Ranges, gaps
from talm.agent.transfer.registry import digest_of
from talm.agent.transfer.spool import Spool

CONTENT = bytes(range(100))
BLOB = Blob(digest_of(CONTENT), len(CONTENT))


@given(
    size=st.integers(0, 300),
    prefix=st.integers(0, 300),
    pieces=st.lists(st.tuples(st.integers(0, 299), st.integers(0, 60)), max_size=6).map(sorted),
    at_most=st.integers(1, 100),
)
def test_gaps_and_what_is_held_are_the_blob_and_gaps_touch_nothing_that_is_held(
    size: int, prefix: int, pieces: list[tuple[int, int]], at_most: int
) -> None:
    prefix = min(prefix, size)
    pieces = [(start, min(length, size - start)) for start, length in pieces if start < size]
    held = set(range(prefix)).union(*(range(s, s + n) for s, n in pieces))
    found = list(gaps(size, prefix, pieces, at_most))
    missing = [byte for start, end in found for byte in range(start, end)]
    assert missing == sorted(set(range(size)) - held)
    assert all(0 < end - start <= at_most for start, end in found)


def test_ranges_taken_in_any_order_become_the_blob(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.partial(BLOB.digest).write_bytes(CONTENT[:10])
    spool.piece(BLOB.digest, 40).write_bytes(CONTENT[40:55])
    ranges = Ranges(spool, BLOB, 20)
    taken = []
    while ranges.open:
        taking = ranges.take()
        taken.append((taking, taking.__enter__()))
    assert [(start, end) for _, (start, end, _) in taken] == [
        (10, 30), (30, 40), (55, 75), (75, 95), (95, 100),
    ]  # fmt: skip
    assert spool.held(BLOB.digest) == 25
    for taking, (start, end, file) in reversed(taken):
        with file.open("ab") as target:
            target.write(CONTENT[start:end])
        taking.__exit__(None, None, None)
    assert spool.partial(BLOB.digest).read_bytes() == CONTENT
    assert spool.pieces(BLOB.digest) == []


@pytest.mark.parametrize("appended", [0, 7, 20, 30])
def test_a_piece_that_was_appended_in_part_when_we_were_killed_goes_on(
    tmp_path: Path, appended: int
) -> None:
    spool = Spool(tmp_path)
    spool.partial(BLOB.digest).write_bytes(CONTENT[: 30 + appended])
    spool.piece(BLOB.digest, 30).write_bytes(CONTENT[30:50])
    Ranges(spool, BLOB, 20)
    assert spool.partial(BLOB.digest).read_bytes() == CONTENT[: max(50, 30 + appended)]
    assert spool.pieces(BLOB.digest) == []


def one_run(spool: Spool, at_most: int, progress: list[int], killed: Path) -> int:
    """Take a range for each number and bring so many bytes of it; `killed` is what a kill leaves."""
    ranges, brought, open_ranges = Ranges(spool, BLOB, at_most), 0, []
    for amount in progress:
        if not ranges.open:
            break
        taking = ranges.take()
        start, end, file = taking.__enter__()
        open_ranges.append(taking)
        at = spool.prefix(BLOB.digest) if file == spool.partial(BLOB.digest) else start
        content = CONTENT[at : min(at + amount, end)]
        with file.open("ab") as target:
            target.write(content)
        brought += len(content)
    shutil.copytree(spool.directory, killed)
    for taking in open_ranges:
        taking.__exit__(None, None, None)
    return brought


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=5),
    st.integers(1, 40),
    st.booleans(),
)
def test_a_blob_that_is_interrupted_again_and_again_is_whole_and_no_byte_came_twice(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[list[int]],
    at_most: int,
    killed: bool,
) -> None:
    """`killed`: nothing was tidied up; else each run was ended by a signal."""
    spool, brought = Spool(tmp_path_factory.mktemp("spool")), 0
    for progress in [*runs, [100] * 100]:
        left = tmp_path_factory.mktemp("left") / "spool"
        brought += one_run(spool, at_most, progress, left)
        if killed:
            spool = Spool(left)
    spool.join(BLOB.digest, ())
    assert spool.partial(BLOB.digest).read_bytes() == CONTENT
    assert spool.held(BLOB.digest) == brought == len(CONTENT)


def test_a_piece_that_grows_is_not_joined_and_dropping_a_blob_drops_its_pieces(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    spool.piece(BLOB.digest, 0).write_bytes(CONTENT[:5])
    (tmp_path / f"{spool.partial(BLOB.digest).name}-x").write_bytes(b"not ours")
    spool.join(BLOB.digest, {0})
    assert spool.prefix(BLOB.digest) == 0
    spool.join(BLOB.digest, ())
    assert spool.prefix(BLOB.digest) == 5
    spool.piece(BLOB.digest, 50).write_bytes(CONTENT[50:])
    assert spool.held(BLOB.digest) == 55
    spool.drop(BLOB.digest)
    assert spool.held(BLOB.digest) == 0
