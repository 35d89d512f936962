"""What runs leave in the spool, and when it goes.

A run that succeeds leaves nothing.  What a failed one leaves is the next one's head start; it goes
when nobody has come for it for 7 days (at the next run), or by `talm agent clean`.
A note beside the blobs says who was here last and on which boot of the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from talm.agent.transfer.spool import Spool, is_blob, storage_errors
from talm.api.progress import FailureClass, RunPhase
from talm.errors import AgentError

log = structlog.get_logger()

KEPT_FOR: Final = dt.timedelta(days=7)
SUCCEEDED: Final = RunPhase.SUCCEEDED.value
_BOOTS: Final = 10  # more than a Job has attempts
_NOTE: Final = ".last-run"
_STAY: Final = {".lock", _NOTE, ".pins", ".pins.lock"}  # what pinned images say of themselves
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class LastRun(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The note.  `boots` maps runs to the node's boot id at their time, the newest last.

    `ended` is Succeeded or the class of the failure, "" while the run works or was cut off.
    `attempt` counts runs since the last one that succeeded.
    """

    run: str
    attempt: int = 1
    ended: str = ""
    boots: dict[str, str] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Freed:
    """What was removed: files, and the bytes that they occupied."""

    files: int = 0
    size: int = 0


def boot_id() -> str:
    """Return what the kernel calls this boot; "" where it cannot be read.  Same in every pod."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


def last_run(spool: Spool) -> LastRun | None:
    """Return the note of the run before; None when there is none that can be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((spool.directory / _NOTE).read_bytes(), type=LastRun)
    return None


def write_note(spool: Spool, note: LastRun) -> None:
    """Say who works here; its age is the spool's.  A note that is lost only loses the story."""
    try:
        fresh = spool.directory / f"{_NOTE}.new"
        fresh.write_bytes(msgspec.json.encode(note))
        fresh.replace(spool.directory / _NOTE)
    except OSError as exc:
        log.warning("no note in the spool", spool=str(spool.directory), error=str(exc))


@contextlib.contextmanager
def noted(spool: Spool, run: str) -> Iterator[LastRun | None]:
    """Note that `run` works here, and how its block ended; yields the note that was there before.

    The caller holds the spool's lock.
    """
    last = last_run(spool)
    boots = {**(last.boots if last else {}), run: boot_id()}
    attempt = 1 if last is None or last.ended == SUCCEEDED else last.attempt + 1
    note = LastRun(run, attempt, boots=dict(list(boots.items())[-_BOOTS:]))
    write_note(spool, note)
    ended = "Bug"
    try:
        yield last
        ended = SUCCEEDED
    except AgentError as exc:
        ended = exc.kind
        raise
    except asyncio.CancelledError:
        ended = FailureClass.INTERRUPTED.value
        raise
    finally:
        write_note(spool, msgspec.structs.replace(note, ended=ended))


def expire(spool: Spool, now: dt.datetime) -> Freed:
    """Empty a spool that no run has used for `KEPT_FOR`; the caller holds its lock."""
    try:
        used = (spool.directory / _NOTE).stat().st_mtime
    except OSError:
        return Freed()
    if now.timestamp() - used <= KEPT_FOR.total_seconds():
        return Freed()
    freed = empty(spool)
    log.info("leftovers expired", files=freed.files, mib=round(freed.size / 2**20, 1))
    return freed


def sweep(spool: Spool) -> Freed:
    """Remove what a run that was cut off has left and no other one goes on with; under the lock.

    What is neither a blob nor a part of one: directories of imports, a catalog's database.
    """
    return _remove(spool, lambda name: not is_blob(name))


def empty(spool: Spool) -> Freed:
    """Remove everything but lock and note; the caller holds the lock.

    Raises AgentError (StoreFailed) when something cannot be removed.
    """
    return _remove(spool, lambda _: True)


def _remove(spool: Spool, goes: Callable[[str], bool]) -> Freed:
    files = size = 0
    with storage_errors(spool.directory):
        for path in sorted(spool.directory.iterdir()):
            if path.name in _STAY or not goes(path.name):
                continue
            inside = [path] if path.is_symlink() or not path.is_dir() else _files(path)
            files += len(inside)
            size += sum(file.lstat().st_blocks * 512 for file in inside)
            if inside == [path]:
                path.unlink()
            else:
                shutil.rmtree(path)
    return Freed(files, size)


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]


async def clean(spool: Spool) -> Freed:
    """Drop the spool's content, the note too.  Raises AgentError (StoreFailed): a run works here."""
    if not spool.directory.is_dir():
        return Freed()
    async with spool.locked(0):
        freed = empty(spool)
        with storage_errors(spool.directory):
            (spool.directory / _NOTE).unlink(missing_ok=True)
    return freed
