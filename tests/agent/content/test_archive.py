from __future__ import annotations

import contextlib
import gzip
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.content.archive import BadLayer, Limits, members

from ..archives import DIRECTORY, FIFO, layer, tar

SMALL = Limits(unpacked=1 << 20, entries=100, file=1 << 16)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_are_read_whatever_the_archives_format_is(tmp_path: Path, form: int) -> None:
    long = "a/" * 60 + "file"
    file = tmp_path / "plain"
    file.write_bytes(tar({"./x/y": b"one", long: b"x" * 700, "/abs": b""}, form=form))
    found = {member.path: member.content(1000) for member in members(file, SMALL)}
    assert found == {"x/y": b"one", long: b"x" * 700, "abs": b""}


def test_what_is_not_read_is_skipped(tmp_path: Path) -> None:
    file = layer(tmp_path, {"a": b"x" * 1000, "b": b"y", "dir": (DIRECTORY, ""), "p": (FIFO, "")})
    assert [member.path for member in members(file, SMALL)] == ["a", "b", "dir", "p"]


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


def pax(record: bytes) -> bytes:
    return header(tarfile.XHDTYPE, len(record)) + record + bytes(-len(record) % 512)


MALFORMED = {
    "no archive": b"x" * 512,
    "half a header": b"x" * 100,
    "an end in the middle": header(tarfile.REGTYPE, 1000),
    "an endless header": header(tarfile.XHDTYPE, 1 << 40),
    "a negative header": header(tarfile.GNUTYPE_LONGNAME, -1),
    "a negative size": header(tarfile.REGTYPE, -512),
    "a negative size in pax": pax(b"11 size=-1\n") + header(tarfile.REGTYPE, 0),
    "a pax record without a length": pax(b"size=1\n"),
    "a pax record that is too long": pax(b"99 size=1\n"),
    "a pax record of nothing": pax(b"0 size=1\n"),
    "a pax record without a value": pax(b"7 size\n"),
    "a sparse file": header(tarfile.GNUTYPE_SPARSE, 0),
    "a sparse file in pax": pax(b"22 GNU.sparse.major=1\n") + header(tarfile.REGTYPE, 0),
    "a path beyond Linux's": pax(b"5014 path=" + b"x" * 5003 + b"\n") + header(tarfile.REGTYPE, 0),
    "half a gzip": gzip.compress(tar({"c/a": b"1"}))[:-20],
    "a damaged gzip": gzip.compress(bytes(5000))[:15] + b"\xff" * 10,
    "zstd nonsense": b"\x28\xb5\x2f\xfd" + bytes(20),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_layers_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "bad").write_bytes(MALFORMED[name])
    with pytest.raises(BadLayer):
        for member in members(tmp_path / "bad", SMALL):
            member.content(SMALL.file)


@given(st.binary(max_size=1500))
def test_any_bytes_are_a_layer_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("any") / "layer"
    file.write_bytes(content)
    with contextlib.suppress(BadLayer):
        list(members(file, SMALL))


def test_headers_that_nobody_reads_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Extended headers add up until an entry comes; one that never comes would end the node."""
    value = b"x" * 1_000_000
    file = tmp_path / "headers"
    with file.open("wb") as target:
        for number in range(40):
            target.write(pax(b"1000015 %05d=%s\n" % (number, value)))
        target.write(header(tarfile.REGTYPE, 0, "c"))
    tracemalloc.start()
    try:
        assert [member.path for member in members(file, Limits())] == ["c"]
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
