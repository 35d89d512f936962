"""Which images of a release are left out: POSIX basic expressions, decided by `grep -G`.

Python's `re` is another language and can take for ever, so the real one decides.  The expressions
are not anchored and see `NAME$PULLSPEC`, digest included, as in the existing operator: `ee` drops
whatever has "ee" in its digest.  That is kept, and what each expression drops is reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from talm.agent.content.release import Component
from talm.agent.failures import invalid_spec
from talm.agent.transfer.spool import storage_errors
from talm.errors import AgentError

_PATIENCE_S: Final = 30.0
_MAX_PATTERN: Final = 4096
_NO_MATCH: Final = 1
_MOST: Final = 500
# Counted repetitions of repetitions take gigabytes before grep gives up; real ones need 5 MiB.
_MEMORY: Final = 256 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Excluded:
    """What is left of a release; `dropped`: how many components each expression drops."""

    kept: tuple[Component, ...]
    dropped: tuple[tuple[str, int], ...]
    components: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user did probably not mean."""
        found = []
        for pattern, count in self.dropped:
            if not count:
                found.append(f"the exclude pattern {pattern!r} drops no image of the release")
            elif count == self.components:
                found.append(f"the exclude pattern {pattern!r} drops every image of the release")
        return tuple(found)


async def check_patterns(patterns: Sequence[str], *, patience_s: float = _PATIENCE_S) -> None:
    """Raise AgentError (InvalidSpec) that names the first that is no basic expression."""
    if len(patterns) > _MOST:
        raise invalid_spec(f"{len(patterns)} exclude patterns, at most {_MOST} are taken")
    for pattern in patterns:
        if len(pattern) > _MAX_PATTERN or "\0" in pattern:
            raise invalid_spec(f"the exclude pattern {pattern[:80]!r}… is too long or has a NUL")
    with contextlib.suppress(AgentError):
        await _matching("\n".join(patterns), (), patience_s)
        return
    for pattern in patterns:  # which one is it?
        await _matching(pattern, (), patience_s)


async def exclude(
    components: Sequence[Component], patterns: Sequence[str], *, patience_s: float = _PATIENCE_S
) -> Excluded:
    """Drop the components that any of `patterns` matches.

    Raises AgentError (InvalidSpec) for one that is no basic expression, or takes too long.
    """
    gone: set[int] = set()
    dropped = []
    for pattern in patterns:
        matched = await _matching(pattern, components, patience_s)
        gone |= matched
        dropped.append((pattern, len(matched)))
    kept = tuple(c for number, c in enumerate(components) if number not in gone)
    return Excluded(kept, tuple(dropped), len(components))


async def _matching(pattern: str, components: Sequence[Component], patience_s: float) -> set[int]:
    """Return the positions of the components that grep matches."""
    lines = "".join(f"{component.line}\n" for component in components)
    with contextlib.ExitStack() as stack:
        with storage_errors(Path(tempfile.gettempdir())):
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="talm-exclude-"))
            file.write(f"{pattern}\n".encode(errors="surrogateescape"))
            file.flush()
        code, output, complaint = await _grep(file.name, lines.encode(), pattern, patience_s)
    if code > _NO_MATCH or code < 0:
        said = complaint.decode(errors="replace").replace(f"{file.name}:1: ", "").strip()[:200]
        said = said or f"grep ends with {code}"
        raise invalid_spec(
            f"the exclude pattern {pattern[:80]!r} is no POSIX basic expression: {said}"
        )
    return {int(line.partition(b":")[0]) - 1 for line in output.splitlines()}


async def _grep(
    file: str, lines: bytes, pattern: str, patience_s: float
) -> tuple[int, bytes, bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            *("grep", "-G", "-n", "-f", file),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as exc:
        raise invalid_spec(f"exclude patterns need grep, which cannot be run: {exc}") from exc
    with contextlib.suppress(ProcessLookupError):  # it has ended
        resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        output, complaint = await asyncio.wait_for(process.communicate(lines), patience_s)
    except TimeoutError as exc:
        raise invalid_spec(
            f"the exclude pattern {pattern[:80]!r} takes longer than {patience_s:g} s"
        ) from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output, complaint
