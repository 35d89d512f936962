"""Which operators the policies ask for: from their Subscription and CatalogSource objects.

A package's channel and a catalog's image must be there and be the same on every cluster.  `startingCSV`
may be known on the spoke only: then the head of the channel is what can be cached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from talm.errors import BadSpec

from .model import Json, RootPolicy
from .objects import is_a, text_at
from .platform_image import is_templated
from .policies import OLM_GROUP


def packages(policies: Iterable[RootPolicy]) -> Iterator[str]:
    """`package:channel` of each Subscription.  Raises BadSpec that names object and policy."""
    for policy, wanted in _wanted(policies, "Subscription"):
        yield _channel(policy, wanted)


def starting_csvs(policies: Iterable[RootPolicy]) -> Iterator[str]:
    """`package:channel:CSV` of each Subscription that says where its operator begins.

    From there the operator is upgraded step by step, so that the bundles on the way are needed, too.
    Raises BadSpec.
    """
    for policy, wanted in _wanted(policies, "Subscription"):
        csv = _starting_csv(wanted)
        if csv and not is_templated(csv):
            yield f"{_channel(policy, wanted)}:{csv}"


def unknown_starts(policies: Iterable[RootPolicy]) -> Iterator[str]:
    """Name the Subscriptions whose `startingCSV` only the spoke can tell."""
    for policy, wanted in _wanted(policies, "Subscription"):
        if is_templated(_starting_csv(wanted)):
            yield (
                f"{_title(policy, wanted)}: startingCSV is known on the cluster only;"
                " the head of the channel is cached"
            )


def indexes(policies: Iterable[RootPolicy]) -> Iterator[str]:
    """The image of each CatalogSource.  Raises BadSpec that names object and policy."""
    for policy, wanted in _wanted(policies, "CatalogSource"):
        yield _known(policy, wanted, "image")


def is_operator(wanted: Json) -> bool:
    """Tell whether an object of a policy says something of operators."""
    return any(is_a(wanted, kind, OLM_GROUP) for kind in ("Subscription", "CatalogSource"))


def _wanted(
    policies: Iterable[RootPolicy], kind: str
) -> Iterator[tuple[RootPolicy, Mapping[str, Json]]]:
    for policy in policies:
        for wanted in policy.objects:
            if is_a(wanted, kind, OLM_GROUP):
                yield policy, wanted


def _channel(policy: RootPolicy, wanted: Mapping[str, Json]) -> str:
    return f"{_known(policy, wanted, 'name')}:{_known(policy, wanted, 'channel')}"


def _starting_csv(wanted: Mapping[str, Json]) -> str:
    return text_at(wanted, "spec", "startingCSV")


def _known(policy: RootPolicy, wanted: Mapping[str, Json], field: str) -> str:
    """Read a field of the object's spec that must be there and be the same on every cluster."""
    value = text_at(wanted, "spec", field)
    if value and not is_templated(value):
        return value
    why = f"templatized {field} not supported with precaching" if value else f"no spec.{field}"
    raise BadSpec(f"{_title(policy, wanted)}: {why}")


def _title(policy: RootPolicy, wanted: Mapping[str, Json]) -> str:
    name = text_at(wanted, "metadata", "name")
    return f"{text_at(wanted, 'kind')} {name} in policy {policy.namespace}/{policy.name}"
