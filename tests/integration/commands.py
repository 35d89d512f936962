"""The command line as a process, as a person or a script runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from talm.api.progress import RECORD_KEY, ProgressRecord

LONG_S = 60.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    def column(self, name: str) -> list[str]:
        """The words below a heading of the table, as long as no cell before it is empty."""
        lines = self.out.splitlines()
        head = next(i for i, line in enumerate(lines) if name in line.split())
        at = lines[head].index(name)
        return [line[at:].split("  ")[0].strip() for line in lines[head + 1 :]]


async def start(kubeconfig: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Start `talm ...`; the caller ends it."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "NO_PROXY": "127.0.0.1"}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "talm", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def talm(kubeconfig: Path, *arguments: str) -> Ended:
    """Run `talm ...` to its end."""
    process = await start(kubeconfig, *arguments)
    async with asyncio.timeout(LONG_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def pulling(done: float) -> Mapping[str, str]:
    """What the workload's ConfigMap holds, `done` from 0 to 1."""
    record = ProgressRecord(
        run="pod",
        phase="Downloading",
        images_done=int(done * 20),
        images_total=20,
        bytes_done=int(done * 4096),
        bytes_total=4096,
        bytes_per_s=100,
        eta_s=int((1 - done) * 40),
        current_image="quay.io/a/b@sha256:0123",
        lines=("03:04:05 phase Downloading",),
    )
    return {RECORD_KEY: msgspec.json.encode(record).decode()}
