"""What the hub's caches cannot tell: our own writes that they have not shown yet, and actions that
are gone again.

    our create, delete ──┐
                         ├──► Ledger ──► the object as of now: cached, gone, or created and unseen
    cache and its news ──┘

Memory only.  After a restart the caches are fresh, and what an action that vanished meanwhile has
done is found out by doing it again ("already exists" is done).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from talm.api.meta import ObjectMeta

# Longer than any cache lags; a missed event must not hide an object for ever.
EXPECTED_WITHIN: Final = dt.timedelta(seconds=60)


class HasMeta(Protocol):
    """Any wire object."""

    @property
    def metadata(self) -> ObjectMeta: ...


T = TypeVar("T", bound=HasMeta)


@dataclass(frozen=True, slots=True)
class Created:
    """An object that we have created: its identity, its first resourceVersion, when and which try.

    `succeeded` is the run whose end it is (an action that deletes the namespace; "" otherwise).
    """

    uid: str
    version: int
    at: dt.datetime
    attempt: int = 1
    succeeded: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an action ended; kept when the action is gone.

    `moot`: done because it was so already.  `version` is the resourceVersion that told it, `since` is
    when the action was created.
    """

    run: str
    done: bool
    moot: bool
    text: str
    version: int
    attempt: int
    since: dt.datetime
    succeeded: str = ""


@dataclass(frozen=True, slots=True)
class Present(Generic[T]):
    """An object that is on the hub as far as we know.

    `cached` is None while only our own write tells of it.  `born` is its first resourceVersion where
    we know it, else its present one; `since` is when it was created.
    """

    cached: T | None
    uid: str
    born: int
    since: dt.datetime
    attempt: int
    succeeded: str = ""


@dataclass(slots=True)
class _Page:
    """One name in one cluster."""

    created: Created | None = None
    seen: tuple[str, dt.datetime] | None = None  # the cached object's uid, and when it appeared
    gone: dict[str, dt.datetime] = field(default_factory=dict)
    outcome: Outcome | None = None

    def is_blank(self) -> bool:
        return not (self.created or self.seen or self.gone or self.outcome)


class Ledger:
    """Pages by cluster and object name; names of views and actions differ, so the kind is not needed."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str, str], _Page] = {}

    def created(self, cluster: str, name: str, made: Created) -> None:
        """Note that the API server has created this object for us."""
        page = self._pages.setdefault((cluster, name), _Page())
        page.created, page.outcome = made, None

    def deleted(self, cluster: str, name: str, uid: str, at: dt.datetime) -> None:
        """Note that we have deleted the object with this uid."""
        page = self._pages.setdefault((cluster, name), _Page())
        page.outcome = None
        if page.created and page.created.uid == uid:
            page.created = None
        # The news may have come before the answer to our request, and comes no more then.
        page.gone = {old: when for old, when in page.gone.items() if at - when <= EXPECTED_WITHIN}
        page.gone[uid] = at

    def ended(self, cluster: str, name: str, outcome: Outcome) -> None:
        """Note how an action ended."""
        self._pages.setdefault((cluster, name), _Page()).outcome = outcome

    def outcome(self, cluster: str, name: str) -> Outcome | None:
        """How the last action of this name ended; None: not seen, or a new one was created since."""
        page = self._pages.get((cluster, name))
        return page.outcome if page else None

    def heard(
        self,
        cluster: str,
        name: str,
        *,
        old: ObjectMeta | None,
        new: ObjectMeta | None,
        at: dt.datetime,
    ) -> None:
        """Take note of what the cache has learned."""
        page = self._pages.setdefault((cluster, name), _Page())
        if old is not None and (new is None or new.uid != old.uid):
            page.gone.pop(old.uid, None)
        if new is not None:
            if page.seen is None or page.seen[0] != new.uid:
                page.seen = (new.uid, at)
        elif old is not None:
            page.seen = None
            if page.created and page.created.uid == old.uid:
                page.created = None
        if page.is_blank():
            del self._pages[cluster, name]

    def find(
        self, cluster: str, name: str, cached: T | None, now: dt.datetime
    ) -> Present[T] | None:
        """Tell what is on the hub, given what the cache shows."""
        page = self._pages.get((cluster, name))
        made = page.created if page else None
        if (
            made
            and now - made.at > EXPECTED_WITHIN
            and (cached is None or cached.metadata.uid != made.uid)
        ):
            made = None
        if cached is not None and _is_outdated(cached.metadata, page, made, now):
            cached = None
        if cached is None:
            return _unseen(made) if made else None
        return _shown(cached, page, made, now)

    def forget_outcomes(self, cluster: str, names: tuple[str, ...]) -> None:
        """Forget how actions ended: what they have made is about to go."""
        for name in names:
            page = self._pages.get((cluster, name))
            if page:
                page.outcome = None


def number(version: str) -> int:
    """A resourceVersion as the number that it is (0: none).

    Compared only between objects of one API server: etcd numbers the writes of a whole cluster
    with one counter, so the greater number was written later, whatever the kind.
    """
    return int(version) if version.isdecimal() else 0


def _is_outdated(
    meta: ObjectMeta, page: _Page | None, made: Created | None, now: dt.datetime
) -> bool:
    """Whether the cache shows an object that we have deleted or replaced since."""
    if page is None:
        return False
    deleted_at = page.gone.get(meta.uid)
    if deleted_at is not None and now - deleted_at <= EXPECTED_WITHIN:
        return True
    return bool(made and made.uid != meta.uid and number(meta.resource_version) < made.version)


def _unseen(made: Created) -> Present[Any]:
    return Present(None, made.uid, made.version, made.at, made.attempt, made.succeeded)


def _shown(cached: T, page: _Page | None, made: Created | None, now: dt.datetime) -> Present[T]:
    meta = cached.metadata
    if made and made.uid == meta.uid:
        return Present(cached, meta.uid, made.version, made.at, made.attempt)
    # Not made by this process: the hub's clock says when, ours that it cannot be younger than known.
    known = page.seen[1] if page and page.seen and page.seen[0] == meta.uid else now
    since = min(meta.creation_timestamp or known, known)
    return Present(cached, meta.uid, number(meta.resource_version), since, 0)
