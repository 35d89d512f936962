"""Which answers of a registry may be better later, how long to wait, and when to give up.

A failing link is the normal case here: a passing error costs a pause, never the run, as long as
bytes keep coming in between.  What is final (401 after a new token, 403, 404) is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import email.utils
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Final, TypeVar

import aiohttp

from talm.agent.failures import failure, printable
from talm.api.progress import FailureClass

T = TypeVar("T")
Aside = Callable[[], contextlib.AbstractAsyncContextManager[None]]

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 20.0  # a link that is back is used again within 20 s
_LONG_PAUSE_S: Final = 2.0  # a round trip or two: shorter ones are not worth losing the turn
_PASSING: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.TOO_EARLY}
_SERVER_ERROR: Final = 500
# Python raises UnicodeError for a name that no resolver can be asked for (`a..b`).
_STUBBORN: Final = (aiohttp.ClientConnectorDNSError, aiohttp.ClientSSLError, UnicodeError)
_GOOD: Final = {
    HTTPStatus.OK,
    HTTPStatus.NON_AUTHORITATIVE_INFORMATION,
    HTTPStatus.PARTIAL_CONTENT,
}
_MAX_WORDS: Final = 300  # of a server's own words in our messages; a header may have 8 KiB


class Passing(Exception):
    """An attempt failed in a way that may pass.  `retry_after_s`: what the server asked for.

    `stubborn`: TLS or name resolution failed.  On a link that is only bad these come back within
    minutes; a wrong certificate or name never does.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0, *, stubborn: bool = False) -> None:
        super().__init__(printable(message))
        self.retry_after_s = retry_after_s
        self.stubborn = stubborn


@contextlib.contextmanager
def network_errors(what: str) -> Iterator[None]:
    """Turn a failure of the way to the registry into `Passing`; `what` was being asked for."""
    try:
        yield
    except (aiohttp.ClientError, ConnectionError, TimeoutError, UnicodeError) as exc:
        stubborn = isinstance(exc, _STUBBORN)
        raise Passing(f"{what}: {_words_of(exc)[:_MAX_WORDS]}", stubborn=stubborn) from exc


def _words_of(exc: Exception) -> str:
    """Say what went wrong, without the address of an object or the password of a proxy's URL."""
    if isinstance(exc, aiohttp.ClientResponseError):
        return f"{exc.status} {exc.message}"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"{exc.host}:{exc.port}: {exc.certificate_error}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"cannot connect to {exc.host}:{exc.port}: {exc.os_error.strerror or exc.os_error}"
    return str(exc) or type(exc).__name__


def check_answer(response: aiohttp.ClientResponse, what: str, hint: str = "") -> None:
    """Return for a success; raise `Passing`, or the final AgentError of the status.

    `hint` is added when we are refused.
    404 is ImageNotFound: only manifests and blobs are asked for, by a name the user gave.
    """
    status = response.status
    if status in _GOOD:
        return
    reason = (response.reason or "")[:_MAX_WORDS]
    message = f"{what}: the registry answers {status} {reason}".rstrip()
    # Below 400: neither an answer nor a refusal, such as a redirect without a target.
    if status in _PASSING or status >= _SERVER_ERROR or status < HTTPStatus.BAD_REQUEST:
        raise Passing(message, retry_after_s(response.headers.get("Retry-After", "")))
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise failure(FailureClass.UNAUTHORIZED, message + hint)
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise failure(FailureClass.IMAGE_NOT_FOUND, message)
    raise failure(FailureClass.REGISTRY_UNREACHABLE, f"{message}, which no retry will change")


def retry_after_s(header: str) -> float:
    """Read Retry-After, seconds or a date; 0.0 for none, the past, or nonsense."""
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        when = email.utils.parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, when.timestamp() - time.time())


@dataclasses.dataclass(frozen=True, slots=True)
class Clock:
    """Time for those who wait; tests have their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


REAL_CLOCK: Final = Clock()


class Patience:
    """How long one request is tried again: until `retry_for_s` have brought nothing.

    `reached()` (bytes came) starts the count afresh: a slow link that moves is never given up.
    `persistent`: somebody else ends the run (its Job has a deadline), so only what is stubborn,
    and has been nothing else for so long, is given up.
    """

    def __init__(
        self,
        retry_for_s: float,
        on_retry: Callable[[str], None],
        *,
        persistent: bool = False,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self._retry_for_s = retry_for_s
        self._on_retry = on_retry
        self._persistent = persistent
        self._clock = clock
        self._furthest = 0
        self.gained()

    def reached(self, position: int) -> None:
        """Note that bytes came up to `position`; it is a gain when none had come so far before.

        Who is sent the same bytes again and again (ranges ignored, every transfer cut) gains
        nothing.
        """
        if position > self._furthest:
            self._furthest = position
            self.gained()

    def gained(self) -> None:
        """Forget the failures so far."""
        self._give_up_at = self._clock.now() + self._retry_for_s
        self._failures = 0

    async def pause(self, error: Passing, aside: Aside = contextlib.nullcontext) -> None:
        """Wait before the next attempt; raises AgentError (RegistryUnreachable) when it is over.

        The pause doubles from 0.25 to 20 s and is taken between half and whole of that (jitter
        spreads a fleet that lost its registry at one moment), after what the server asked for.
        A long one is spent inside `aside()`.
        """
        longest = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
        pause = error.retry_after_s + longest * random.uniform(0.5, 1.0)  # noqa: S311
        self._failures = min(self._failures + 1, 16)
        if self._persistent and not error.stubborn:
            self._give_up_at = self._clock.now() + pause + self._retry_for_s
        if self._clock.now() + pause > self._give_up_at:
            raise failure(
                FailureClass.REGISTRY_UNREACHABLE,
                f"{error}; given up after {self._retry_for_s:g} s that brought nothing",
            ) from error
        self._on_retry(str(error))
        async with aside() if pause >= _LONG_PAUSE_S else contextlib.nullcontext():
            await self._clock.sleep(pause)


async def insist(
    patience: Patience,
    attempt: Callable[[], Awaitable[T]],
    aside: Aside = contextlib.nullcontext,
) -> T:
    """Repeat `attempt` while it raises `Passing` and the patience lasts; long pauses `aside()`."""
    while True:
        try:
            return await attempt()
        except Passing as exc:
            await patience.pause(exc, aside)
