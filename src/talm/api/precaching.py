"""PreCachingConfig, `ran.openshift.io/v1alpha1`."""

from __future__ import annotations

from .meta import ObjectMeta, Wire


class Overrides(Wire, frozen=True, kw_only=True):
    platform_image: str = ""
    operators_indexes: tuple[str, ...] | None = None
    operators_packages_and_channels: tuple[str, ...] | None = None
    pre_cache_image: str = ""


class PreCachingConfigSpec(Wire, frozen=True, kw_only=True):
    overrides: Overrides | None = None
    space_required: str = ""
    exclude_precache_patterns: tuple[str, ...] | None = None
    additional_images: tuple[str, ...] | None = None


class PreCachingConfig(Wire, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: PreCachingConfigSpec = PreCachingConfigSpec()
