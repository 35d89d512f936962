"""What to cache: one specification for all clusters, out of policies, PreCachingConfig and overrides.

    item                 taken from the first of these that has it
    platformImage        PreCachingConfig, ClusterVersion of the policies
    operatorsIndexes     PreCachingConfig, CatalogSources of the policies
    packagesAndChannels  PreCachingConfig, ConfigMap, Subscriptions of the policies
    startingCSVs         with the packages: Subscriptions of the policies, or none
    excludePatterns      PreCachingConfig, ConfigMap
    spaceRequired        PreCachingConfig, ConfigMap, 35 GiB
    additionalImages     PreCachingConfig
    nodes                PreCachingConfig, one
    workload image       PreCachingConfig where the operator's settings allow it (else the settings')

What is taken from an override need not be derivable from the policies.  Not decided here: what a
cluster still misses (the workload knows), and which policies count (policies.py).  Texts are the
existing operator's where it has one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from talm.api.cgu import ClusterGroupUpgrade, PrecachingSpec
from talm.api.pod import Nodes
from talm.api.precaching import Overrides, PreCachingConfigSpec
from talm.api.words import OVERRIDES_CONFIG_MAP, Reason
from talm.errors import BadSpec

from . import operators
from .model import Json, RootPolicy, SpecSources
from .platform_image import (
    Pending,
    is_release,
    platform_image,
    platform_queries,
    validate_platform_image,
)
from .space import whole_gib

__all__ = [
    "Invalid",
    "Pending",
    "SpecVerdict",
    "Valid",
    "derive",
    "is_cached_for",
    "names_platform_image",
    "platform_queries",
    "spec_hash",
    "validate_platform_image",
]

_DEFAULT_SPACE: Final = "35 GiB"
_PACKAGES_KEY: Final = "operators.packagesAndChannels"
_PATTERNS_KEY: Final = "excludePrecachePatterns"
_SPACE_KEY: Final = "precache.spaceRequired"
# Keys that older releases of the existing operator read, and where the value belongs today.
_OLD_KEYS: Final = {
    "platform.image": "overrides.platformImage",
    "operators.indexes": "overrides.operatorsIndexes",
    "precache.image": "overrides.preCacheImage",
}
_CONFIG_FAILED: Final = "failed to get PreCachingConfig resource due to"


@dataclass(frozen=True, slots=True)
class Valid:
    """The specification; `workload_image` "" means the one of the operator's settings.

    `warnings` are sentences about what was given and has no effect.
    """

    spec: PrecachingSpec
    workload_image: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why there is no specification: PrecacheSpecValid=False, in the current and the manual's words."""

    why: str
    warnings: tuple[str, ...] = ()

    @property
    def reason(self) -> Reason:
        return Reason.SPEC_INCOMPLETE

    @property
    def message(self) -> str:
        return f"Precaching spec is incomplete: {self.why}"

    @property
    def manual_reason(self) -> Reason:
        return Reason.SPEC_IS_INCOMPLETE

    @property
    def manual_message(self) -> str:
        return self.why


SpecVerdict = Valid | Invalid | Pending


def derive(
    cgu: ClusterGroupUpgrade,
    policies_in_order: Sequence[RootPolicy],
    sources: SpecSources,
    allowed_workload_images: Sequence[str],
) -> SpecVerdict:
    """Work out what is to be cached.

    `policies_in_order` are those for upgrade, then those complied with before
    (`Assessment.in_spec_order`).  Of `allowed_workload_images` one that ends with `*` is a prefix.
    What can be said without the update graph is said before its answer is awaited.
    """
    warnings = _warnings(cgu.metadata.namespace, sources.overrides)
    try:
        config = _config(sources)
        spec = _without_platform(config, sources.overrides, policies_in_order)
        overrides = config.overrides or Overrides()
        if not _overriding_packages(overrides, sources.overrides):
            warnings += tuple(operators.unknown_starts(policies_in_order))
        workload_image = _workload_image(overrides, allowed_workload_images)
        image: str | Pending = overrides.platform_image.strip()
        if not image:
            image = platform_image(policies_in_order, sources.graph, pre_caching=True)
        if isinstance(image, Pending):
            return image
        whole = PrecachingSpec(platform_image=image, **spec)
        _check_consistency(whole)
    except BadSpec as exc:
        return Invalid(str(exc), warnings)
    return Valid(whole, workload_image, warnings)


def workload_image(sources: SpecSources, allowed_workload_images: Sequence[str]) -> str:
    """The image that the PreCachingConfig asks for, "" when it asks for none that it may have.

    It does not wait for the update graph: whoever has begun gets the same image after a restart.
    """
    overrides = (sources.config.spec.overrides if sources.config else None) or Overrides()
    try:
        return _workload_image(overrides, allowed_workload_images)
    except BadSpec:
        return ""


def is_cached_for(wanted: Json) -> bool:
    """Tell whether anything is cached for an object of a policy."""
    return is_release(wanted) or operators.is_operator(wanted)


def names_platform_image(sources: SpecSources) -> bool:
    """Tell whether the PreCachingConfig takes the place of the policies' release."""
    overrides = sources.config.spec.overrides if sources.config else None
    return overrides is not None and bool(overrides.platform_image.strip())


