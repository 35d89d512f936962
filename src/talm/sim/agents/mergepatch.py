"""JSON merge patches (RFC 7386) as the action agent makes them and the API server applies them.

Pure functions over decoded JSON; arguments are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def replacing_patch(current: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that turns `current` into `template`; empty when they are equal.

    The agent computes a three-way patch but passes the current object as the original too
    (OCM agents, handle_action.go): whatever the template does not mention is set to null.
    """
    patch: dict[str, Any] = {key: None for key in current if key not in template}
    for key, wanted in template.items():
        if key not in current:
            patch[key] = wanted
        elif isinstance(wanted, Mapping) and isinstance(current[key], Mapping):
            if inner := replacing_patch(current[key], wanted):
                patch[key] = inner
        elif current[key] != wanted:
            patch[key] = wanted
    return patch


def apply_patch(target: object, patch: object) -> Any:
    """What `target` becomes under `patch`."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_patch(result.get(key), value)
    return result
