"""That the library writes such files is for test_containers_storage.py."""

from __future__ import annotations

import base64
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from talm.agent.stores.unpacked import NotThere, assemble
from talm.agent.transfer.registry import digest_of


def split(directory: Path, *entries: dict[str, Any]) -> Path:
    file = directory / "layer.tar-split.gz"
    file.write_bytes(gzip.compress(b"".join(json.dumps(e).encode() + b"\n" for e in entries)))
    return file


def some_bytes(content: bytes) -> dict[str, Any]:
    return {"type": 2, "payload": base64.b64encode(content).decode(), "position": 0}


def a_file(name: str, size: int, **more: str) -> dict[str, Any]:
    return {"type": 1, "name": name, "size": size, "payload": "Y3JjNjQ=", "position": 1, **more}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "usr").mkdir(parents=True)
    (tree / "usr/a").write_bytes(b"content")
    return tree


def test_bytes_and_files_follow_each_other(tree: Path, tmp_path: Path) -> None:
    entries = [some_bytes(b"header"), a_file("./usr/a", 7), some_bytes(b"end"), a_file("usr", 0)]
    target = tmp_path / "layer.tar"
    digest = assemble(split(tmp_path, *entries), tree, target)
    assert target.read_bytes() == b"headercontentend"
    assert digest == digest_of(b"headercontentend")


def test_a_name_may_be_any_bytes(tree: Path, tmp_path: Path) -> None:
    raw = b"usr/\xff"
    Path(os.fsdecode(bytes(tree) + b"/" + raw)).write_bytes(b"x")
    entry = a_file("", 1, name_raw=base64.b64encode(raw).decode())
    target = tmp_path / "layer.tar"
    assemble(split(tmp_path, entry), tree, target)
    assert target.read_bytes() == b"x"


@pytest.mark.parametrize("name", ["gone", "usr/a", "usr", "fifo", "link", "usr/a/b", "a\0b"])
def test_what_is_not_the_file_that_was_unpacked_ends_it(
    tree: Path, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tree / "fifo")
    (tree / "link").symlink_to("usr/a")
    with pytest.raises(NotThere):
        assemble(split(tmp_path, a_file(name, 8)), tree, tmp_path / "layer.tar")


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"no json\n"),
        gzip.compress(b'{"type": 2, "payload": "x"}\n'),
        gzip.compress(b'{"type": 2}\n' * 1000)[:-20],
    ],
    ids=["no gzip", "no json", "no base64", "cut"],  # gzip's bytes have the time in them
)
def test_a_damaged_list_ends_it(tree: Path, tmp_path: Path, content: bytes) -> None:
    damaged = tmp_path / "layer.tar-split.gz"
    damaged.write_bytes(content)
    with pytest.raises(NotThere):
        assemble(damaged, tree, tmp_path / "layer.tar")


def test_a_layer_without_a_list_is_not_there(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(NotThere):
        assemble(tmp_path / "none.gz", tree, tmp_path / "layer.tar")
