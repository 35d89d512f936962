"""Whether labels match a Kubernetes label selector, as Placements use it.

Pure; an unknown operator matches nothing, because a wide match would be acted upon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from talm.api.meta import Wire


class Requirement(Wire, frozen=True, kw_only=True):
    key: str = ""
    operator: str = ""
    values: Sequence[str] | None = None


class Selector(Wire, frozen=True, kw_only=True):
    """matchLabels and matchExpressions; the claimSelector of a Placement has the latter only."""

    match_labels: Mapping[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """All parts match; an empty selector matches everything."""
        wanted = (self.match_labels or {}).items()
        return all(labels.get(key) == value for key, value in wanted) and all(
            _meets(labels, requirement) for requirement in self.match_expressions or ()
        )


def _meets(labels: Mapping[str, str], requirement: Requirement) -> bool:
    value, values = labels.get(requirement.key), requirement.values or ()
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False
