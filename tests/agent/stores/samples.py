"""Images as a run has resolved them, with their blobs in a spool."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any, Final

from talm.agent.content.manifests import Blob, Image
from talm.agent.content.references import parse
from talm.agent.transfer.registry import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    digest_of,
)
from talm.agent.transfer.spool import Spool
from talm.sim.images import LAYER, SyntheticImage, build_image, descriptor
from talm.sim.programs import says

_DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def resolved(built: SyntheticImage, name: str = "quay.io/a:1") -> Image:
    """The image under a name; `@` at its end stands for its digest."""
    document = Document(built.digest, OCI_MANIFEST, built.manifest)
    return _image(name, (document,), built)


def listed(built: SyntheticImage, name: str = "quay.io/a:1", list_type: str = OCI_INDEX) -> Image:
    """The image in a list with one for another architecture that nobody has."""
    kind = _kind_of(built)
    entries = [
        _entry(kind, built.manifest, "amd64"),
        _entry(kind, b"not here", "s390x"),
    ]
    body = json.dumps({"schemaVersion": 2, "mediaType": list_type, "manifests": entries}).encode()
    top = Document(digest_of(body), list_type, body)
    return _image(name, (top, Document(built.digest, kind, built.manifest)), built)


def docker_schema_2(built: SyntheticImage) -> SyntheticImage:
    """The same image as Docker writes it."""
    manifest: dict[str, Any] = json.loads(built.manifest)
    manifest["mediaType"] = DOCKER_MANIFEST
    manifest["config"]["mediaType"] = _DOCKER_CONFIG
    for layer in manifest["layers"]:
        layer["mediaType"] = _DOCKER_LAYER
    return dataclasses.replace(built, manifest=json.dumps(manifest, indent=3).encode())


def zstd_layers(built: SyntheticImage) -> SyntheticImage:
    """The same image with its layers as zstd, which here does not make them smaller."""
    manifest: dict[str, Any] = json.loads(built.manifest)
    blobs = dict(built.blobs)
    for layer in manifest["layers"]:
        packed = _zstd(gzip.decompress(blobs.pop(layer["digest"])))
        layer.update(descriptor(LAYER.replace("gzip", "zstd"), packed))
        blobs[digest_of(packed)] = packed
    return dataclasses.replace(built, manifest=json.dumps(manifest).encode(), blobs=blobs)


def _zstd(content: bytes) -> bytes:
    """One frame of raw blocks (RFC 8878, 3.1.1)."""
    parts = [content[at : at + (64 << 10)] for at in range(0, len(content), 64 << 10)]
    heads = [(len(part) << 3) | (part is parts[-1]) for part in parts]
    blocks = [h.to_bytes(3, "little") + p for h, p in zip(heads, parts, strict=True)]
    return b"\x28\xb5\x2f\xfd\xe0" + len(content).to_bytes(8, "little") + b"".join(blocks)


def docker_listed(built: SyntheticImage, name: str = "quay.io/a:1") -> Image:
    """Docker's manifest in Docker's list."""
    return listed(docker_schema_2(built), name, DOCKER_LIST)


def runnable() -> SyntheticImage:
    """An image whose `/hello` says so; its configuration makes that the command."""
    return build_image("hello", [{"hello": says("hello\n")}], command=["/hello"])


def spooled(directory: Path, built: SyntheticImage, *, but: frozenset[str] = frozenset()) -> Spool:
    """A spool with the image's blobs."""
    spool = Spool(directory)
    directory.mkdir(exist_ok=True)
    for digest, blob in built.blobs.items():
        if digest not in but:
            spool.whole(digest).write_bytes(blob)
    return spool


def _image(name: str, documents: tuple[Document, ...], built: SyntheticImage) -> Image:
    full = f"{name}{documents[0].digest}" if name.endswith("@") else name
    blobs = tuple(Blob(digest, len(blob)) for digest, blob in built.blobs.items())
    return Image(parse(full), documents, blobs)


def _kind_of(built: SyntheticImage) -> str:
    return str(json.loads(built.manifest)["mediaType"])


def _entry(kind: str, body: bytes, architecture: str) -> dict[str, Any]:
    platform = {"architecture": architecture, "os": "linux"}
    return {"mediaType": kind, "digest": digest_of(body), "size": len(body), "platform": platform}
