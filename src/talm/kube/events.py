"""Kubernetes Events (events.k8s.io/v1) that never hold up or fail the pass that reports them.

    record ─► pending (bounded; the same again only counts up) ─► sender ─► create | patch series

Decided here: what is one event and what is a repetition of it, how much may wait, what is dropped.
Regarding, type, reason, action, note, annotations and related object alike within `window_s` are one
Event whose series counts up; the series is written at most every `series_s`.  Only the newest matter
to a reader: when too many wait, the oldest is dropped and counted.
Not here: which events there are (the decisions say so).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NoReturn

import structlog

from talm.api.kinds import EVENT, Kind
from talm.api.words import EVENT_TRUNCATED_ANNOTATION
from talm.errors import ApiError, CredentialError, NotFound, TooBusy, Unreachable
from talm.kube.backoff import Backoff
from talm.kube.client import Client

NOTE_BYTES: Final = 1024  # the API server refuses longer ones
ANNOTATION_BYTES: Final = 256 * 1024  # names and values together; the API server refuses more
_NAME_CHARS: Final = 253  # of any object; an Event's name is its object's and 17 more
_KNOWN_SERIES: Final = 4096

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Regarding:
    """The object that an event is about."""

    kind: Kind
    name: str
    namespace: str = ""
    uid: str = ""

    def as_reference(self) -> dict[str, str]:
        """core/v1 ObjectReference."""
        reference = {
            "apiVersion": self.kind.api_version,
            "kind": self.kind.kind,
            "name": self.name,
            "namespace": self.namespace,
            "uid": self.uid,
        }
        return {field: value for field, value in reference.items() if value}


@dataclasses.dataclass(frozen=True, slots=True)
class _Said:
    """What makes two events the same."""

    regarding: Regarding
    type: str
    reason: str
    action: str
    note: str
    annotations: tuple[tuple[str, str], ...]  # sorted
    related: Regarding | None


@dataclasses.dataclass(slots=True)
class _Pending:
    """Waits to be sent: how often it happened since it was last sent, and when."""

    times: int
    first: dt.datetime
    last: dt.datetime


@dataclasses.dataclass(slots=True)
class _Series:
    """An Event that the API server has."""

    name: str
    count: int
    sent_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class EventLimits:
    """How much may wait, and seconds."""

    waiting: int = 1000
    window_s: float = 600.0
    series_s: float = 10.0


class EventRecorder:
    """Takes events at any time; `run` sends them.  `controller` is a name such as `talm.io/hub`."""

    def __init__(
        self,
        client: Client,
        *,
        controller: str,
        instance: str,
        limits: EventLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0  # never sent: too many waited, or the API server did not want it
        self._client = client
        self._origin = {"reportingController": controller, "reportingInstance": instance[:128]}
        self._limits = limits or EventLimits()
        self._clock = clock
        self._pending: OrderedDict[_Said, _Pending] = OrderedDict()
        self._series: OrderedDict[_Said, _Series] = OrderedDict()
        self._backoff = Backoff(0.5, 30.0)
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        """How many different events wait to be sent."""
        return len(self._pending)

    def record(  # noqa: PLR0913 - the fields of an Event, most of them by name
        self,
        regarding: Regarding,
        reason: str,
        note: str,
        *,
        action: str,
        type: Literal["Normal", "Warning"] = "Normal",
        annotations: Mapping[str, str] | None = None,
        related: Regarding | None = None,
    ) -> None:
        """Report something; returns at once and never fails.

        `reason` (why, CamelCase) and `action` (what was done about it) have at most 128
        characters; a `note` of more than 1,024 bytes is cut.  `annotations` are machine-readable
        details; when they are too large together, the longest are left out and
        `EVENT_TRUNCATED_ANNOTATION` says so.
        """
        details = _fitting(annotations or {})
        said = _Said(regarding, type, reason[:128], action[:128], _cut(note), details, related)
        now = dt.datetime.now(dt.UTC)
        waiting = self._pending.get(said)
        if waiting is not None:
            waiting.times += 1
            waiting.last = now
            return
        if len(self._pending) >= self._limits.waiting:
            self._pending.popitem(last=False)
            self.dropped += 1
        self._pending[said] = _Pending(1, now, now)
        self._arrived.set()

    async def run(self) -> NoReturn:
        """Send what is recorded until cancelled; only LeadershipLost (the client's guard) ends it."""
        while True:
            said = self._next_due()
            if said is None:
                await self._wait()
                continue
            delay_s = await self._send(said)
            if delay_s:
                await asyncio.sleep(delay_s)

    async def flush(self, timeout_s: float = 5.0) -> None:
        """Send what waits, due or not, for `timeout_s` at most; for the end, after `run`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._pending:
                    delay_s = await self._send(next(iter(self._pending)))
                    await asyncio.sleep(delay_s)
        self.dropped += len(self._pending)
        self._pending.clear()

    def _next_due(self) -> _Said | None:
        now = self._clock()
        return next((said for said in self._pending if self._due_at(said) <= now), None)

    def _due_at(self, said: _Said) -> float:
        series = self._series.get(said)
        return series.sent_at + self._limits.series_s if series is not None else 0.0

    async def _wait(self) -> None:
        """Until something new is recorded or a series is due."""
        due = min((self._due_at(said) for said in self._pending), default=None)
        self._arrived.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await self._arrived.wait()

    async def _send(self, said: _Said) -> float:
        """Send one event; returns how long to wait before the next, in seconds."""
        pending = self._pending.pop(said)
        try:
            await self._write(said, pending)
        except (TooBusy, Unreachable, CredentialError) as exc:
            self._put_back(said, pending)
            asked_s = exc.retry_after_s if isinstance(exc, ApiError) else None
            return self._backoff.next_s(asked_s)
        except ApiError as exc:
            # Its namespace is going, or we may not: sending it again would not help.
            self.dropped += 1
            log.warning("event not sent", reason=said.reason, error=str(exc))
        except asyncio.CancelledError:
            self._put_back(said, pending)  # for `flush`
            raise
        self._backoff.reset()
        return 0.0

    def _put_back(self, said: _Said, pending: _Pending) -> None:
        newer = self._pending.get(said)
        if newer is not None:
            newer.times += pending.times
            newer.first = pending.first
        else:
            self._pending[said] = pending
        self._pending.move_to_end(said, last=False)

    async def _write(self, said: _Said, pending: _Pending) -> None:
        now = self._clock()
        series = self._series.get(said)
        if series is not None and now < series.sent_at + self._limits.window_s:
            count = series.count + pending.times
            try:
                await self._patch(said, series.name, count, pending.last)
            except NotFound:
                pass  # events live for an hour, and people delete them: begin a new one
            else:
                series.count, series.sent_at = count, now
                return
        name = await self._create(said, pending)
        self._series[said] = _Series(name, pending.times, now)
        self._series.move_to_end(said)
        while len(self._series) > _KNOWN_SERIES:
            self._series.popitem(last=False)

    async def _create(self, said: _Said, pending: _Pending) -> str:
        name = f"{said.regarding.name[: _NAME_CHARS - 17]}.{secrets.token_hex(8)}"
        body: dict[str, Any] = {
            "metadata": _metadata(said, name),
            "eventTime": _micro_time(pending.first),
            "regarding": said.regarding.as_reference(),
            "type": said.type,
            "reason": said.reason,
            "action": said.action,
            "note": said.note,
            **self._origin,
        }
        if said.related is not None:
            body["related"] = said.related.as_reference()
        if pending.times > 1:
            body["series"] = _series(pending.times, pending.last)
        await self._client.create(EVENT, body)
        return name

    async def _patch(self, said: _Said, name: str, count: int, last: dt.datetime) -> None:
        patch = {"series": _series(count, last)}
        await self._client.merge_patch(EVENT, name, patch, _namespace(said))


def _namespace(said: _Said) -> str:
    """Events of cluster-scoped objects live in `default`, as the API server demands."""
    return said.regarding.namespace or "default"


def _metadata(said: _Said, name: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": _namespace(said)}
    if said.annotations:
        meta["annotations"] = dict(said.annotations)
    return meta


def _fitting(annotations: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """As many annotations as the API server takes, the shortest first; sorted by name."""
    size = len(EVENT_TRUNCATED_ANNOTATION) + len("true")
    kept = {}
    for name, value in sorted(annotations.items(), key=lambda item: len(item[1])):
        size += len(name.encode()) + len(value.encode())
        if size > ANNOTATION_BYTES:
            kept[EVENT_TRUNCATED_ANNOTATION] = "true"
            break
        kept[name] = value
    return tuple(sorted(kept.items()))


def _series(count: int, last: dt.datetime) -> Mapping[str, Any]:
    return {"count": count, "lastObservedTime": _micro_time(last)}


def _micro_time(when: dt.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _cut(note: str) -> str:
    encoded = note.encode()
    if len(encoded) <= NOTE_BYTES:
        return note
    ellipsis = "…"
    return encoded[: NOTE_BYTES - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
