"""Images as a run has resolved them, with their blobs in a spool."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import struct
import tarfile
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
from talm.sim.images import CONFIG, LAYER, SyntheticImage, descriptor

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


def docker_listed(built: SyntheticImage, name: str = "quay.io/a:1") -> Image:
    """Docker's manifest in Docker's list."""
    return listed(docker_schema_2(built), name, DOCKER_LIST)


def runnable() -> SyntheticImage:
    """An image whose `/hello` says so; its configuration makes that the command."""
    program = _program()
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        entry = tarfile.TarInfo("hello")
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    layer = gzip.compress(target.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(target.getvalue())]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer)],
    }
    blobs = {digest_of(config): config, digest_of(layer): layer}
    return SyntheticImage("hello", json.dumps(manifest).encode(), blobs)


def _program() -> bytes:
    """write(1, "hello\\n", 6); exit(0), in one segment of an ELF file for x86-64."""
    said = b"hello\n"
    code = bytes.fromhex(
        "b801000000 bf01000000 488d3510000000 ba06000000 0f05 b83c000000 31ff 0f05"
    )
    base, headers = 0x400000, 64 + 56
    size = headers + len(code) + len(said)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    file = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return file + segment + code + said


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