def spec_hash(spec: PrecachingSpec) -> str:
    """Name a specification: 16 hex digits, fit for a label.

    Lists are sets here: policies in another order do not make a cache outdated.  What only newer
    releases know counts when it is said, so that caches outlive an update of the operator.
    """
    parts: list[object] = [
        spec.platform_image,
        sorted(set(spec.operators_indexes)),
        sorted(set(spec.operators_packages_and_channels)),
        sorted(set(spec.exclude_precache_patterns)),
        spec.space_required,
        sorted(set(spec.additional_images)),
    ]
    if spec.nodes:
        parts.append({"nodes": spec.nodes})
    if spec.operators_starting_csvs:
        parts.append({"startingCSVs": sorted(set(spec.operators_starting_csvs))})
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class _Parts(TypedDict):
    """The fields of PrecachingSpec that need no update graph."""

    operators_indexes: tuple[str, ...]
    operators_packages_and_channels: tuple[str, ...]
    operators_starting_csvs: tuple[str, ...]
    exclude_precache_patterns: tuple[str, ...]
    space_required: str
    additional_images: tuple[str, ...]
    nodes: str


def _config(sources: SpecSources) -> PreCachingConfigSpec:
    if sources.config is not None:
        return sources.config.spec
    if sources.config_name:
        name = json.dumps(sources.config_name)
        raise BadSpec(f"{_CONFIG_FAILED} PreCachingConfig.ran.openshift.io {name} not found")
    return PreCachingConfigSpec()


def _without_platform(
    config: PreCachingConfigSpec, data: Mapping[str, str], policies: Sequence[RootPolicy]
) -> _Parts:
    """Apply the precedence in the module's docstring; derive only what nobody overrides."""
    overrides = config.overrides or Overrides()
    packages = _overriding_packages(overrides, data)
    return _Parts(
        operators_indexes=_tidy(overrides.operators_indexes or ())
        or _tidy(operators.indexes(policies)),
        operators_packages_and_channels=packages or _tidy(operators.packages(policies)),
        operators_starting_csvs=() if packages else _tidy(operators.starting_csvs(policies)),
        exclude_precache_patterns=_tidy(config.exclude_precache_patterns or ())
        or _lines(data, _PATTERNS_KEY),
        space_required=_space(config.space_required.strip() or data.get(_SPACE_KEY, "").strip()),
        additional_images=_tidy(config.additional_images or ()),
        nodes=_nodes(config.nodes),
    )


def _overriding_packages(overrides: Overrides, data: Mapping[str, str]) -> tuple[str, ...]:
    return _tidy(overrides.operators_packages_and_channels or ()) or _lines(data, _PACKAGES_KEY)


def _nodes(text: str) -> str:
    """Leave the default unsaid: the status of whoever does not use this is as it always was."""
    if text in {"", Nodes.ONE}:
        return ""
    if text == Nodes.ALL:
        return Nodes.ALL.value
    raise BadSpec(f"PreCachingConfig: nodes is {text!r}, it may be one or all")


def _space(text: str) -> str:
    """The existing operator reports a bad size as a failure of the PreCachingConfig: kept."""
    try:
        return str(whole_gib(text or _DEFAULT_SPACE))
    except BadSpec as exc:
        raise BadSpec(f"{_CONFIG_FAILED} spaceRequired: {exc}") from exc


def _workload_image(overrides: Overrides, allowed: Sequence[str]) -> str:
    """Let only images through that the operator's settings name: the workload is root there."""
    image = overrides.pre_cache_image.strip()
    if not image or any(_allows(known, image) for known in allowed):
        return image
    raise BadSpec(f"preCacheImage {image} is not among the operator's allowedWorkloadImages")


def _allows(known: str, image: str) -> bool:
    return image.startswith(known[:-1]) if known.endswith("*") else image == known


def _check_consistency(spec: PrecachingSpec) -> None:
    """Refuse a specification that would cache less than it seems to say."""
    asked = spec.operators_packages_and_channels
    if spec.operators_indexes and not asked:
        why = "olm index provided, but no packages"
    elif not (spec.operators_indexes or spec.platform_image or spec.additional_images):
        why = "no software spec provided"
    elif asked and not spec.operators_indexes:
        why = "packages provided, but no olm index"
    else:
        return
    raise BadSpec(f"inconsistent precaching configuration: {why}")


def _warnings(namespace: str, data: Mapping[str, str]) -> tuple[str, ...]:
    where = f"ConfigMap {namespace}/{OVERRIDES_CONFIG_MAP}"
    return tuple(
        f"{where}: {key} is ignored; set {today} in a PreCachingConfig"
        for key, today in _OLD_KEYS.items()
        if data.get(key, "").strip()
    )


def _lines(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    return _tidy(data.get(key, "").split("\n"))


def _tidy(entries: Iterable[str]) -> tuple[str, ...]:
    """Trim, drop blanks, keep the first of equal entries."""
    return tuple(dict.fromkeys(entry.strip() for entry in entries if entry.strip()))
