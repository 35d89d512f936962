"""Operator catalogs: from index images and `NAME:CHANNEL` to the images of the heads.

The image says by a label where its catalog is; it is read from the layers, top down, whiteouts
honored.  A package that several catalogs have is taken from each: which of them the cluster
subscribes to is not known here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from talm.agent.catalog.channels import (
    BadCatalog,
    Bundle,
    NoStart,
    Package,
    Wanted,
    bundles_for,
    has_start,
    images_of,
)
from talm.agent.catalog.fbc import Collector
from talm.agent.catalog.sqlite import read_packages
from talm.agent.content.archive import BadLayer, Limits, Member
from talm.agent.content.layerfiles import LayerFiles
from talm.agent.content.layers import Overlay
from talm.agent.content.manifests import Image, parts_of
from talm.agent.content.references import Reference, parse
from talm.agent.failures import failure, text_of
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass
from talm.errors import AgentError

CONFIGS_LABEL: Final = "operators.operatorframework.io.index.configs.v1"
DATABASE_LABEL: Final = "operators.operatorframework.io.index.database.v1"
_MAX_CONFIG: Final = 8 << 20
_MAX_FILES: Final = 4 << 30  # bytes of all files of one catalog
_MAX_DATABASE: Final = 4 << 30


@dataclasses.dataclass(frozen=True, slots=True)
class Catalog:
    """The wanted packages of one index image."""

    reference: Reference
    packages: Mapping[str, Package]


class _Inner(msgspec.Struct):
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")


class _Config(msgspec.Struct):
    config: _Inner | None = None


async def read_catalog(
    image: Image, files: LayerFiles, wanted: frozenset[str], limits: Limits | None = None
) -> Catalog:
    """Read what the index image has of the packages `wanted` (by name).

    Raises AgentError: CatalogUnreadable, or that of the download.
    """
    try:
        packages = await _read(image, files, wanted, limits or Limits())
    except (BadCatalog, BadLayer) as exc:
        raise _unreadable(image.reference, str(exc)) from exc
    return Catalog(image.reference, packages)


async def _read(
    image: Image, files: LayerFiles, wanted: frozenset[str], limits: Limits
) -> dict[str, Package]:
    """Read by the label that is there; an image that has both is read as files, as OLM does."""
    labels = await _labels(image, files)
    for label, read in ((CONFIGS_LABEL, _read_files), (DATABASE_LABEL, _read_database)):
        if label in labels:
            return await read(image, files, _root(labels[label], label), wanted, limits)
    raise BadCatalog("it has no label that says where its catalog is")


def choose_bundles(catalogs: Sequence[Catalog], wanted: Iterable[Wanted]) -> tuple[Bundle, ...]:
    """Return the bundles to cache: each channel's head, or all from the start to the head.

    Raises AgentError: PackageNotFound when no catalog has the package, the channel or the start,
    CatalogUnreadable when one that has it contradicts itself.
    """
    chosen: dict[Bundle, None] = {}
    for one in wanted:
        chosen.update(dict.fromkeys(_chosen(catalogs, one)))
    return tuple(chosen)


def _chosen(catalogs: Sequence[Catalog], wanted: Wanted) -> tuple[Bundle, ...]:
    """Return one channel's bundles of every catalog from which the start can be upgraded."""
    found: list[Bundle] = []
    lacking: list[NoStart] = []
    having = _having(catalogs, wanted)
    for catalog, package in having:
        try:
            found += bundles_for(package, package.channels[wanted.channel], wanted)
        except NoStart as exc:
            lacking.append(exc)
        except BadCatalog as exc:
            raise _unreadable(catalog.reference, str(exc)) from exc
    if len(lacking) == len(having):
        raise failure(FailureClass.PACKAGE_NOT_FOUND, str(lacking[0]))
    return tuple(found)


def starts_passed_over(catalogs: Sequence[Catalog], wanted: Iterable[Wanted]) -> tuple[str, ...]:
    """Say which starts no catalog has (any more), so that the head alone is taken."""
    return tuple(
        f"channel {one} has no {one.start} to start from; only its head is cached"
        for one in wanted
        if one.if_there
        and not any(
            has_start(package, package.channels[one.channel], one.start)
            for _, package in _having(catalogs, one)
        )
    )


