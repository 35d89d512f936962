"""What one informer knows: decoded objects by key, and indexes over them.

Decided here: how an index is kept in step with its objects, and that one odd object breaks
neither.  Not here: where objects come from (watch.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import structlog

Key = tuple[str, str]  # (namespace, name); namespace "" for cluster-scoped kinds
T = TypeVar("T")
IndexFunction = Callable[[T], Iterable[str]]

log = structlog.get_logger(__name__)


class Cache(Generic[T]):
    """Objects by key; `indexes` are functions from an object to the values it is found by."""

    def __init__(self, indexes: Mapping[str, IndexFunction[T]]) -> None:
        self.objects: dict[Key, T] = {}
        self.index_errors = 0
        self._functions = indexes
        self._indexes: dict[str, dict[str, dict[Key, T]]] = {name: {} for name in indexes}

    def put(self, key: Key, new: T) -> T | None:
        """Store `new` and return what was there before."""
        old = self.objects.get(key)
        if old is not None:
            self._unlink(key, old)
        self.objects[key] = new
        for name in self._functions:
            for value in self._values(name, new):
                self._indexes[name].setdefault(value, {})[key] = new
        return old

    def remove(self, key: Key) -> T | None:
        """Forget an object and return it; None: it was not there."""
        old = self.objects.pop(key, None)
        if old is not None:
            self._unlink(key, old)
        return old

    def by(self, index: str, value: str) -> list[T]:
        """The objects with this value, in the order in which they got it."""
        return list(self._indexes[index].get(value, {}).values())

    def _unlink(self, key: Key, old: T) -> None:
        for name, index in self._indexes.items():
            for value in self._values(name, old):
                holders = index.get(value, {})
                holders.pop(key, None)
                if not holders:
                    index.pop(value, None)

    def _values(self, name: str, obj: T) -> tuple[str, ...]:
        try:
            return tuple(self._functions[name](obj))
        except Exception:
            # Objects are frozen, so the function fails for this one now and when it goes.
            self.index_errors += 1
            log.exception("index function failed", index=name)
            return ()
