"""The command as a process: flags, environment, exit code, signals."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from talm.api.progress import EXIT_CODES, FailureClass
from talm.sim.images import SyntheticImage, build_image
from tests.agent.faultyregistry import FaultyRegistry, Stalls, serve

RELEASE = build_image("openshift-release/release", [{"file": bytes(1 << 20)}, {"b": b"b"}])


async def start(tmp_path: Path, *args: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "talm", "agent", *args),
        env={"TALM_STORE": f"oci-layout:{tmp_path / 'images'}", **environment},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def end_of(process: asyncio.subprocess.Process) -> tuple[int, str]:
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("command", [(), ("pull",)])
async def test_pulling_is_what_the_command_does_by_default(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    async with serve() as registry:
        image = registry.add(RELEASE)
        code, output = await end_of(await start(tmp_path, *command, "--additional-image", image))
    assert code == 0, output
    assert (tmp_path / "images/blobs" / RELEASE.digest.replace(":", "/")).exists()


async def test_the_environment_says_what_flags_say(tmp_path: Path) -> None:
    config, last_words = tmp_path / "config", tmp_path / "last"
    config.mkdir()
    (config / "additionalImages").write_text("no image")
    environment = {"TALM_CONFIG": str(config), "TALM_TERMINATION_LOG": str(last_words)}
    code, output = await end_of(await start(tmp_path, **environment))
    assert code == EXIT_CODES[FailureClass.INVALID_SPEC], output
    assert last_words.read_text().startswith("InvalidSpec: additionalImages, line 1:")


async def test_sigterm_ends_the_run_as_interrupted(tmp_path: Path) -> None:
    async with serve() as registry:
        image = registry.add(RELEASE)
        stall_all(registry, RELEASE)
        process = await start(tmp_path, "--additional-image", image)
        while not any("/blobs/" in path for path in registry.asked):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        code, output = await end_of(process)
    assert code == EXIT_CODES[FailureClass.INTERRUPTED], output


async def test_a_run_that_nobody_ends_at_the_jobs_deadline_ends_itself(tmp_path: Path) -> None:
    async with serve() as registry:
        image = registry.add(RELEASE)
        stall_all(registry, RELEASE)
        process = await start(tmp_path, "--additional-image", image, TALM_JOB_DEADLINE="1")
        code, output = await end_of(process)
    assert code == EXIT_CODES[FailureClass.PARTLY_CACHED], output
    assert "waiting to be ended" in output


HANGING = """
import time
from talm.agent import main
from talm.cli.main import main as talm

async def pull(settings, progress, deadline):
    print("hangs", flush=True)
    time.sleep(1)
    import asyncio
    await asyncio.to_thread(time.sleep, 60)  # a thread that nobody can end

main.pull = pull
talm()
"""


async def test_a_process_that_hangs_ends_all_the_same(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANGING, "agent", "pull"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    while b"hangs" not in await process.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    code, output = await asyncio.wait_for(end_of(process), 30)
    assert code == EXIT_CODES[FailureClass.INTERRUPTED], output


def stall_all(registry: FaultyRegistry, image: SyntheticImage) -> None:
    for digest in image.blobs:
        registry.fails(digest, Stalls(10))


async def test_a_wrong_flag_is_the_command_lines_own_error(tmp_path: Path) -> None:
    code, output = await end_of(await start(tmp_path, "--no-such-flag"))
    assert code == 2
    assert "--no-such-flag" in output


async def test_unpinning_says_how_many_names_were_pinned(tmp_path: Path) -> None:
    assert await end_of(await start(tmp_path, "unpin")) == (0, "0 names unpinned\n")


async def test_unpinning_where_no_store_answers_fails_in_its_class(tmp_path: Path) -> None:
    store = f"containerd:{tmp_path}/none.sock"
    code, output = await end_of(await start(tmp_path, "unpin", "--store", store))
    assert code == EXIT_CODES[FailureClass.STORE_FAILED]
    assert (
        output
        == f"talm agent unpin: StoreFailed: {tmp_path}/none.sock: no containerd listens there\n"
    )


async def test_cleaning_says_what_it_freed(tmp_path: Path) -> None:
    spool = tmp_path / "images" / ".spool"
    spool.mkdir(parents=True)
    (spool / "sha256-0.partial").write_bytes(bytes(3 << 20))
    code, output = await end_of(await start(tmp_path, "clean"))
    assert (code, output) == (0, f"{spool}: 1 files, 3.0 MiB freed\n")
    assert not list(spool.glob("sha256*"))
