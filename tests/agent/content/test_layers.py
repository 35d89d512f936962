from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.content.archive import BadLayer, Limits
from talm.agent.content.layers import Overlay

from ..archives import DIRECTORY, HARD_LINK, LINK, Content, layer

SMALL = Limits(unpacked=1 << 20, entries=100, file=1 << 16)


def shown(directory: Path, root: str, layers: Sequence[Mapping[str, Content]]) -> dict[str, bytes]:
    """What a stack (bottom layer first) shows at and below `root`."""
    overlay = Overlay(root)
    found = {}
    for number, files in reversed(list(enumerate(layers))):
        if overlay.is_closed:
            break
        for member in overlay.visible(layer(directory, files, str(number)), SMALL):
            found[member.path] = member.content(SMALL.file)
    return found


STACKS: dict[str, tuple[list[Mapping[str, Content]], dict[str, bytes]]] = {
    "the upper file counts": ([{"c/a": b"1"}, {"c/a": b"2"}], {"c/a": b"2"}),
    "layers are laid over each other": (
        [{"c/a": b"1"}, {"c/b": b"2"}],
        {"c/a": b"1", "c/b": b"2"},
    ),
    "a whiteout hides": ([{"c/a": b"1", "c/b": b"1"}, {"c/.wh.a": b""}], {"c/b": b"1"}),
    "a whiteout hides a directory": ([{"c/d/a": b"1"}, {"c/.wh.d": b""}], {}),
    "a whiteout hides the root itself": ([{"c/a": b"1"}, {".wh.c": b""}], {}),
    "an opaque directory hides all below": (
        [{"c/a": b"1", "c/d/b": b"1"}, {"c/.wh..wh..opq": b"", "c/n": b"2"}],
        {"c/n": b"2"},
    ),
    "opaque holds for its own directory": (
        [{"c/a": b"1", "c/d/b": b"1"}, {"c/d/.wh..wh..opq": b""}],
        {"c/a": b"1"},
    ),
    "an opaque root of the image hides all": ([{"c/a": b"1"}, {".wh..wh..opq": b""}], {}),
    "whiteouts do not hide their own layer": (
        [{"c/a": b"1"}, {"c/a": b"2", "c/.wh.a": b""}],
        {"c/a": b"2"},
    ),
    "what came after a whiteout is seen": (
        [{"c/a": b"1"}, {"c/.wh.a": b""}, {"c/a": b"3"}],
        {"c/a": b"3"},
    ),
    "a file hides a directory": ([{"c/d/a": b"1"}, {"c/d": b"2"}], {"c/d": b"2"}),
    "a directory hides a file": ([{"c/d": b"1"}, {"c/d": (DIRECTORY, "")}], {}),
    "an implied directory hides a file": ([{"c/d": b"1"}, {"c/d/a": b"2"}], {"c/d/a": b"2"}),
    "others are of no interest": ([{"cc/a": b"1", "x": (LINK, "/"), "c/a": b"1"}], {"c/a": b"1"}),
    "aufs keeps books": ([{"c/a": b"1"}, {"c/.wh..wh.plnk": b""}], {"c/a": b"1"}),
    "the root is a file above": ([{"c/a": b"1"}, {"c": b"2"}], {"c": b"2"}),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_shows_what_a_runtime_would_show(tmp_path: Path, name: str) -> None:
    layers, expected = STACKS[name]
    assert shown(tmp_path, "c", layers) == expected


def test_a_file_in_the_place_of_a_directory_above_the_root_is_not_shown(tmp_path: Path) -> None:
    assert shown(tmp_path, "a/b", [{"a/b": b"1"}, {"a": b"2"}]) == {}


PATHS = st.sampled_from(["c/a", "c/d/a", "c/d/b", "c/e", "x/a"])
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["write", "remove", "opaque"]), PATHS), min_size=1, max_size=4
)


