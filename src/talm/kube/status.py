"""What an answer that is no success means: HTTP status and Status object -> one class of errors.py.

Decided here: which class, which words, when the API server wants to be asked again.
Not here: whether somebody asks again (the callers know what is safe to repeat).
"""

from __future__ import annotations

import datetime as dt
import email.utils
import time
from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from talm.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooBusy,
    Unreachable,
)

_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,  # larger than the API server takes: sending it again is useless, too
    422: Invalid,
    429: TooBusy,
    503: TooBusy,
}

_SHOWN_BYTES: Final = 300  # of an answer that is no Status object (a proxy's page of HTML)


class _Details(msgspec.Struct, rename="camel"):
    retry_after_seconds: float = 0


class _Status(msgspec.Struct):
    """metav1.Status, as far as it is read."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None


def error_from_answer(
    verb: str, ref: str, status: int, body: bytes, headers: Mapping[str, str]
) -> ApiError:
    """Make the error for an HTTP answer >= 400 (or an unfollowed redirect)."""
    said = _decode(body)
    after = parse_retry_after(headers.get("Retry-After", ""), time.time())
    if after is None and said.details is not None and said.details.retry_after_seconds > 0:
        after = said.details.retry_after_seconds
    message = said.message or body[:_SHOWN_BYTES].decode("utf-8", "replace").strip()
    return _make(verb, ref, status, message or "empty answer", said.reason, after)


def error_from_event(ref: str, obj: bytes) -> ApiError:
    """Make the error for an ERROR event of a watch; `obj` is the Status object in it."""
    said = _decode(obj)
    after = said.details.retry_after_seconds if said.details else 0
    message = said.message or obj[:_SHOWN_BYTES].decode("utf-8", "replace")
    return _make("WATCH", ref, said.code, message, said.reason, after or None)


def error_from_transport(verb: str, ref: str, server: str, exc: BaseException) -> Unreachable:
    """Make the error for "no answer": says what was tried and what a person can do about it."""
    return Unreachable(verb, ref, 0, f"{_explain(exc)} (server {server})")


def parse_retry_after(value: str, now_s: float) -> float | None:
    """Seconds until the API server wants to be asked again; None when it did not say.

    RFC 9110 allows seconds and a date; `now_s` is the wall clock that a date is compared with.
    """
    text = value.strip()
    if not text:
        return None
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, when.timestamp() - now_s)


def _make(
    verb: str, ref: str, status: int, message: str, reason: str, after: float | None
) -> ApiError:
    kind = _BY_STATUS.get(status, ApiError)
    if status == 409 and reason == "AlreadyExists":  # noqa: PLR2004 - the HTTP status it says
        kind = AlreadyExists
    return kind(verb, ref, status, message, reason=reason, retry_after_s=after)


def _decode(body: bytes) -> _Status:
    try:
        return msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        return _Status()


def _explain(exc: BaseException) -> str:
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(exc.certificate_error, "verify_message", "") or exc.certificate_error
            return (
                f"the server's certificate is not trusted: {why}; "
                "check certificate-authority and tls-server-name in the kubeconfig"
            )
        case aiohttp.ClientConnectorSSLError() | aiohttp.ClientSSLError():
            return f"TLS handshake failed: {exc}"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refused: {exc.status} {exc.message}; check proxy-url in kubeconfig"
        case TimeoutError():
            return f"timed out: {exc}" if str(exc) else "timed out"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection before it answered"
        case _:
            return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
