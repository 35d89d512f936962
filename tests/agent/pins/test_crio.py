"""The file among CRI-O's configuration, judged by a CRI-O that reads as the documented one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.pins.base import PINNED
from talm.agent.pins.crio import DIRECTORY, OURS, CrioPins, effective_list
from talm.agent.stores.names import names_of
from talm.errors import AgentError
from tests.agent.pins.conftest import image_of, write
from tests.agent.pins.fakecrio import FakeCrio

A, B = image_of("a"), image_of("b")
NAME_A, NAME_B = names_of(A)[0], names_of(B)[0]
THEIRS = "registry.example/theirs*"
KEPT = "registry.example/theirs:1"


def pins_of(node: Path, crio: FakeCrio) -> CrioPins:
    return CrioPins(node, crio, patience_s=0.0)


@pytest.mark.parametrize(
    ("files", "counts"),
    [
        ({}, []),
        ({"crio.conf": ["a"]}, ["a"]),
        ({"crio.conf": ["a"], "crio.conf.d/10-crio.conf": ["b"]}, ["b"]),  # whole, not added
        ({"crio.conf": ["a"], "crio.conf.d/10-empty": []}, []),  # an empty list is one, too
        ({"crio.conf.d/10-a.conf": ["a"], "crio.conf.d/9-b.conf": ["b"]}, ["b"]),  # by name
        ({"crio.conf.d/50-pinned-images": ["a"]}, ["a"]),  # no ending is needed
        ({"crio.conf.d/10/a": ["a"], "crio.conf.d/05": ["b"]}, ["a"]),  # a directory at its place
        ({"crio.conf.d/10/a": ["a"], "crio.conf.d/20": ["b"]}, ["b"]),
        ({f"crio.conf.d/{OURS}": ["ours"], "crio.conf": ["a"]}, ["a"]),  # without what is ours
    ],
)
def test_the_last_list_counts_whole(
    node: Path, files: dict[str, list[str]], counts: list[str]
) -> None:
    for name, listed in files.items():
        write(node, name, *listed)
    assert effective_list(node) == counts


def test_a_file_that_sets_something_else_changes_no_list(node: Path) -> None:
    write(node, "crio.conf", "a")
    (node / DIRECTORY / "10-runtime.conf").write_text('[crio.runtime]\nlog_level = "debug"\n')
    assert effective_list(node) == ["a"]


@pytest.mark.parametrize("text", ["[crio", "[crio.image]\npinned_images = 1\n"])
async def test_a_configuration_that_cannot_be_read_is_left_alone(node: Path, text: str) -> None:
    crio = FakeCrio(node)
    (node / DIRECTORY / "10-damaged.conf").write_text(text)
    with pytest.raises(AgentError, match=r"10-damaged\.conf is damaged"):
        await pins_of(node, crio).expect([A])
    assert not (node / DIRECTORY / OURS).exists()


async def test_an_image_is_pinned_from_the_moment_of_its_import(node: Path) -> None:
    crio = FakeCrio(node)
    pins = pins_of(node, crio)
    await pins.expect([A, B])
    crio.images.add(NAME_A)
    assert await pins.pin(A) == PINNED
    assert crio.reloads == 1


async def test_what_others_pin_stays_pinned(node: Path) -> None:
    write(node, "crio.conf.d/10-crio.conf", THEIRS)
    crio = FakeCrio(node, KEPT, NAME_A)
    pins = pins_of(node, crio)
    await pins.expect([A])
    assert await pins.conclude([A]) == PINNED
    assert await crio.pinned() == {KEPT, NAME_A}
    assert await pins.release() == 1
    assert await crio.pinned() == {KEPT}
    assert not (node / DIRECTORY / OURS).exists()


async def test_a_run_s_pins_take_the_place_of_the_last_one_s_at_its_end(node: Path) -> None:
    crio = FakeCrio(node, NAME_A, NAME_B)
    for run in ([A], [B]):
        pins = pins_of(node, crio)
        await pins.expect(run)
        assert NAME_A in await crio.pinned()  # the first run's, until the second is through
        assert await pins.conclude(run) == PINNED
    assert await crio.pinned() == {NAME_B}


async def test_the_same_images_again_change_nothing(node: Path) -> None:
    crio = FakeCrio(node, NAME_A)
    for _ in range(2):
        pins = pins_of(node, crio)
        await pins.expect([A])
        assert await pins.conclude([A]) == PINNED
    assert crio.reloads == 1


async def test_a_later_file_that_lists_something_else_is_found_out(node: Path) -> None:
    write(node, "crio.conf.d/zzzz-last", THEIRS)
    crio = FakeCrio(node, NAME_A)
    pins = pins_of(node, crio)
    await pins.expect([A])
    verdict = await pins.conclude([A])
    assert verdict.pinned is False
    assert verdict.why == (
        f"CRI-O does not report 1 of 1 images as pinned, such as {NAME_A}; "
        "/etc/crio/crio.conf.d/zzzz-last is read later and has a list of its own"
    )


async def test_a_crio_that_reads_nothing_again_is_found_out(node: Path) -> None:
    pins = pins_of(node, FakeCrio(node, NAME_A, deaf=True))
    await pins.expect([A])
    assert (await pins.pin(A)).pinned is False


async def test_a_run_that_was_killed_while_it_wrote_leaves_nothing_that_counts(
    node: Path,
) -> None:
    (node / DIRECTORY / f"{OURS}.new").write_text("")
    crio = FakeCrio(node, NAME_A)
    pins = pins_of(node, crio)
    await pins.expect([A])
    assert [file.name for file in (node / DIRECTORY).iterdir()] == [OURS]
    assert await pins.pin(A) == PINNED


async def test_where_nothing_was_pinned_nobody_is_told_to_read_again(node: Path) -> None:
    crio = FakeCrio(node)
    assert await pins_of(node, crio).release() == 0
    assert crio.reloads == 0
