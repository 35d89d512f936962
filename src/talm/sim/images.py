"""A small release image, made on the spot: real OCI images in a real registry, synthetic content.

The release has what a reader of releases looks for (`release-manifests/image-references` and
`release-metadata`), some incompressible layers, and component images that its references name.
The same seed, size, version and registry give the same bytes, so the same digests.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urljoin

import aiohttp

from talm.errors import SetupError
from talm.sim.programs import ELF

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"

RELEASE_REPOSITORY: Final = "openshift-release/release"
COMPONENTS: Final = ("cluster-version-operator", "etcd", "machine-config-operator")

_COMPONENT_KIB: Final = 64
_LAYERS: Final = 4
_CREATED: Final = "2022-01-27T19:00:00Z"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=120)


@dataclasses.dataclass(frozen=True, slots=True)
class SyntheticImage:
    """One image in one repository: its manifest, and config and layers by digest."""

    repository: str
    manifest: bytes
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return digest_of(self.manifest)


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is ready to be used by several images: `blob` is its tar, gzipped."""

    blob: bytes
    diff_id: str


def digest_of(content: bytes) -> str:
    """Return `sha256:hex` of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def pack(files: Mapping[str, bytes]) -> Layer:
    """Make a layer of files, a map of path to content."""
    tar = _tar(files)
    return Layer(gzip.compress(tar, compresslevel=1, mtime=0), digest_of(tar))


def build_image(
    repository: str,
    layers: Sequence[Layer | Mapping[str, bytes]],
    *,
    labels: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
) -> SyntheticImage:
    """Build an image for linux/amd64 out of layers, each packed or a map of path to content.

    `command` is what a container of it runs; a program (programs.py) is executable.
    """
    packed = [layer if isinstance(layer, Layer) else pack(layer) for layer in layers]
    blobs = [layer.blob for layer in packed]
    settings: dict[str, Any] = {"Labels": dict(labels)} if labels else {}
    config = _json(
        {
            "created": _CREATED,
            "architecture": "amd64",
            "os": "linux",
            "config": settings | ({"Cmd": list(command)} if command else {}),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in packed]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, blob) for blob in blobs],
    }
    every = {digest_of(blob): blob for blob in (config, *blobs)}
    return SyntheticImage(repository, _json(manifest), every)


def build_release(
    registry: str,
    repository: str = RELEASE_REPOSITORY,
    *,
    version: str = "4.10.9",
    seed: int = 1,
    size_mib: float = 8.0,
) -> tuple[SyntheticImage, ...]:
    """Build a release and its components for `registry` (HOST:PORT); the release comes last.

    `size_mib` is the release image's compressed size, near enough.
    """
    chance = random.Random(f"{seed} {version}")
    owner = repository.rpartition("/")[0] or repository
    components = {
        name: build_image(
            f"{owner}/{name}", [{f"usr/bin/{name}": chance.randbytes(_COMPONENT_KIB << 10)}]
        )
        for name in COMPONENTS
    }
    share = int(size_mib * 2**20) // _LAYERS
    layers = [{f"usr/share/release/{n}.bin": chance.randbytes(share)} for n in range(_LAYERS)]
    layers.append(
        {
            "release-manifests/image-references": _references(registry, version, components),
            "release-manifests/release-metadata": _json(
                {"kind": "cincinnati-metadata-v0", "version": version, "previous": []}
            ),
        }
    )
    return *components.values(), build_image(repository, layers)


async def push(
    registry: str,
    repository: str = RELEASE_REPOSITORY,
    *,
    version: str = "4.10.9",
    seed: int = 1,
    size_mib: float = 8.0,
) -> str:
    """Build a release, push it to `registry` (HOST:PORT, plain HTTP), return its pull spec.

    Raises SetupError when the registry does not take it.
    """
    images = build_release(registry, repository, version=version, seed=seed, size_mib=size_mib)
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for image in images:
            await push_image(session, registry, image)
    release = images[-1]
    return f"{registry}/{release.repository}@{release.digest}"


async def push_image(
    session: aiohttp.ClientSession,
    registry: str,
    image: SyntheticImage,
    *,
    tag: str = "",
    mounts: Mapping[str, str] | None = None,
) -> None:
    """Push one image: blobs that the registry lacks, then the manifest, by digest or as `tag`.

    `mounts`: digests of blobs to another repository that has them, which saves sending them again.
    """
    base = f"http://{registry}/v2/{image.repository}"
    for digest, blob in image.blobs.items():
        async with session.head(f"{base}/blobs/{digest}") as there:
            if there.ok:
                continue
        mount = {"mount": digest, "from": mounts[digest]} if mounts and digest in mounts else {}
        async with session.post(f"{base}/blobs/uploads/", params=mount) as begun:
            _check(begun)
            if begun.status == HTTPStatus.CREATED:  # mounted
                continue
            place = urljoin(f"{base}/", begun.headers["Location"])
        query = f"{'&' if '?' in place else '?'}digest={digest}"
        async with session.put(place + query, data=io.BytesIO(blob)) as done:
            _check(done)
    async with session.put(
        f"{base}/manifests/{tag or image.digest}",
        data=image.manifest,
        headers={"Content-Type": MANIFEST},
    ) as done:
        _check(done)


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    """Return how a manifest names `content`."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _references(registry: str, version: str, components: Mapping[str, SyntheticImage]) -> bytes:
    """The ImageStream that lists a release's images."""
    tags = [
        {
            "name": name,
            "from": {
                "kind": "DockerImage",
                "name": f"{registry}/{image.repository}@{image.digest}",
            },
        }
        for name, image in sorted(components.items())
    ]
    return _json(
        {
            "kind": "ImageStream",
            "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": version, "creationTimestamp": _CREATED},
            "spec": {"lookupPolicy": {"local": False}, "tags": tags},
        }
    )


def _tar(files: Mapping[str, bytes]) -> bytes:
    """Pack files with everything that varies (time, owner) held still."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            entry.mode = 0o755 if content.startswith(ELF) else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def _check(response: aiohttp.ClientResponse) -> None:
    if not response.ok:
        raise SetupError(
            f"{response.method} {response.url}: the registry answers {response.status}"
        )
