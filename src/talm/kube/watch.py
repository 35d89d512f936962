"""The informer: one kind of the API server in memory, and a call for every change of it.

    list (pages) ──► cache ◄── watch: ADDED MODIFIED DELETED BOOKMARK
      ▲   diff: what is gone was deleted          │
      └── 410, or answers that make no sense ◄────┘ anything else: resume where it stopped

Decided here: when to list, when to resume, when to wait, and what an unreadable object means.
- Each object is decoded for itself.  One that cannot be is *quarantined*: its reason is kept,
  logged once and counted.  What was cached of it stays: absence would be read as "deleted", and
  clean-up acts on that, while an outdated value is what any cache may hold.
- An `optional` kind may be missing (its CRD is not installed): that is a state (`present`), not an
  error; when its CRD goes, every object is reported as deleted.
- A failing `on_change` is logged and counted, and the cache goes on.
Not here: what a change means (the caller), requests (client.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Final, Generic, NoReturn, Protocol, TypeVar

import msgspec
import structlog

from talm.api.kinds import Kind
from talm.api.meta import ObjectMeta
from talm.errors import ApiError, CredentialError, Gone, Invalid, NotFound, Unreachable
from talm.kube.backoff import Backoff
from talm.kube.cache import Cache, IndexFunction, Key
from talm.kube.client import IDLE_S, PAGE_LIMIT, Page
from talm.kube.status import error_from_event

# After so many answers in a row that were errors, without one event between them, resuming has
# not worked: the list is read again.  Silence and refused connections do not count.
_FUTILE_WATCHES: Final = 3

log = structlog.get_logger(__name__)


class HasMetadata(Protocol):
    """Any struct for an API object."""

    @property
    def metadata(self) -> ObjectMeta: ...


T = TypeVar("T", bound=HasMetadata)
OnChange = Callable[[Key, T | None, T | None], None]


class Source(Protocol):
    """What an informer needs of `Client`."""

    def pages(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE_LIMIT,
    ) -> AsyncIterator[Page]: ...

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        idle_s: float = IDLE_S,
    ) -> AsyncGenerator[list[bytes], None]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """The informer's times in seconds, and objects per page.

    `idle_s`: a watch that says nothing for so long is dead.  `absent_s`: a missing optional kind
    is looked for again.  Attempts after failures wait from `first_s`, doubling, to `longest_s`.
    """

    idle_s: float = IDLE_S
    absent_s: float = 30.0
    first_s: float = 0.25
    longest_s: float = 30.0
    page_limit: int = PAGE_LIMIT


class _HeadMeta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct):
    """Enough of an odd object to know which one it is."""

    metadata: _HeadMeta


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Informer(Generic[T]):
    """Keeps `cache` equal to what the API server has; `on_change(key, old, new)` for each change.

    `old` None: new here; `new` None: deleted.  `on_change` must not block.  Start it with
    `run()` in a task of its own; `synced` is set after the first full list (or when an optional
    kind is found missing).  `last_heard` is the monotonic time of the last sign of life.  `trim` leaves
    out of an object what nobody reads, before it is kept.
    """

    def __init__(  # noqa: PLR0913 - what to watch is four words, the rest has defaults
        self,
        client: Source,
        kind: Kind,
        struct_type: type[T],
        on_change: OnChange[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        optional: bool = False,
        pace: Pace | None = None,
        trim: Callable[[T], T] | None = None,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.present = False
        self.last_heard = time.monotonic()
        self.quarantined: dict[Key, str] = {}
        self.callback_errors = 0
        self.lists = 0  # full lists read
        self._client = client
        self._decoder = msgspec.json.Decoder(struct_type)
        self._trim = trim
        self._on_change = on_change
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._cache: Cache[T] = Cache(indexes or {})
        self._optional = optional
        self._pace = pace or Pace()
        self._backoff = Backoff(self._pace.first_s, self._pace.longest_s)
        self._resource_version = ""  # "": list first
        self._futile = 0
        self._moved = asyncio.Event()

    @property
    def cache(self) -> Mapping[Key, T]:
        """All objects by (namespace, name); changes while you await."""
        return self._cache.objects

    def get(self, name: str, namespace: str = "") -> T | None:
        """One object, None when there is none."""
        return self._cache.objects.get((namespace, name))

    def by(self, index: str, value: str) -> list[T]:
        """The objects that the index function gave this value."""
        return self._cache.by(index, value)

    def has_seen(self, key: Key, resource_version: str) -> bool:
        """Whether the cache is at least as new as this version of an object of ours.

        resourceVersions of one kind grow and may be compared as numbers.
        """
        cached = self._cache.objects.get(key)
        versions = [self._resource_version, cached.metadata.resource_version if cached else ""]
        wanted = _as_number(resource_version)
        return any(_as_number(v) >= wanted for v in versions)

    async def wait_newer(self, key: Key, resource_version: str, *, timeout_s: float = 5.0) -> bool:
        """Wait until `has_seen`: read your own write.  False when `timeout_s` passed before."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.has_seen(key, resource_version):
                    await self._moved.wait()
        return self.has_seen(key, resource_version)

    async def run(self) -> NoReturn:
        """Follow the API server until cancelled; no error ends this."""
        while True:
            try:
                if not self._resource_version:
                    await self._list()
                await self._follow()
            except (ApiError, CredentialError) as exc:
                await self._recover(exc)

    async def _recover(self, exc: ApiError | CredentialError) -> None:
        """Decide where to go on after a failure, and wait as long as it takes."""
        if isinstance(exc, NotFound) and self._optional and not self._resource_version:
            await self._be_absent()
            return
        first = self._backoff.failures == 0
        if isinstance(exc, ApiError) and not isinstance(exc, Unreachable):
            self._futile += 1
        if isinstance(exc, Gone | NotFound | Invalid) or self._futile >= _FUTILE_WATCHES:
            self._resource_version = ""
        if isinstance(exc, Gone) and first:
            # Ordinary after a pause; only when it repeats does the API server need patience.
            self._backoff.failures = 1
            return
        asked_s = exc.retry_after_s if isinstance(exc, ApiError) else None
        delay_s = self._backoff.next_s(asked_s)
        level = log.warning if first else log.debug
        level("watch interrupted", kind=str(self.kind), error=str(exc), next_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)

    async def _be_absent(self) -> None:
        """The API server does not serve this optional kind: nothing of it exists."""
        if self.present or not self.synced.is_set():
            log.info("kind not served", kind=str(self.kind), look_again_s=self._pace.absent_s)
        self.present = False
        self._forget_all_but(set())
        self._heard()
        self.synced.set()
        await asyncio.sleep(self._pace.absent_s)

    async def _list(self) -> None:
        """Read everything; what is cached and not in the list was deleted meanwhile."""
        try:
            seen, version = await self._read_pages(self._pace.page_limit)
        except Gone:
            # Reading took longer than the API server keeps the past; all at once cannot expire.
            seen, version = await self._read_pages(0)
        self._forget_all_but(seen)
        self._resource_version = version
        self._futile = 0
        self.lists += 1
        self.present = True
        self._heard()
        if not self.synced.is_set():
            log.info("synced", kind=str(self.kind), objects=len(self._cache.objects))
            self.synced.set()

    async def _read_pages(self, limit: int) -> tuple[set[Key], str]:
        seen: set[Key] = set()
        version = ""
        pages = self._client.pages(
            self.kind,
            self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            limit=limit,
        )
        async for page in pages:
            for item in page.items:
                seen.add(self._take(item)[0])
            version = version or page.resource_version  # all pages show one moment
            self._heard()
            await asyncio.sleep(0)  # probes and the Lease live in this loop, too
        return seen, version

    async def _follow(self) -> None:
        """Take in one watch until it ends."""
        watch = self._client.watch(
            self.kind,
            self._resource_version,
            self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            idle_s=self._pace.idle_s,
        )
        heard = False
        async with contextlib.aclosing(watch) as batches:
            async for lines in batches:
                try:
                    for line in lines:
                        self._take_event(line)
                        heard = True
                finally:
                    self._heard()
                await asyncio.sleep(0)
        if not heard:
            # A server that ends every watch at once must not be asked in a tight circle.
            await asyncio.sleep(self._backoff.next_s())

    def _take_event(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=_Event)
        except ValueError as exc:
            # (msgspec.DecodeError is a ValueError, as bytes that are no UTF-8 are.)
            raise ApiError("WATCH", str(self.kind), 0, f"unreadable event: {exc}") from exc
        match event.type:
            case "ERROR":
                raise error_from_event(str(self.kind), bytes(event.object))
            case "BOOKMARK":
                _, version = _read_head(event.object)
            case "DELETED":
                key, version = _read_head(event.object)
                self._remove(key)
            case _:
                key, version = self._take(event.object)
        self._resource_version = version or self._resource_version
        self._futile = 0
        if self._backoff.failures:
            self._backoff.reset()
            log.info("watch goes on", kind=str(self.kind))

    def _take(self, raw: msgspec.Raw) -> tuple[Key, str]:
        """Take in an object as it is now; its key and resourceVersion."""
        try:
            new = self._decoder.decode(raw)
        except ValueError as exc:
            key, version = _read_head(raw)
            self._quarantine(key, str(exc))
            return key, version
        if self._trim is not None:
            new = self._trim(new)
        meta = new.metadata
        key = (meta.namespace, meta.name)
        if self.quarantined.pop(key, None) is not None:
            log.info("object readable again", kind=str(self.kind), object="/".join(key))
        old = self._cache.objects.get(key)
        if old is None or old.metadata.resource_version != meta.resource_version:
            self._cache.put(key, new)
            self._notify(key, old, new)
        return key, meta.resource_version

    def _quarantine(self, key: Key, reason: str) -> None:
        if key not in self.quarantined:
            log.warning(
                "object not readable", kind=str(self.kind), object="/".join(key), error=reason
            )
        self.quarantined[key] = reason

    def _forget_all_but(self, seen: set[Key]) -> None:
        for key in [k for k in (*self._cache.objects, *self.quarantined) if k not in seen]:
            self._remove(key)

    def _remove(self, key: Key) -> None:
        self.quarantined.pop(key, None)
        old = self._cache.remove(key)
        if old is not None:
            self._notify(key, old, None)

    def _notify(self, key: Key, old: T | None, new: T | None) -> None:
        try:
            self._on_change(key, old, new)
        except Exception:
            self.callback_errors += 1
            log.exception("on_change failed", kind=str(self.kind), object="/".join(key))

    def _heard(self) -> None:
        self.last_heard = time.monotonic()
        self._moved.set()  # wakes those who wait now; the next ones wait for the next batch
        self._moved = asyncio.Event()


def _read_head(raw: msgspec.Raw) -> tuple[Key, str]:
    """Key and resourceVersion of any object; empty when it has not even those."""
    try:
        meta = msgspec.json.decode(raw, type=_Head).metadata
    except ValueError:
        return ("", ""), ""
    return (meta.namespace, meta.name), meta.resource_version


def _as_number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdecimal() else 0