def references_of(bundles: Iterable[Bundle]) -> tuple[Reference, ...]:
    """Return the images of bundles, each once.  Raises AgentError (CatalogUnreadable)."""
    found: dict[Reference, None] = {}
    for bundle in bundles:
        try:
            found.update((parse(image), None) for image in images_of(bundle))
        except BadCatalog as exc:
            raise failure(FailureClass.CATALOG_UNREADABLE, str(exc)) from exc
        except AgentError as exc:
            raise failure(
                FailureClass.CATALOG_UNREADABLE, f"bundle {bundle.name}: {text_of(exc)}"
            ) from exc
    return tuple(found)


def _having(catalogs: Sequence[Catalog], wanted: Wanted) -> list[tuple[Catalog, Package]]:
    """Return the catalogs that have the channel.  Raises AgentError (PackageNotFound)."""
    named = [(c, c.packages[wanted.package]) for c in catalogs if wanted.package in c.packages]
    having = [
        (catalog, package) for catalog, package in named if wanted.channel in package.channels
    ]
    if having:
        return having
    if named:
        others = sorted({channel for _, package in named for channel in package.channels})
        why = f"has no channel {wanted.channel!r}, only {', '.join(others) or 'none at all'}"
    else:
        why = f"is in none of {', '.join(str(catalog.reference) for catalog in catalogs)}"
    raise failure(FailureClass.PACKAGE_NOT_FOUND, f"package {wanted.package!r} {why}")


async def _labels(image: Image, files: LayerFiles) -> dict[str, str]:
    config = parts_of(image).config
    if config.size > _MAX_CONFIG:
        raise BadCatalog(f"its configuration has {config.size} bytes")
    file = await files.file(image, config)
    with storage_errors(file):
        content = await asyncio.to_thread(file.read_bytes)
    try:
        inner = msgspec.json.decode(content, type=_Config).config
    except (ValueError, RecursionError) as exc:
        raise BadCatalog(f"its configuration: {exc}") from exc
    return (inner.labels if inner else None) or {}


def _root(text: str, label: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise BadCatalog(f"label {label} is {text[:80]!r}")
    return "/".join(parts)


async def _read_files(
    image: Image, files: LayerFiles, root: str, wanted: frozenset[str], limits: Limits
) -> dict[str, Package]:
    """Read a file-based catalog: every file of it, as the catalogs' own tool does."""
    collector = Collector(wanted)
    left = _MAX_FILES

    def take(member: Member) -> None:
        nonlocal left
        left -= member.size
        if left < 0:
            raise BadCatalog("it is too large when unpacked")
        path = member.path.removeprefix(f"{root}/")
        collector.add(path, member.content(limits.file))

    seen = await _each(image, files, Overlay(root), limits, take)
    if not seen:
        raise BadCatalog(f"there is nothing in /{root}")
    return collector.packages()


async def _read_database(
    image: Image, files: LayerFiles, root: str, wanted: frozenset[str], limits: Limits
) -> dict[str, Package]:
    """Read an SQLite catalog by a copy on disk, which goes at once."""
    with tempfile.TemporaryDirectory(prefix=".catalog-", dir=files.scratch) as scratch:
        copy = Path(scratch) / "index.db"

        def take(member: Member) -> None:
            if member.path == root:
                if member.size > _MAX_DATABASE:
                    raise BadCatalog(f"the database has {member.size} bytes")
                with storage_errors(copy), copy.open("wb") as target:
                    target.writelines(member.chunks())

        await _each(image, files, Overlay(root), limits, take)
        if not copy.exists():
            raise BadCatalog(f"there is no /{root}")
        return await asyncio.to_thread(read_packages, copy, wanted)


async def _each(
    image: Image,
    files: LayerFiles,
    overlay: Overlay,
    limits: Limits,
    take: Callable[[Member], None],
) -> int:
    """Show `take` every visible file, from the top layer down.  Returns how many there were."""
    seen = 0
    for layer in reversed(parts_of(image).layers):
        if layer.size > limits.unpacked:
            raise BadLayer(f"layer {layer.digest} has {layer.size} bytes")
        file = await files.file(image, layer)
        with storage_errors(file):
            seen += await asyncio.to_thread(_show, file, overlay, limits, take)
        if overlay.is_closed:
            break
    return seen


def _show(file: Path, overlay: Overlay, limits: Limits, take: Callable[[Member], None]) -> int:
    seen = 0
    for member in overlay.visible(file, limits):
        take(member)
        seen += 1
    return seen


def _unreadable(reference: Reference, why: str) -> AgentError:
    return failure(FailureClass.CATALOG_UNREADABLE, f"{reference}: {why}")
