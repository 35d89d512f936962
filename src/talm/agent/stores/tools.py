"""Runs a store's own program, never through a shell; its last words become the error."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from talm.agent.failures import failure
from talm.api.progress import FailureClass
from talm.errors import AgentError

Feed = Callable[[asyncio.StreamWriter], Awaitable[None]]

_LAST_LINES: Final = 3
_MAX_TEXT: Final = 1000
_FULL: Final = "no space left on device"


async def run(
    *command: str,
    feed: Feed | None = None,
    partly: bool = False,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return what it printed; `feed` writes its standard input.

    `environment` is laid over this process's.  `partly`: what it printed counts even if it ends with a
    failure after that.  Raises AgentError: StoreFailed with the last lines of its standard error when
    it cannot be started or ends with another exit code than 0, InsufficientSpace when those lines say
    so.  When cancelled, the program is killed first.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if feed else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
    except OSError as exc:
        text = f"{command[0]} cannot be started: {exc.strerror or exc}"
        raise failure(FailureClass.STORE_FAILED, text) from exc
    talk = asyncio.gather(_read(process.stdout), _read(process.stderr))
    try:
        if feed and process.stdin:
            await _feed(process.stdin, feed)
        output, errors = await talk
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        talk.cancel()
    if code and not (partly and output):
        raise _failed(command, code, errors)
    return output.decode(errors="replace")


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    return await stream.read() if stream else b""


async def _feed(target: asyncio.StreamWriter, feed: Feed) -> None:
    """Write until done; a program that has stopped reading says why with its exit code."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            await feed(target)
        finally:
            target.close()
        await target.wait_closed()


def _failed(command: tuple[str, ...], code: int, errors: bytes) -> AgentError:
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines()]
    text = "; ".join([line for line in lines if line][-_LAST_LINES:])[-_MAX_TEXT:]
    how = f"exit code {code}" if code > 0 else f"signal {-code}"
    kind = FailureClass.INSUFFICIENT_SPACE if _FULL in text.lower() else FailureClass.STORE_FAILED
    return failure(kind, f"{command[0]} ended with {how}: {text or 'it said nothing'}")
