"""One run of one contender behind its link: started, watched, killed, counted, cleared away."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import contenders, tree
from bench.contenders import Contender, Place
from bench.edgelink import Edge, Link
from bench.origin import SOME_FAULTS, Faults, Origin, Traffic
from bench.release import Release
from talm.errors import AgentError, SetupError
from talm.sim.plane.processes import Child, wait_until


@dataclasses.dataclass(frozen=True)
class Case:
    """One run of one contender."""

    link: Link
    condition: str
    contender: Contender

    @property
    def name(self) -> str:
        """For a line of progress."""
        c = self.contender
        return f"{self.link.name}, {self.condition}: {c.name} into {c.store}"


@dataclasses.dataclass
class Result:
    """What came out; `second` of `missing` bytes: what a run after the kill brought.

    `failed`: why the figures say nothing.
    """

    case: Case
    wall_s: float = 0.0
    traffic: Traffic = dataclasses.field(default_factory=lambda: Traffic(0, 0, 0))
    cpu_s: float = 0.0
    peaks: tree.Peaks = dataclasses.field(default_factory=tree.Peaks)
    second: int = 0
    missing: int = 0
    failed: str = ""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all runs share."""

    directory: Path
    origin: Origin
    release: Release
    limit_s: float


async def measure(bench: Bench, case: Case) -> Result:
    """One run in a fresh store behind a fresh link; a failure is in the result."""
    result = Result(case)
    if lacking := case.contender.lacks():
        result.failed = f"skipped: {lacking}"
        return result
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=bench.directory))
    place = Place(directory, bench.directory / "containerd.sock")
    place.prepare(bench.release.registry)
    bench.origin.reset(SOME_FAULTS if case.condition == "faults" else Faults())
    try:
        with Edge(case.link) as edge:
            async with _daemon(case, edge, place) as daemon:
                run = _Run(bench, case, edge, place, daemon)
                await (run.killed(result) if case.condition == "kill" else run.whole(result))
    except (AgentError, SetupError, TimeoutError) as exc:
        result.failed = str(exc) or f"not done after {bench.limit_s:g} s"
    finally:
        _remove(directory)
    return result


@asynccontextmanager
async def _daemon(case: Case, edge: Edge, place: Place) -> AsyncIterator[list[int]]:
    """Run containerd at the far end where the store is its; yields its process id, or none."""
    if case.contender.store != contenders.CONTAINERD:
        yield []
        return
    config = place.directory / "containerd.toml"
    child = Child(
        "containerd",
        [*edge.spoke, "containerd", "--config", str(config)],
        log=place.directory / "containerd.log",
        cwd=place.directory,
    )
    child.start()
    try:

        async def listens() -> bool:
            return place.socket.exists()

        await wait_until(listens, [child], what="waiting for containerd")
        yield [child.pid]
    finally:
        await child.stop()
        place.socket.unlink(missing_ok=True)


class _Run:
    """One contender at work behind its link."""

    def __init__(
        self, bench: Bench, case: Case, edge: Edge, place: Place, daemon: list[int]
    ) -> None:
        self._bench, self._case, self._edge, self._place = bench, case, edge, place
        self._daemon = daemon

    async def whole(self, result: Result) -> None:
        """Run to the end and fill in the figures."""
        self._edge.begin()
        daemon_s = sum(tree.cpu_s(pid) for pid in self._daemon)
        began = time.monotonic()
        async with asyncio.timeout(self._bench.limit_s):
            process = self._start()
            try:
                async with tree.watched(process.pid, self._daemon) as result.peaks:
                    result.cpu_s, code = await _end(process)
            finally:
                await self._kill(process)
            await self._check(code)
        result.wall_s = time.monotonic() - began
        result.cpu_s += sum(tree.cpu_s(pid) for pid in self._daemon) - daemon_s
        origin = self._bench.origin
        result.traffic = Traffic(origin.blob_bytes, origin.spoiled_bytes, self._edge.received())

    async def killed(self, result: Result) -> None:
        """Kill it at half of the bytes, run it again, count what the second run brings."""
        unique = self._bench.release.unique_bytes
        process = self._start()
        try:
            async with asyncio.timeout(self._bench.limit_s):
                while (held := self._edge.received()) < unique / 2:
                    if process.poll() is not None:
                        raise SetupError("it ended before it was killed")
                    await asyncio.sleep(0.02)
        finally:
            await self._kill(process)
        link = self._case.link
        await asyncio.sleep((link.rtt_ms + link.queue_ms) / 500)  # the rest arrives, for nobody
        first = self._edge.received()
        second = Result(self._case)
        await self.whole(second)
        result.second = second.traffic.link - first
        result.missing = unique - held
        result.wall_s, result.cpu_s, result.peaks = second.wall_s, second.cpu_s, second.peaks

    def _start(self) -> subprocess.Popen[bytes]:
        command = self._case.contender.command(self._place, self._bench.release.references)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._edge.spoke, *command],
                env={**os.environ, **self._place.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def _log(self) -> Path:
        return self._place.directory / "contender.log"

    async def _check(self, code: int) -> None:
        digests = self._bench.release.digests
        if code:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SetupError(f"exit code {code}: {' '.join(last)[-200:]}")
        absent = digests - await contenders.listed(self._case.contender.store, self._place)
        if absent:
            raise SetupError(f"{len(absent)} of {len(digests)} images are not listed")

    @staticmethod
    async def _kill(process: subprocess.Popen[bytes]) -> None:
        if process.returncode is None:
            tree.kill(process.pid)
            await asyncio.to_thread(process.wait)


async def _end(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Wait for a process; returns the CPU time of its tree, in seconds, and its exit code."""
    while (spent_s := _reap(process)) is None:  # noqa: ASYNC110 - wait4 knows no event
        await asyncio.sleep(0.01)
    return spent_s, process.returncode


def _reap(process: subprocess.Popen[bytes]) -> float | None:
    """Return what an ended process and its children have used, in seconds; None: it runs."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def _remove(directory: Path) -> None:
    """Remove a run's stores; mounts in them first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{directory}/")]):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(directory, ignore_errors=True)
