"""From a reference to what it consists of: the documents as served, and the blobs that they name.

A list or index leads to this machine's architecture; the list itself is kept too, so that the
digest the user named is the digest that the store holds.  URLs inside manifests are not followed.
All of it was written by others: what is not understood, or says two things at once, is refused.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import msgspec

from talm.agent.content.references import Reference, is_digest
from talm.agent.failures import failure
from talm.agent.transfer.registry import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Corrupt,
    Document,
    Registry,
)
from talm.api.progress import FailureClass
from talm.errors import Bug

# Which of manifests, config and layers are there.
_LIST: Final = (True, False, False)
_IMAGE: Final = (False, True, True)
_TYPES: Final = {
    **dict.fromkeys((OCI_INDEX, DOCKER_LIST), _LIST),
    **dict.fromkeys((OCI_MANIFEST, DOCKER_MANIFEST), _IMAGE),
}
# What every processor of an architecture runs, and what podman asks for: an entry for a newer
# one (amd64 "v3") may come first in a list and does not run on older nodes.
_VARIANTS: Final = {"amd64": ("", "v1"), "arm64": ("", "v8")}
_ELSEWHERE: Final = (".foreign.", ".nondistributable.")  # layers to be fetched from a URL
_FEW: Final = 10
_MAX_DEPTH: Final = 3  # an index of indexes is legal and rare; a chain without end is an attack


class Unreadable(Exception):
    """The document is no manifest that this program understands."""


@dataclasses.dataclass(frozen=True, slots=True)
class Blob:
    """A config or a layer: `size` is in compressed bytes, as served."""

    digest: str
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One image, resolved.  `documents`: what the reference names first, its manifest last."""

    reference: Reference
    documents: tuple[Document, ...]
    blobs: tuple[Blob, ...]

    @property
    def digest(self) -> str:
        """The digest that the reference names (or its tag meant at the time)."""
        return self.documents[0].digest


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What an image consists of, layers from the bottom up; one may be there more than once."""

    config: Blob
    layers: tuple[Blob, ...]


class _Platform(msgspec.Struct):
    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.architecture or "unknown", self.variant) if part)


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: int
    media_type: str = ""
    platform: _Platform | None = None
    urls: list[str] | None = None


class _Body(msgspec.Struct, rename="camel"):
    media_type: str = ""
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None


async def resolve(
    registry: Registry, reference: Reference, architecture: str, kind: FailureClass
) -> Image:
    """Fetch the documents of `reference` for `architecture` (Go's GOARCH word).

    Raises AgentError: as `Registry.manifest`, and of class `kind` when what is served cannot be
    read, names no such architecture, or twice does not hash to its digest.
    """
    try:
        return await _resolve(registry, reference, architecture)
    except (Corrupt, Unreadable) as exc:
        raise failure(kind, f"{reference}: {exc}") from exc


async def _resolve(registry: Registry, reference: Reference, architecture: str) -> Image:
    documents: list[Document] = []
    version = reference.version
    size: int | None = None
    for _ in range(_MAX_DEPTH):
        document = await _intact(registry, reference, version)
        if size is not None and len(document.body) != size:
            raise Unreadable(f"{version} has {len(document.body)} bytes, its list says {size}")
        body = read_body(document)
        documents.append(document)
        if body.manifests is None:
            return Image(reference, tuple(documents), _blobs(body))
        chosen = choose(body.manifests, architecture)
        version, size = chosen.digest, chosen.size
    raise Unreadable(f"it is nested more than {_MAX_DEPTH} lists deep")


async def _intact(registry: Registry, reference: Reference, version: str) -> Document:
    """Ask once more when the first answer is corrupt: a broken cache on the way is common."""
    try:
        return await registry.manifest(reference, version)
    except Corrupt:
        return await registry.manifest(reference, version)


def read_body(document: Document) -> _Body:
    """Decode a manifest or index and check every digest in it.  Raises Unreadable."""
    try:
        body = msgspec.json.decode(document.body, type=_Body)
    except (ValueError, RecursionError) as exc:  # no JSON, no UTF-8, nested without end
        raise Unreadable(f"{document.digest} is no manifest: {exc}") from exc
    # One that is both is read as either by different programs (CVE-2021-41190): refused.
    has = (body.manifests is not None, body.config is not None, body.layers is not None)
    if has not in (_LIST, _IMAGE):
        raise Unreadable(
            f"{document.digest} ({document.media_type}) is neither an image nor a list"
        )
    if body.media_type and _TYPES.get(body.media_type) != has:
        raise Unreadable(f"{document.digest} is not what {body.media_type[:80]!r} means")
    _check_parts(document, body)
    return body


def _check_parts(document: Document, body: _Body) -> None:
    sizes: dict[str, int] = {}
    config = [body.config] if body.config else []
    for part in [*config, *(body.layers or []), *(body.manifests or [])]:
        if not is_digest(part.digest) or part.size < 0:
            raise Unreadable(f"{document.digest} names {part.digest[:80]!r}, which is no digest")
        if part.urls or any(word in part.media_type for word in _ELSEWHERE):
            raise Unreadable(f"{document.digest} has a layer that is kept outside of the registry")
        if sizes.setdefault(part.digest, part.size) != part.size:
            raise Unreadable(f"{document.digest} names {part.digest} with two sizes")


def choose(manifests: list[_Descriptor], architecture: str) -> _Descriptor:
    """Pick the Linux image of `architecture`, the first when several fit.  Raises Unreadable."""
    there: dict[str, None] = {}
    for entry in manifests:
        platform = entry.platform or _Platform()
        fits = platform.architecture == architecture and platform.os in ("linux", "")
        if fits and platform.variant in _VARIANTS.get(architecture, (platform.variant,)):
            return entry
        there[str(platform)] = None
    names = ", ".join(list(there)[:_FEW]) or "none at all"
    raise Unreadable(f"the list has no image for {architecture}, only for {names}")


def media_type_of(document: Document) -> str:
    """Return the type to store with a document: what it says of itself, else what was served."""
    body = read_body(document)
    if body.media_type:
        return body.media_type
    shape, default = (_IMAGE, OCI_MANIFEST) if body.manifests is None else (_LIST, OCI_INDEX)
    return document.media_type if _TYPES.get(document.media_type) == shape else default


def parts_of(image: Image) -> Parts:
    """Return config and layers of a resolved image."""
    body = read_body(image.documents[-1])
    if body.config is None:  # resolve() ends at an image
        raise Bug(f"{image.reference} was resolved to a list")
    layers = tuple(Blob(layer.digest, layer.size) for layer in body.layers or ())
    return Parts(Blob(body.config.digest, body.config.size), layers)


def _blobs(body: _Body) -> tuple[Blob, ...]:
    parts = ([body.config] if body.config else []) + (body.layers or [])
    return tuple({part.digest: Blob(part.digest, part.size) for part in parts}.values())
