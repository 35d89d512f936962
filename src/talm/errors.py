"""Errors raised on purpose, and what their catcher does.

    TalmError
      ApiError              the API server (or the way to it) failed          -> retry, backs off
        NotFound            404: absent; often the expected answer
        AlreadyExists       409 on create: somebody was first
        Conflict            409: the object changed                           -> observe again
        Gone                410: the resourceVersion is too old               -> list again
        Forbidden           401, 403: this identity may not
        Invalid             400, 422: the object was refused; re-sending is useless
        TooBusy             429, 503: has `retry_after_s`
        Unreachable         no answer: connection refused, reset, timed out
      BadSpec               the user's object cannot be acted on              -> hold (condition)
      CredentialError       no usable identity for the API server
      LeadershipLost        the Lease was not renewed in time                 -> the process ends
      SetupError            demo, tests, build: what is missing and how to get it
      AgentError            the workload on a spoke failed; has a class and an exit code
      QueryError            the command line cannot show what was asked for -> a sentence, an exit code
        NoSuchObject        nothing has this name
        SeveralMatches      several objects have this name
        NotAllowed          this user may not read it
      Bug                   an invariant broke; the message says which        -> stop

Four fates (CONVENTIONS.md, "Errors"): retry, observe again, hold, stop.
"""

from __future__ import annotations


class TalmError(Exception):
    """Base of everything raised on purpose here."""


class ApiError(TalmError):
    """A request failed: `verb` on `ref` (path or kind/name), HTTP `status` (0: no answer).

    `reason` is the reason word of the API server's Status object ("" when there was none).
    """

    def __init__(
        self,
        verb: str,
        ref: str,
        status: int,
        message: str,
        *,
        reason: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{verb} {ref}: {status or 'no answer'}: {message}")
        self.verb = verb
        self.ref = ref
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


class NotFound(ApiError):
    """404: absent; often the expected answer."""


class AlreadyExists(ApiError):
    """409 with reason AlreadyExists, on create: an object of this name is there."""


class Conflict(ApiError):
    """409: the object changed under us; observe again instead of repeating the write."""


class Gone(ApiError):
    """410: the resourceVersion is too old; list again."""


class Forbidden(ApiError):
    """401 or 403: this identity may not do that."""


class Invalid(ApiError):
    """400 or 422: the API server refuses the object; sending it again is useless."""


class TooBusy(ApiError):
    """429 or 503: the API server asks to come back after `retry_after_s` (None: unsaid)."""


class Unreachable(ApiError):
    """No answer: the connection failed or the time ran out; the request may have been done."""


class BadSpec(TalmError):
    """The user's object cannot be acted on: becomes a condition, is not retried."""


class CredentialError(TalmError):
    """No usable identity: which file or plugin, what it answered, what to do."""


class LeadershipLost(TalmError):
    """The Lease could not be renewed in time; the process must end before it writes again."""


class SetupError(TalmError):
    """Something the demo or the tests need is missing: what, and how to get it."""


class AgentError(TalmError):
    """The workload failed; `kind` is its class (e.g. ImageNotFound), `exit_code` the process's."""

    def __init__(self, kind: str, message: str, exit_code: int) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.exit_code = exit_code


class QueryError(TalmError):
    """What was asked for cannot be shown; the message says why, and what to ask instead."""


class NoSuchObject(QueryError):
    """Nothing of this kind has this name."""


class SeveralMatches(QueryError):
    """Several objects have this name; the message says which."""


class NotAllowed(QueryError):
    """The API server does not let this user read it."""


class Bug(TalmError):
    """An invariant broke; the message says which."""
