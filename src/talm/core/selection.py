"""Which clusters a ClusterGroupUpgrade is about, in which order, and whether that can work.

Explicit names come first, in the user's order; then what the selectors find, sorted by name.
Not decided here: which of them need anything done (policies.py), or in which batch (plan.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from talm.api.cgu import CguSpec, LabelSelector, LabelSelectorRequirement
from talm.errors import BadSpec

from .model import Cluster

# The existing operator's words, kept to the byte.
_NO_DETAILS: Final = "cannot obtain all the details about the clusters in the CR"


@dataclass(frozen=True, slots=True)
class Selection:
    """`clusters` are known, in order, each once; `missing` are explicit names that are unknown.

    `problem` is the message of ClustersSelected=False ("" when there is none); nothing may go on
    while there is one.  `ignored` are entries of `clusterSelector` that are malformed: they
    select nothing.
    """

    clusters: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    problem: str = ""


def select(spec: CguSpec, clusters: Mapping[str, Cluster]) -> Selection:
    """Pick the clusters of `spec` out of the hub's; linear in clusters times selectors."""
    explicit = tuple(dict.fromkeys(spec.clusters or ()))
    ignored = tuple(entry for entry in spec.cluster_selector or () if _pair(entry) is None)
    try:
        found = _found(spec, clusters)
    except BadSpec as exc:
        return Selection(ignored=ignored, problem=_unselectable(f"{_NO_DETAILS}: {exc}"))
    wanted = dict.fromkeys((*explicit, *found))
    missing = tuple(name for name in explicit if name not in clusters)
    return Selection(
        clusters=tuple(name for name in wanted if name in clusters),
        missing=missing,
        ignored=ignored,
        problem=_problem(spec, wanted, missing),
    )


def _unselectable(why: str) -> str:
    return f"Unable to select clusters: {why}"


def _problem(spec: CguSpec, wanted: Mapping[str, None], missing: tuple[str, ...]) -> str:
    """Name the first thing that is wrong; of several missing clusters the first alone.

    Selectors that find nothing are no problem: the update is then complete at once.
    """
    if not (spec.clusters or spec.cluster_selector or spec.cluster_label_selectors):
        return _unselectable(f"{_NO_DETAILS}: no cluster specified for remediation")
    if missing:
        return _unselectable(f"cluster {missing[0]} is not a ManagedCluster")
    for canary in spec.remediation_strategy.canaries or ():
        if canary not in wanted:
            return _unselectable(f"canary cluster {canary} is not in the list of clusters")
    return ""


def _found(spec: CguSpec, clusters: Mapping[str, Cluster]) -> list[str]:
    """Sort the names of the clusters that at least one selector of either kind matches."""
    pairs = [pair for pair in map(_pair, spec.cluster_selector or ()) if pair]
    selectors = spec.cluster_label_selectors or ()
    for selector in selectors:
        _check(selector.match_expressions or ())
    if not pairs and not selectors:
        return []
    return sorted(
        name
        for name, cluster in clusters.items()
        if any(cluster.labels.get(key) == value for key, value in pairs)
        or any(_matches(selector, cluster.labels) for selector in selectors)
    )


def _pair(entry: str) -> tuple[str, str] | None:
    """Read `key=value`, or `key` for the value ""; None when it is neither."""
    key, _, value = entry.partition("=")
    return None if not key or "=" in value else (key, value)


def _matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Judge labels as Kubernetes does: an empty selector matches everything."""
    wanted = (selector.match_labels or {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _check(requirements: Iterable[LabelSelectorRequirement]) -> None:
    """Refuse what Kubernetes refuses, in its words, also when no cluster gets that far."""
    for requirement in requirements:
        values = requirement.values
        match requirement.operator:
            case "In" | "NotIn":
                if not values:
                    raise BadSpec(
                        "values: Invalid value: null:"
                        " for 'in', 'notin' operators, values set can't be empty"
                    )
            case "Exists" | "DoesNotExist":
                if values:
                    given = json.dumps(values, separators=(",", ":"))
                    raise BadSpec(
                        f"values: Invalid value: {given}:"
                        " values set must be empty for exists and does not exist"
                    )
            case other:
                raise BadSpec(f'"{other}" is not a valid label selector operator')


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    """Evaluate a requirement that `_check` has let pass.

    `NotIn` holds for a cluster without the label, too: Kubernetes says so.
    """
    present = requirement.key in labels
    listed = present and labels[requirement.key] in (requirement.values or ())
    match requirement.operator:
        case "In":
            return listed
        case "NotIn":
            return not listed
        case "Exists":
            return present
        case _:
            return not present
