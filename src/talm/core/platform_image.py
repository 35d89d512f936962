"""Which release the policies ask for: from their ClusterVersion objects, with the graph's help.

Decided here: what the ClusterVersion objects agree on, which question that is to an update graph, and
what its answer means.  Nobody is asked here: the shell asks (hub/graph.py) and puts the answers into
the snapshot.  Rules and texts are the existing operator's, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from talm.api.words import Reason
from talm.errors import BadSpec

from .model import GraphAnswer, GraphQuery, Hold, Json, RootPolicy
from .objects import at, is_a, text_at
from .policies import FIVE_MINUTES

CONFIG_GROUP: Final = "config.openshift.io"
# What the shell leaves in place of `{{ $x }}` when it reads `object-templates-raw`.
PLACEHOLDER: Final = "placeholder"

_FIELDS: Final = ("upstream", "channel", "version", "image", "architecture")


@dataclass(frozen=True, slots=True)
class Pending:
    """The update graph has not answered these questions yet."""

    queries: frozenset[GraphQuery]


@dataclass(frozen=True, slots=True)
class _Release:
    """What all ClusterVersion objects together say; "" is unsaid."""

    upstream: str = ""
    channel: str = ""
    version: str = ""
    image: str = ""
    architecture: str = ""


def platform_queries(policies: Iterable[RootPolicy]) -> frozenset[GraphQuery]:
    """Say what the update graph is to be asked: one question or none.

    None when no release is wanted, its image is given, or the policies are at odds.
    """
    try:
        query = _query(_release(policies))
    except BadSpec:
        return frozenset()
    return frozenset({query} if query else ())


def platform_image(
    policies: Iterable[RootPolicy],
    graph: Mapping[GraphQuery, GraphAnswer],
    *,
    pre_caching: bool,
) -> str | Pending:
    """Find the release image; "" when the policies do not ask for one (or only the spoke can tell).

    Raises BadSpec with the existing operator's text.
    """
    release = _release(policies)
    if release is None:
        return ""
    query = _query(release)
    if query is not None:
        answer = graph.get(query, GraphAnswer())
        if answer.error:
            raise BadSpec(answer.error)
        return answer.image or Pending(frozenset({query}))
    if release.image and not is_templated(release.image):
        return release.image
    if pre_caching:
        raise BadSpec("templatized ClusterVersion fields not supported with precaching")
    return ""


def validate_platform_image(
    policies: Iterable[RootPolicy],
    graph: Mapping[GraphQuery, GraphAnswer],
    *,
    pre_caching: bool,
) -> Hold | Pending | None:
    """Judge the ClusterVersion objects for the Validated condition; None is fine."""
    try:
        found = platform_image(policies, graph, pre_caching=pre_caching)
    except BadSpec as exc:
        return Hold(Reason.INVALID_PLATFORM_IMAGE, str(exc), FIVE_MINUTES)
    return found if isinstance(found, Pending) else None


def is_release(wanted: Json) -> bool:
    """Tell whether an object of a policy asks for a release."""
    return is_a(wanted, "ClusterVersion", CONFIG_GROUP)


def is_templated(text: str) -> bool:
    """Tell whether the value is known on the spoke only."""
    return "{{" in text or PLACEHOLDER in text


def _release(policies: Iterable[RootPolicy]) -> _Release | None:
    """Merge all ClusterVersion objects; each field may be said often but not differently."""
    said: dict[str, str] = {}
    found = False
    for policy in policies:
        for wanted in policy.objects:
            if not is_release(wanted):
                continue
            found = True
            for field, value in _fields(wanted).items():
                if value and said.setdefault(field, value) != value:
                    raise BadSpec(
                        # "then" is theirs
                        f"platform image defined more then once with conflicting {field} values"
                    )
    return _Release(**said) if found else None


def _fields(wanted: Mapping[str, Json]) -> dict[str, str]:
    for part in (at(wanted, "spec"), at(wanted, "spec", "desiredUpdate")):
        if part is not None and not isinstance(part, Mapping):
            raise BadSpec("templating cluster version fields not supported")
    spec = at(wanted, "spec")
    update = at(spec, "desiredUpdate")
    values = (
        text_at(spec, "upstream"),
        text_at(spec, "channel"),
        text_at(update, "version"),
        text_at(update, "image"),
        text_at(update, "architecture"),
    )
    return dict(zip(_FIELDS, values, strict=True))


def _query(release: _Release | None) -> GraphQuery | None:
    """Turn a release without an image into a question; None when there is nothing to ask."""
    if release is None or release.image:
        return None
    parts = (release.upstream, release.channel, release.version)
    if not all(parts):
        raise BadSpec(
            "policy with ClusterVersion must have upstream, channel, and version"
            " when image is not provided"
        )
    if any(map(is_templated, (*parts, release.architecture))):
        return None
    # A ClusterVersion says `Multi`, an update graph `multi` (api.openshift.com).
    return GraphQuery(*parts, arch=release.architecture.lower())
