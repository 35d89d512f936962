"""The images of a release: the list that its own image carries.

`release-manifests/image-references` is an ImageStream in one of the top layers.  What is missing
or malformed fails the run: an empty list would be reported as a success.
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Final

import msgspec

from talm.agent.content.archive import BadLayer, Limits
from talm.agent.content.layerfiles import LayerFiles
from talm.agent.content.layers import Overlay
from talm.agent.content.manifests import Image, parts_of
from talm.agent.content.references import Reference, parse
from talm.agent.failures import failure, text_of
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass
from talm.errors import AgentError

REFERENCES: Final = "release-manifests/image-references"
_MAX_BYTES: Final = 4 << 20  # a real one has 100 KiB; decoded it takes up to 30 times as much


@dataclasses.dataclass(frozen=True, slots=True)
class Component:
    """One image of a release, by the name that the release gives it and its pull spec as written."""

    name: str
    reference: Reference

    @property
    def line(self) -> str:
        """What exclude patterns are matched with: name and pull spec, as the existing operator."""
        return f"{self.name}${self.reference}"


class _From(msgspec.Struct):
    kind: str = ""
    name: str = ""


class _Tag(msgspec.Struct):
    name: str = ""
    source: _From | None = msgspec.field(default=None, name="from")


class _Spec(msgspec.Struct):
    tags: list[_Tag] = []


class _ImageStream(msgspec.Struct):
    kind: str = ""
    spec: _Spec | None = None


async def read_release(
    image: Image, files: LayerFiles, limits: Limits | None = None
) -> tuple[Component, ...]:
    """Return the components of a release image, in its order; only the layers needed are read.

    Raises AgentError: ReleaseUnreadable, or that of the download.
    """
    limits = limits or Limits()
    overlay = Overlay(REFERENCES)
    for layer in reversed(parts_of(image).layers):
        if layer.size > limits.unpacked:
            raise _unreadable(image, f"layer {layer.digest} has {layer.size} bytes")
        file = await files.file(image, layer)
        try:
            with storage_errors(file):
                found = await asyncio.to_thread(_look, file, overlay, limits)
            if found is not None:
                return parse_references(found)
        except (BadLayer, ValueError) as exc:
            raise _unreadable(image, f"layer {layer.digest}: {exc}") from exc
        if overlay.is_closed:
            break
    raise _unreadable(image, f"none of its layers has {REFERENCES}")


def parse_references(content: bytes) -> tuple[Component, ...]:
    """Read the ImageStream.  Raises ValueError that says what is wrong with it."""
    try:
        stream = msgspec.json.decode(content, type=_ImageStream)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"{REFERENCES}: {exc}") from exc
    tags = stream.spec.tags if stream.spec else []
    if stream.kind != "ImageStream" or not tags:
        raise ValueError(f"{REFERENCES} is no ImageStream that lists images")
    return tuple(_component(tag) for tag in tags)


def _component(tag: _Tag) -> Component:
    where = f"{REFERENCES}, tag {tag.name[:80]!r}"
    if not (tag.name and tag.name.isascii() and tag.name.isprintable()):
        raise ValueError(f"{where}: that is no name")
    if tag.source is None or tag.source.kind != "DockerImage":
        raise ValueError(f"{where} names no image")
    try:
        reference = parse(tag.source.name)
    except AgentError as exc:
        raise ValueError(f"{where}: {text_of(exc)}") from exc
    if not reference.digest:
        raise ValueError(f"{where}: {reference} has no digest")
    return Component(tag.name, reference)


def _look(file: Path, overlay: Overlay, limits: Limits) -> bytes | None:
    for member in overlay.visible(file, limits):
        if member.path == overlay.root:
            return member.content(min(limits.file, _MAX_BYTES))
    return None


def _unreadable(image: Image, why: str) -> AgentError:
    return failure(FailureClass.RELEASE_UNREADABLE, f"{image.reference}: {why}")
