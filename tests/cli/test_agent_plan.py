"""`talm agent plan` as its reader sees it: a pipe, a table, help."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from talm.api.progress import EXIT_CODES, FailureClass
from talm.cli.agent import agent
from talm.sim.images import build_release
from tests.agent.faultyregistry import FaultyRegistry, serve


async def talm(*words: str, store: Path) -> tuple[int, str, str]:
    """Run `talm agent plan`; returns exit code, output, and what was logged."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "talm", "agent", *words),
        env={"TALM_STORE": f"oci-layout:{store}", "COLUMNS": "40"},
        cwd=store.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, logged = await process.communicate()
    return process.returncode or 0, output.decode(), logged.decode()


def served(registry: FaultyRegistry) -> list[str]:
    """A release with three components, one of which is cached by nobody; the release comes last."""
    return [registry.add(image) for image in build_release(registry.host, size_mib=0.3)]


def stored(directory: Path) -> list[Path]:
    return list(directory.glob("images/blobs/*/*"))


async def test_a_program_can_read_the_plan_from_a_pipe(tmp_path: Path) -> None:
    async with serve() as registry:
        *components, release = served(registry)
        store = tmp_path / "images"
        assert (await talm("pull", "--additional-image", components[0], store=store))[0] == 0
        words = ("plan", "--platform-image", release, "--exclude", "azure", "-o", "json")
        code, output, logged = await talm(*words, store=store)
        moved = registry.blob_bytes
    assert code == 0, logged
    plan = json.loads(output)
    assert {image["image"]: image["cached"] for image in plan["images"]} == {
        release: False, **{component: component == components[0] for component in components},
    }  # fmt: skip
    assert (plan["totals"]["images"], plan["totals"]["imagesCached"]) == (4, 1)
    assert "'azure' drops no image" in plan["warnings"][0]
    assert plan["failed"] == []
    assert moved < plan["totals"]["bytes"]


async def test_a_person_can_copy_an_image_from_the_plan_and_reads_units(tmp_path: Path) -> None:
    async with serve() as registry:
        *components, release = served(registry)
        code, output, _ = await talm("plan", "--platform-image", release, store=tmp_path / "images")
    assert code == 0
    head, *rows = output.splitlines()
    assert head.split() == ["STATE", "SIZE", "MIB", "MISSING", "MIB", "IMAGE"]
    assert {row.split()[-1] for row in rows[:4]} == {release, *components}
    assert all(row.startswith("missing ") for row in rows[:4])
    assert " 0.0 " not in "".join(rows[:4])
    assert rows[4] == "4 images, 0 of them cached; 12 of 12 blobs missing"
    assert rows[5].endswith("MiB of disk when unpacked")
    assert stored(tmp_path) == []


async def test_an_image_that_is_not_there_does_not_hide_the_plan_of_the_others(
    tmp_path: Path,
) -> None:
    async with serve() as registry:
        release = served(registry)[-1]
        absent = f"{registry.host}/a/b:1"
        words = ("plan", "--platform-image", release, "--additional-image", absent)
        code, output, logged = await talm(*words, store=tmp_path / "images")
        _, as_json, _ = await talm(*words, "-o", "json", store=tmp_path / "images")
    assert code == EXIT_CODES[FailureClass.IMAGE_NOT_FOUND]
    assert "4 images, 0 of them cached" in output
    assert f"ImageNotFound: manifest 1 of {registry.host}/a/b" in logged
    assert [failed["class"] for failed in json.loads(as_json)["failed"]] == ["ImageNotFound"]


async def test_who_waits_for_a_registry_is_told_what_for(tmp_path: Path) -> None:
    words = ("plan", "--additional-image", "127.0.0.1:9/a:1", "--retry-for", "1")
    code, output, logged = await talm(*words, store=tmp_path / "images")
    assert (code, output) == (EXIT_CODES[FailureClass.REGISTRY_UNREACHABLE], "")
    assert logged.count("trying again") >= 1
    assert "cannot connect to 127.0.0.1:9" in logged.partition("\n")[0]


def test_every_command_is_listed_with_a_whole_sentence() -> None:
    listed = CliRunner().invoke(agent, ["--help"], terminal_width=80).output
    assert all(name in listed for name in agent.commands)
    assert "..." not in listed.partition("Commands:")[2]


@pytest.mark.parametrize("name", sorted(agent.commands))
def test_every_option_says_what_it_is_for(name: str) -> None:
    options = [p for p in agent.commands[name].params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []
