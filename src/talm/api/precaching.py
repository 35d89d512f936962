"""PreCachingConfig, `ran.openshift.io/v1alpha1`: fine-tunes a ClusterGroupUpgrade's pre-caching."""

from __future__ import annotations

from typing import Annotated

from .meta import ObjectMeta, Wire, about
from .pod import Nodes


class Overrides(Wire, frozen=True, kw_only=True):
    platform_image: Annotated[
        str,
        about(
            "Release image in place of the one that the policies ask for. Newer releases of the"
            " existing operator ignore it."
        ),
    ] = ""
    operators_indexes: Annotated[
        tuple[str, ...] | None,
        about(
            "Catalog images in place of those that the policies name. Newer releases of the"
            " existing operator ignore them."
        ),
    ] = None
    operators_packages_and_channels: Annotated[
        tuple[str, ...] | None,
        about(
            "Operators to download, each `package:channel`, in place of those that the policies"
            " subscribe to."
        ),
    ] = None
    pre_cache_image: Annotated[
        str,
        about(
            "Image of the workload that downloads on the clusters. Taken only when the operator's"
            " settings allow this image: it runs there with the rights of root."
        ),
    ] = ""


class PreCachingConfigSpec(Wire, frozen=True, kw_only=True):
    overrides: Annotated[
        Overrides | None, about("What is taken from here and not from the managed policies.")
    ] = None
    space_required: Annotated[
        str,
        about(
            "Space that must be free on each cluster before anything is downloaded, such as"
            " `35 GiB` or `40 GB`; a bare number is in bytes. Rounded up to whole GiB; when empty,"
            " 35 GiB."
        ),
    ] = ""
    exclude_precache_patterns: Annotated[
        tuple[str, ...] | None,
        about(
            "Basic regular expressions; release images whose name matches one of them are not"
            " downloaded."
        ),
    ] = None
    additional_images: Annotated[
        tuple[str, ...] | None,
        about("Images to download besides those of release and operators."),
    ] = None
    nodes: Annotated[
        str,
        about(
            "Which nodes of each cluster: `one` (also when empty), the node on which the workload's"
            " pod happens to run, or `all`. Each node downloads everything for itself, over the"
            " same link.",
            enum=[*(nodes.value for nodes in Nodes), ""],
        ),
    ] = ""


class PreCachingConfig(Wire, frozen=True, kw_only=True):
    """Fine-tunes what the ClusterGroupUpgrades that refer to it download."""

    metadata: ObjectMeta
    spec: Annotated[
        PreCachingConfigSpec, about("What to download, what to leave out, and how much to expect.")
    ] = PreCachingConfigSpec()
