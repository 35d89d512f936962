from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from bench.contenders import CONTENDERS, LAYOUT, Place
from bench.edgelink import Link
from bench.origin import Traffic
from bench.running import Case, Result
from bench.spoke import Choice, parse_link, row

from bench import contenders, release, tree

LINK = Link(rate_mbit=8, rtt_ms=40)
TALM = CONTENDERS[0]


def choice(**flags: object) -> Choice:
    unset = {"links": (), "stores": (), "conditions": (), "by": "", "size_mb": None, "images": None}
    return Choice(**{"short": False, "limit_s": 60.0, **unset, **flags})  # type: ignore[arg-type]


def test_everything_is_compared_unless_something_is_chosen() -> None:
    assert len(choice().cases()) == 3 * 5 * len(CONTENDERS)
    chosen = choice(links=[LINK], stores=["containerd"], conditions=["flapping"], by="ctr").cases()
    assert {case.contender.store for case in chosen} == {"containerd"}
    assert {case.link.down_s for case in chosen} == {30.0}
    assert len(chosen) == 2


def test_a_short_run_has_one_link_and_every_store() -> None:
    cases = choice(short=True).cases()
    assert {case.link.name for case in cases} == {"50 Mbit/s 40 ms"}
    assert {case.contender.store for case in cases} == set(contenders.STORES)
    assert [case.condition for case in cases].count("kill") == 1


def test_a_link_is_read_or_refused() -> None:
    assert parse_link("20/60") == Link(20, 60)
    for text in ("20", "a/b", "0/10", "20/-1", ""):
        with pytest.raises(click.BadParameter):
            parse_link(text)


def test_the_row_of_a_run_has_time_over_the_ideal_and_bytes_over_the_unique_ones() -> None:
    peaks = tree.Peaks(root_mb=41.2, tree_mb=80.6)
    traffic = Traffic(blobs=11_000_000, spoiled=500_000, link=12_000_000)
    result = Result(Case(LINK, "steady", TALM), 12.0, traffic, 3.21, peaks)
    assert row(result, unique=10_000_000)[4:] == [
        "12.0", "1.20", "1.050", "1.200", "3.2", "81 / 41", "",
    ]  # fmt: skip


def test_the_row_after_a_kill_compares_the_second_run_with_what_was_missing() -> None:
    result = Result(Case(LINK, "kill", TALM), second=5_100_000, missing=5_000_000)
    assert row(result, unique=10_000_000)[-1] == "1.020"


def test_the_row_of_a_failure_says_why() -> None:
    result = Result(Case(LINK, "steady", TALM), failed="exit code 1: so")
    assert row(result, unique=10)[-1] == "exit code 1: so"


def test_a_release_has_the_size_that_was_asked_for_and_images_that_share() -> None:
    made = release.build("registry:5000", size_mb=2, components=5)
    assert made.unique_bytes == pytest.approx(2_000_000, rel=0.15)
    assert len(made.digests) == len(made.references) == 6
    summed = sum(len(blob) for image in made.images for blob in image.blobs.values())
    assert summed > 1.3 * made.unique_bytes
    assert made.references == release.build("registry:5000", size_mb=2, components=5).references


def test_a_place_has_files_that_the_programs_can_read(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path / "s")
    place.prepare("registry:5000")
    for name in ("storage.conf", "containerd.toml", "node/etc/containers/registries.conf"):
        assert tomllib.loads((tmp_path / name).read_text())


async def test_a_layout_is_asked_by_its_index(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path / "s")
    place.layout.mkdir()
    (place.layout / "index.json").write_text('{"manifests": [{"digest": "sha256:a"}]}')
    assert await contenders.listed(LAYOUT, place) == {"sha256:a"}


def _loop(tmp_path: Path, program: str, *, batch: int) -> subprocess.CompletedProcess[str]:
    one = tmp_path / "one"
    one.write_text(f"#!/bin/bash\ncd {tmp_path}\n{program}\n")
    one.chmod(0o755)
    loop = contenders.loop("loop", LAYOUT, str(one), batch=batch, width=2)
    command = loop.command(Place(tmp_path, tmp_path), ["a", "b", "c", "d", "e"])
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


@pytest.mark.parametrize("batch", [2, 1000])
def test_a_loop_pulls_every_image_and_tries_again(tmp_path: Path, batch: int) -> None:
    program = 'if [[ $1 == b && ! -e seen ]]; then touch seen; exit 1; fi; echo "$1" >>done'
    assert _loop(tmp_path, program, batch=batch).returncode == 0
    assert sorted((tmp_path / "done").read_text().split()) == ["a", "b", "c", "d", "e"]


def test_a_tree_is_seen_measured_and_killed() -> None:
    script = "sleep 60 & echo begun; wait"
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        found = tree.descendants([process.pid])
        assert len(found) == 2
        assert tree.memory_mb(process.pid)[0] > 0
        tree.kill(process.pid)
        assert process.wait() < 0
    assert tree.cpu_s(process.pid) == 0.0
    assert tree.descendants([os.getpid()]) >= {os.getpid()}


def test_help_says_how_to_run_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.spoke", "--help"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "--short" in done.stdout