@given(st.lists(ACTIONS, min_size=1, max_size=4))
def test_any_stack_shows_what_unpacking_it_would_leave(
    tmp_path_factory: pytest.TempPathFactory, history: list[list[tuple[str, str]]]
) -> None:
    unpacked: dict[str, Content] = {}
    layers: list[dict[str, Content]] = []
    for number, actions in enumerate(history):
        files: dict[str, Content] = {}
        for action, path in actions:
            where, _, name = path.rpartition("/")
            if action == "remove":
                files[f"{where}/.wh.{name}"] = b""
                unpacked.pop(path, None)
            elif action == "opaque":
                files[f"{where}/.wh..wh..opq"] = b""
                for old in [p for p in unpacked if p.startswith(f"{where}/")]:
                    del unpacked[old]
        written: dict[str, Content] = {
            path: f"{number}".encode() for action, path in actions if action == "write"
        }
        layers.append(files | written)
        unpacked |= written
    wanted = {path: body for path, body in unpacked.items() if path.startswith("c/")}
    assert shown(tmp_path_factory.mktemp("stack"), "c", layers) == wanted


@pytest.mark.parametrize(
    "files",
    [
        {"../c/a": b"out"},
        {"c/../../a": b"out"},
        {"/../a": b"out"},
        {"x/../../../etc/passwd": (LINK, "/")},
    ],
    ids=str,
)
def test_a_path_that_leads_out_refuses_the_layer(
    tmp_path: Path, files: Mapping[str, Content]
) -> None:
    with pytest.raises(BadLayer, match="leads out of the layer"):
        shown(tmp_path, "c", [files])


@pytest.mark.parametrize(
    "files",
    [
        {"c": (LINK, "/etc")},
        {"c/a": (LINK, "../../etc/shadow")},
        {"c/a": (HARD_LINK, "etc/shadow")},
        {"c/d": (LINK, "x")},
    ],
    ids=str,
)
def test_a_link_where_something_is_looked_for_is_refused(
    tmp_path: Path, files: Mapping[str, Content]
) -> None:
    with pytest.raises(BadLayer, match="is a link, which is not followed"):
        shown(tmp_path, "c", [files])


def test_a_link_above_the_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadLayer, match="a is a link"):
        shown(tmp_path, "a/b", [{"a": (LINK, "/etc")}])


def test_a_hidden_link_does_not_matter(tmp_path: Path) -> None:
    assert shown(tmp_path, "c", [{"c/a": (LINK, "/")}, {"c/a": b"file"}]) == {"c/a": b"file"}


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for body in (b"1", b"2"):
            entry = tarfile.TarInfo("c/a")
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    (tmp_path / "twice").write_bytes(target.getvalue())
    with pytest.raises(BadLayer, match="lists c/a twice"):
        list(Overlay("c").visible(tmp_path / "twice", SMALL))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with pytest.raises(BadLayer, match="too large when unpacked"):
        shown(tmp_path, "c", [{"x": bytes(4 << 20), "c/a": b"never reached"}])


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadLayer, match="c/a has 70000 bytes"):
        shown(tmp_path, "c", [{"c/a": bytes(70_000)}])


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadLayer, match="more than 100 entries"):
        shown(tmp_path, "c", [{f"x{n}": b"" for n in range(101)}])


def test_paths_beyond_what_is_kept_in_mind_are_refused(tmp_path: Path) -> None:
    """Directories too: a path of many implies them all."""
    few = Limits(names=50_000)
    for name, files in {
        "files": {f"c/{n:04}": b"" for n in range(9000)},
        "deep": {"c/" + "d/" * 500 + f"{n}": b"" for n in range(20)},
        "hidden": {f"c/.wh.{n:04}": b"" for n in range(9000)},
    }.items():
        overlay = Overlay("c")
        with pytest.raises(BadLayer, match="paths have more than 50000 characters"):
            for _ in overlay.visible(layer(tmp_path, files, name), few):
                pass


def test_paths_of_several_layers_count_together(tmp_path: Path) -> None:
    overlay, few = Overlay("c"), Limits(names=30_000)
    with pytest.raises(BadLayer, match="paths have more than"):
        for number in range(9):
            files: dict[str, Content] = {f"c/{number}-{n:04}": b"" for n in range(600)}
            list(overlay.visible(layer(tmp_path, files, str(number)), few))


def test_an_implied_directory_above_a_listed_one_hides_a_file_too(tmp_path: Path) -> None:
    upper: Mapping[str, Content] = {"c/d/e": (DIRECTORY, ""), "c/d/e/a": b"2"}
    assert shown(tmp_path, "c", [{"c/d": b"1"}, upper]) == {"c/d/e/a": b"2"}
