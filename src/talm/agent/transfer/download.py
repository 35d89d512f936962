"""Blobs into the spool: each once, continued where it broke off, verified before it counts.

partial file ──► ask from its end ──► 206: append   ┐
                                      200: start over├──► whole? ──► digest right: keep
                                      lost: pause    ┘               wrong: drop, once more
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
from collections.abc import Sequence
from typing import Final, Protocol

from talm.agent.content.manifests import Blob, Image
from talm.agent.content.references import Reference
from talm.agent.failures import failure
from talm.agent.transfer.registry import Corrupt, Registry
from talm.agent.transfer.retry import Passing, Patience, insist
from talm.agent.transfer.spool import Spool, file_digest, storage_errors
from talm.api.progress import FailureClass
from talm.errors import AgentError

_MAX_CORRUPT: Final = 2  # once may be a broken cache on the way; twice is what is served


class Counter(Protocol):
    """Who is told of bytes: so many came, or so many were thrown away."""

    def gained(self, count: int) -> None: ...
    def dropped(self, count: int) -> None: ...


class Downloads:
    """All blobs of one run: single flight per digest, `streams` at a time."""

    def __init__(self, registry: Registry, spool: Spool, counter: Counter, *, streams: int) -> None:
        self._registry = registry
        self._spool = spool
        self._counter = counter
        self._streams = asyncio.Semaphore(streams)
        self._flights: dict[str, asyncio.Task[AgentError | None]] = {}

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
            flight = group.create_task(self._land(reference, blob))
            self._flights[blob.digest] = flight
        return flight

    async def _land(self, reference: Reference, blob: Blob) -> AgentError | None:
        """Fetch one blob; its failure is a value, so that the others fly on."""
        try:
            async with self._streams:
                await self._fetch(reference, blob)
        except AgentError as exc:
            return exc
        return None

    async def _fetch(self, reference: Reference, blob: Blob) -> None:
        if self._spool.whole(blob.digest).exists():
            return
        for attempt in range(1, _MAX_CORRUPT + 1):
            patience = self._registry.patience()
            try:
                await insist(patience, functools.partial(self._continue, reference, blob, patience))
            except Corrupt as exc:
                self._counter.dropped(self._spool.held(blob.digest))
                self._spool.drop(blob.digest)
                if attempt == _MAX_CORRUPT:
                    raise failure(
                        FailureClass.IMAGE_NOT_FOUND, f"{reference}: no intact copy: {exc}"
                    ) from exc
            else:
                return

    async def _continue(self, reference: Reference, blob: Blob, patience: Patience) -> None:
        """Ask for what is missing of the partial file, and keep it if that makes it whole.

        Raises Passing when something is still missing, Corrupt when it is not the blob.
        """
        hasher = None
        if self._spool.held(blob.digest) < blob.size or not blob.size:
            hasher = await self._append(reference, blob, patience)
        partial = self._spool.partial(blob.digest)
        with storage_errors(partial):
            if hasher is None:
                found = await file_digest(partial, blob.digest.partition(":")[0])
            else:
                found = f"{hasher.name}:{hasher.hexdigest()}"
            if found != blob.digest:
                raise Corrupt(f"{blob.digest} arrives as {found}")
            self._spool.keep(blob.digest)

    async def _append(
        self, reference: Reference, blob: Blob, patience: Patience
    ) -> hashlib._Hash | None:
        """Stream into the partial file.  Returns the hash when the whole blob came in one piece."""
        partial = self._spool.partial(blob.digest)
        held = self._spool.held(blob.digest)
        async with self._registry.blob(reference, blob.digest, held) as stream:
            if stream.start < held:
                self._counter.dropped(held)
            with storage_errors(partial), partial.open("ab") as file:
                file.truncate(stream.start)
                size = stream.start
                hasher = None if size else hashlib.new(blob.digest.partition(":")[0])
                try:
                    async for chunk in stream.chunks(blob.digest):
                        size += len(chunk)
                        if size > blob.size:
                            raise Corrupt(f"{blob.digest} is longer than its {blob.size} bytes")
                        file.write(chunk)
                        self._counter.gained(len(chunk))
                        patience.gained()
                        if hasher:
                            hasher.update(chunk)
                finally:
                    file.flush()
                    os.fsync(file.fileno())
        if size < blob.size:
            raise Passing(f"{blob.digest}: the connection ended at {size} of {blob.size} bytes")
        return hasher
