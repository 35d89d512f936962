"""SIGTERM while a run is busy with one thing or another: last words, exit code, nobody left behind."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from talm.api.progress import EXIT_CODES, FailureClass
from talm.sim.images import build_image
from tests.agent.conftest import until
from tests.agent.faultyregistry import Answers, FaultyRegistry, Stalls, serve

IMAGE = build_image("a/b", [{"file": random.Random(1).randbytes(100_000)}])
LAYER = max(IMAGE.blobs, key=lambda digest: len(IMAGE.blobs[digest]))
# 5 s are the rule, and a timer of the process sees to it; the rest is for a busy machine.
PATIENCE_S = 15.0


@pytest.fixture
async def registry() -> AsyncIterator[FaultyRegistry]:
    async with serve() as registry:
        yield registry


class Run:
    """A run as a process, with its last words in a file."""

    def __init__(self, directory: Path, image: str) -> None:
        self._image = image
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *program: str, **environment: str) -> None:
        known = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._directory),
            "TALM_STORE": f"oci-layout:{self._directory / 'images'}",
            "TALM_SPOOL": str(self._directory / "spool"),
            "TALM_TERMINATION_LOG": str(self._directory / "last-words"),
            "TALM_ADDITIONAL_IMAGES": self._image,
        }
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *(program or ("-m", "talm")), "agent", "pull"),
            env=known | environment,
            cwd=self._directory,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def end(self, when: Callable[[], bool]) -> str:
        """Send SIGTERM at that moment; returns the last words of a run that was interrupted."""
        process = self._process
        assert process

        def is_time() -> bool:
            assert process.returncode is None, "it was through before it could be ended"
            return when()

        await until(is_time)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), PATIENCE_S)
        assert code == EXIT_CODES[FailureClass.INTERRUPTED]
        return await asyncio.to_thread((self._directory / "last-words").read_text)


@pytest.fixture
def run(registry: FaultyRegistry, tmp_path: Path) -> Run:
    return Run(tmp_path, registry.add(IMAGE))


async def test_while_it_resolves(run: Run, registry: FaultyRegistry) -> None:
    registry.fails("/manifests/", *[Answers(503, (("Retry-After", "60"),))] * 9)
    await run.start()
    words = await run.end(lambda: bool(registry.asked))
    assert words.startswith("Interrupted: ended by a signal")


async def test_while_it_downloads(run: Run, registry: FaultyRegistry, tmp_path: Path) -> None:
    registry.fails(LAYER, Stalls(50_000))
    await run.start()
    partial = tmp_path / "spool" / f"{LAYER.replace(':', '-')}.partial"
    words = await run.end(lambda: partial.exists() and partial.stat().st_size > 0)
    assert "0 of 1 images" in words
    assert partial.stat().st_size > 0


SKOPEO = """\
#!/bin/sh
case "$*" in *copy*) echo $$ >{pid}; exec sleep 1000;; esac
exec {skopeo} "$@"
"""


async def test_while_a_program_imports(run: Run, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("no skopeo: 'make test-tools' installs it on Debian")
    programs, pid = tmp_path / "bin", tmp_path / "pid"
    programs.mkdir()
    (programs / "skopeo").write_text(SKOPEO.format(pid=pid, skopeo=skopeo))
    (programs / "skopeo").chmod(0o755)
    conf = tmp_path / "storage.conf"
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\n')
    await run.start(
        PATH=f"{programs}:{os.environ['PATH']}",
        TALM_STORE="containers-storage",
        CONTAINERS_STORAGE_CONF=str(conf),
    )
    await run.end(lambda: pid.exists() and pid.read_text().endswith("\n"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not list((tmp_path / "spool").glob(".import-*"))


HASHING = """
import asyncio, time
from talm.agent.stores.oci_layout import OciLayout
from talm.cli.main import main

async def has(self, image):
    (self.directory / "asked").touch()
    await asyncio.to_thread(time.sleep, 60)  # a disk that answers when it likes

OciLayout.has = has
main()
"""


async def test_while_it_asks_a_store_that_does_not_answer(run: Run, tmp_path: Path) -> None:
    await run.start("-c", HASHING)
    words = await run.end((tmp_path / "images" / "asked").exists)
    assert "1 of 1 images" in words
