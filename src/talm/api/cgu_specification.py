"""What is downloaded, as a ClusterGroupUpgrade's status tells it: by most clusters, and by others."""

from __future__ import annotations

from typing import Annotated

import msgspec

from .meta import Wire, about


class PrecachingSpec(Wire, frozen=True, kw_only=True):
    platform_image: Annotated[
        str, about("The release image; empty when no policy asks for a release.")
    ] = ""
    operators_indexes: Annotated[
        tuple[str, ...], about("The catalog images that the operators come from.")
    ] = ()
    operators_packages_and_channels: Annotated[
        tuple[str, ...], about("The operators to download, each `package:channel`.")
    ] = ()
    operators_starting_csvs: Annotated[
        tuple[str, ...],
        about(
            "Where operators begin that their Subscriptions give a `startingCSV`, each"
            " `package:channel:CSV`: all bundles from there to the head are downloaded. Not in the"
            " existing operator."
        ),
    ] = msgspec.field(name="operatorsStartingCSVs", default=())
    exclude_precache_patterns: Annotated[
        tuple[str, ...], about("Patterns of images that are not downloaded.")
    ] = ()
    space_required: Annotated[
        str, about("Space that must be free on each cluster, in GiB, as a whole number.")
    ] = ""
    additional_images: Annotated[
        tuple[str, ...], about("Images to download besides those of release and operators.")
    ] = ()
    nodes: Annotated[
        str,
        about(
            "Which nodes of each cluster download: one of them when empty, or `all`. Not in the"
            " existing operator."
        ),
    ] = ""


class OtherSpecification(Wire, frozen=True, kw_only=True):
    """A specification of some clusters; ours.

    What the policies ask of a cluster now is derived again after a restart; what it began with cannot
    be: a policy may have changed meanwhile.
    """

    hash: Annotated[str, about("Names it: 16 hex digits.")] = ""
    spec: Annotated[PrecachingSpec | None, about("What these clusters download.")] = None
    clusters: Annotated[int, about("How many clusters have it.")] = 0
    begun: Annotated[
        tuple[str, ...] | None,
        about(
            "Which of them have begun with it or are cached for it, by name; `site-{001,004}` are"
            " `site-001` and `site-004`. Whoever has begun and is in no such list has begun with"
            " `precaching.spec`."
        ),
    ] = None
