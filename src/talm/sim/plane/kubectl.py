"""Runs the real kubectl as a person would, without that person's own settings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A kubeconfig of the caller's, or a proxy, must not lead the demo elsewhere.
_NOT_PASSED_ON: Final = ("KUBECONFIG", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


@dataclass(frozen=True, slots=True)
class Printed:
    """How it ended and what it printed."""

    code: int
    output: str
    errors: str


async def run_kubectl(
    kubectl: Sequence[str], arguments: Sequence[str], *, directory: Path
) -> Printed:
    """Run `kubectl` (its first words) in `directory`, which gets its discovery cache too."""
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED_ON}
    environment["KUBECACHEDIR"] = str(directory / ".kube-cache")
    process = await asyncio.create_subprocess_exec(
        *kubectl,
        *arguments,
        cwd=directory,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    code = process.returncode or 0
    return Printed(code, output.decode(errors="replace"), errors.decode(errors="replace"))
