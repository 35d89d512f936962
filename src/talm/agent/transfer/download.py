"""Blobs into the spool: each once, continued where it broke off, verified before it counts.

partial file ──► ask from its end ──► 206: append   ┐
                                      200: start over├──► whole? ──► digest right: keep
                                      lost: pause    ┘               wrong: drop, once more

A big one comes in several ranges at once (ranges.py), before those that were planned after it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from talm.agent.content.manifests import Blob, Image
from talm.agent.content.references import Reference
from talm.agent.failures import failure, text_of
from talm.agent.transfer.bandwidth import Bucket
from talm.agent.transfer.endpoints import Endpoint
from talm.agent.transfer.ranges import Ranges
from talm.agent.transfer.registry import BlobStream, Corrupt, Registry
from talm.agent.transfer.retry import Passing, Patience, insist
from talm.agent.transfer.spool import Spool, file_digest, storage_errors
from talm.agent.transfer.turns import Turn, Turns
from talm.api.progress import FailureClass
from talm.errors import AgentError

_MAX_CORRUPT: Final = 2  # once may be a broken cache on the way; twice is what is served
_UNLIMITED: Final = Bucket(None)


class Counter(Protocol):
    """Who is told of bytes: so many came, or so many were thrown away."""

    def gained(self, count: int) -> None: ...
    def dropped(self, count: int) -> None: ...


class _NoRanges(Exception):
    """The registry serves whole blobs only."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """Where bytes go: behind the first `held` of a file that lacks `missing`."""

    file: Path
    held: int
    missing: int


class Downloads:
    """All blobs of one run: single flight per digest, `streams` at a time in the order asked for.

    Whoever asks image by image has them complete early: turns go by the order of the first asking.
    A blob that lacks more than two ranges of `range_bytes` is fetched by ranges, on every stream
    that comes free: large enough that a round trip in between costs little, small enough for all.
    """

    range_bytes = 16 << 20

    def __init__(
        self,
        registry: Registry,
        spool: Spool,
        counter: Counter,
        *,
        streams: int,
        bucket: Bucket = _UNLIMITED,
    ) -> None:
        self._registry = registry
        self._spool = spool
        self._counter = counter
        self._count = streams
        self._bucket = bucket
        self._turns = Turns(streams)
        self._flights: dict[str, asyncio.Task[AgentError | None]] = {}
        self._sources: defaultdict[str, set[Endpoint]] = defaultdict(set)  # by digest

    async def bring(self, group: asyncio.TaskGroup, image: Image, missing: Sequence[Blob]) -> None:
        """Have every blob of `missing` in the spool, sharing the flights of other images.

        `group` ends the flights when the run ends.  Raises the first blob's AgentError after all
        have landed: what did arrive stays in the spool for the next run.
        """
        flights = [self._flight(group, image.reference, blob) for blob in missing]
        errors = [error for flight in flights if (error := await flight)]
        if errors:
            raise errors[0]

    def _flight(
        self, group: asyncio.TaskGroup, reference: Reference, blob: Blob
    ) -> asyncio.Task[AgentError | None]:
        flight = self._flights.get(blob.digest)
        if flight is None:
            turn = self._turns.turn(len(self._flights))
            flight = group.create_task(self._land(reference, blob, turn))
            self._flights[blob.digest] = flight
        return flight

    async def _land(self, reference: Reference, blob: Blob, turn: Turn) -> AgentError | None:
        """Fetch one blob; its failure is a value, so that the others fly on."""
        try:
            async with turn:
                await self._fetch(reference, blob, turn)
        except AgentError as exc:
            if str(reference) in str(exc):
                return exc
            return AgentError(exc.kind, f"{reference}: {text_of(exc)}", exc.exit_code)
        return None

    async def _fetch(self, reference: Reference, blob: Blob, turn: Turn) -> None:
        if self._spool.whole(blob.digest).exists():
            return
        for attempt in range(1, _MAX_CORRUPT + 1):
            try:
                await self._attempt(reference, blob, turn)
            except Corrupt as exc:
                self._counter.dropped(self._spool.held(blob.digest))
                self._spool.drop(blob.digest)
                if attempt == _MAX_CORRUPT:
                    raise failure(
                        FailureClass.IMAGE_NOT_FOUND, f"{reference}: no intact copy: {exc}"
                    ) from exc
            else:
                return

    async def _attempt(self, reference: Reference, blob: Blob, turn: Turn) -> None:
        """Bring the blob, a big one in ranges.  Raises Corrupt, AgentError."""
        missing = blob.size - self._spool.held(blob.digest)
        in_ranges = self._count > 1 and missing > 2 * self.range_bytes
        if in_ranges or self._spool.pieces(blob.digest):
            try:
                await self._in_ranges(reference, blob, turn)
            except _NoRanges:
                self._counter.dropped(
                    self._spool.held(blob.digest) - self._spool.prefix(blob.digest)
                )
                self._spool.drop_pieces(blob.digest)
        patience = self._registry.patience()
        go_on = functools.partial(self._continue, reference, blob, patience)
        await insist(patience, go_on, turn.aside)

    async def _in_ranges(self, reference: Reference, blob: Blob, turn: Turn) -> None:
        """Fill the gaps, with the help of streams that come free.

        They have the blob's own rank: shared with later blobs, the link would bring a base that every
        image needs as the last of all, and no image could be imported before.
        """
        ranges = Ranges(self._spool, blob, self.range_bytes)
        busy: set[asyncio.Task[None] | None] = set()

        async def help_out() -> None:
            while ranges.open:
                async with self._turns.turn(turn.rank) as helping:
                    busy.add(asyncio.current_task())
                    while ranges.open:
                        await self._bring_range(reference, blob, ranges, helping)
                        if self._turns.wanted_before(turn.rank):
                            break
                    busy.discard(asyncio.current_task())

        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(help_out()) for _ in range(self._count - 1)]
                while ranges.open:
                    await self._bring_range(reference, blob, ranges, turn)
                for helper in helpers:
                    if helper not in busy:  # it waits for a turn that it no longer needs
                        helper.cancel()
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None

    async def _bring_range(
        self, reference: Reference, blob: Blob, ranges: Ranges, turn: Turn
    ) -> None:
        patience = self._registry.patience()
        with ranges.take() as (start, end, file):

            async def go_on() -> None:
                held = file.stat().st_size if file.exists() else 0
                at = held if file == self._spool.partial(blob.digest) else start + held
                async with self._registry.blob(reference, blob.digest, at, end) as stream:
                    if not stream.ranged:
                        raise _NoRanges
                    await self._receive(stream, blob, _Part(file, held, end - at), patience)

            await insist(patience, go_on, turn.aside)

    async def _continue(self, reference: Reference, blob: Blob, patience: Patience) -> None:
        """Ask for what is missing of the partial file, and keep it if that makes it whole.

        Raises Passing when something is still missing, Corrupt when it is not the blob.
        """
        hasher = None
        held = self._spool.prefix(blob.digest)
        if held < blob.size or not blob.size:
            async with self._registry.blob(reference, blob.digest, held) as stream:
                if stream.start < held:
                    self._counter.dropped(held)
                partial = self._spool.partial(blob.digest)
                part = _Part(partial, stream.start, blob.size - stream.start)
                hasher = await self._receive(stream, blob, part, patience)
        found = await self._digest(blob, hasher)
        sources = self._sources.pop(blob.digest, set())
        if found != blob.digest:
            for source in sources:  # which of them was wrong, nobody can tell
                self._registry.distrust(source)
            raise Corrupt(f"{blob.digest} arrives as {found}")
        with storage_errors(self._spool.directory):
            self._spool.keep(blob.digest)

    async def _digest(self, blob: Blob, hasher: hashlib._Hash | None) -> str:
        """Return the digest of what arrived; read from disk unless it came in one piece."""
        if hasher is not None:
            return f"{hasher.name}:{hasher.hexdigest()}"
        partial = self._spool.partial(blob.digest)
        with storage_errors(partial):
            return await file_digest(partial, blob.digest.partition(":")[0])

    async def _receive(
        self, stream: BlobStream, blob: Blob, part: _Part, patience: Patience
    ) -> hashlib._Hash | None:
        """Stream into a file.  Returns the hash when the whole blob came in one piece.

        Raises Passing when the connection ends early, Corrupt when more comes than there is.
        """
        hasher = None if stream.start else hashlib.new(blob.digest.partition(":")[0])
        left = part.missing
        self._sources[blob.digest].add(stream.endpoint)
        with storage_errors(part.file), part.file.open("ab") as file:
            file.truncate(part.held)
            try:
                async for chunk in self._chunks(stream, blob):
                    left -= len(chunk)
                    patience.reached(part.held + part.missing - left)
                    if left < 0:
                        break
                    file.write(chunk)
                    self._counter.gained(len(chunk))
                    if hasher:
                        hasher.update(chunk)
            except BaseException:
                file.flush()  # a run that is being ended has no time for more than this
                os.fsync(file.fileno())
                raise
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        if left < 0:
            self._registry.distrust(stream.endpoint)
            raise Corrupt(f"{blob.digest} is longer than its {blob.size} bytes")
        if left:
            raise Passing(f"{blob.digest}: the connection ended {left} bytes early")
        return hasher

    async def _chunks(self, stream: BlobStream, blob: Blob) -> AsyncIterator[bytes]:
        """Yield what arrives, at the pace that all streams are allowed together."""
        async for chunk in stream.chunks(blob.digest):
            yield chunk
            await self._bucket.take(len(chunk))
