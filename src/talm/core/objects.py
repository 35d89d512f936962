"""Looking into objects whose shape nobody has checked: what a policy asks a cluster to have.

Only reading: what the findings mean is decided by the callers.
"""

from __future__ import annotations

from collections.abc import Mapping

from .model import Json


def at(value: Json, *path: str) -> Json:
    """Follow `path` through nested objects; None where it ends early."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def text_at(value: Json, *path: str) -> str:
    """Follow `path` to a text; "" when there is none or something else (a number, a list)."""
    found = at(value, *path)
    return found.strip() if isinstance(found, str) else ""


def is_a(value: Json, kind: str, group: str) -> bool:
    """Compare kind and API group, whatever the version.

    Kind alone is not enough: several groups have a `Subscription`.
    """
    found, slash, _ = text_at(value, "apiVersion").partition("/")
    return bool(slash) and found == group and text_at(value, "kind") == kind
