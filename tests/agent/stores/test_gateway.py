from __future__ import annotations

from pathlib import Path

import aiohttp

from talm.agent.content.manifests import Image
from talm.agent.stores.gateway import serve
from talm.agent.stores.signatures import Signatures, Upstream
from talm.agent.transfer.registry import digest_of
from talm.sim.images import SyntheticImage, build_image

from ..conftest import Reader
from ..faultyregistry import FaultyRegistry
from .samples import docker_listed, resolved, spooled

BUILT = build_image("a", [{"file": b"content"}])


async def ask(
    image: Image,
    built: SyntheticImage,
    tmp_path: Path,
    *paths: str,
    upstream: Upstream | None = None,
) -> list[bytes]:
    """What the gateway answers, with the repository's URL in front of each path."""
    spool = spooled(tmp_path, built)

    def blob_file(digest: str) -> Path | None:
        return file if (file := spool.whole(digest)).exists() else None

    answers = []
    signatures = Signatures(image, tmp_path, upstream)
    async with serve(image, blob_file, signatures) as location, aiohttp.ClientSession() as session:
        host, _, name = location.partition("/")
        for path in paths:
            async with session.get(f"http://{host}/v2/{path.format(name=name)}") as response:
                body = await response.read()
                answers.append(body if response.ok else str(response.status).encode())
    return answers


async def test_a_list_and_its_image_are_served_byte_for_byte(tmp_path: Path) -> None:
    image = docker_listed(BUILT)
    paths = [f"{{name}}/manifests/{document.digest}" for document in image.documents]
    answers = await ask(image, BUILT, tmp_path, "", *paths)
    assert answers == [b"{}", *(document.body for document in image.documents)]


async def test_blobs_are_served_from_their_files(tmp_path: Path) -> None:
    paths = [f"{{name}}/blobs/{digest}" for digest in BUILT.blobs]
    assert await ask(resolved(BUILT), BUILT, tmp_path, *paths) == list(BUILT.blobs.values())


async def test_what_is_not_of_the_image_is_unknown(tmp_path: Path) -> None:
    other = build_image("b", [{"file": b"secret"}])
    spooled(tmp_path, other)
    blob = next(iter(other.blobs))
    answers = await ask(
        resolved(BUILT),
        BUILT,
        tmp_path,
        "{name}/manifests/latest",
        f"{{name}}/manifests/{digest_of(b'')}",
        f"{{name}}/blobs/{blob}",
        f"other/manifests/{BUILT.digest}",
        "{name}/blobs/..%2f..%2fetc%2fpasswd",
    )
    assert answers == [b"404"] * 5


async def test_a_blob_that_is_nowhere_is_unknown(tmp_path: Path) -> None:
    empty = SyntheticImage("a", BUILT.manifest, {})
    digest = next(iter(BUILT.blobs))
    assert await ask(resolved(BUILT), empty, tmp_path, f"{{name}}/blobs/{digest}") == [b"404"]


SIGNATURE = build_image("a", [{"signature": b"by somebody"}])
TAG = f"sha256-{BUILT.digest.removeprefix('sha256:')}.sig"


async def test_signatures_pass_through_from_the_real_registry(
    reader: Reader, registry: FaultyRegistry, tmp_path: Path
) -> None:
    registry.add(SIGNATURE, tag=TAG)
    image = resolved(BUILT, f"{registry.host}/a@")
    blobs = [f"{{name}}/blobs/{digest}" for digest in SIGNATURE.blobs]
    paths = [f"{{name}}/manifests/{TAG}", *blobs]
    answers = await ask(image, BUILT, tmp_path, *paths, upstream=reader.registry)
    assert answers == [SIGNATURE.manifest, *SIGNATURE.blobs.values()]


async def test_nothing_but_signatures_passes_through(
    reader: Reader, registry: FaultyRegistry, tmp_path: Path
) -> None:
    registry.add(SIGNATURE, tag="1")
    image = resolved(BUILT, f"{registry.host}/a@")
    blobs = [f"{{name}}/blobs/{digest}" for digest in SIGNATURE.blobs]
    paths = ["{name}/manifests/1", f"{{name}}/manifests/{SIGNATURE.digest}", *blobs]
    answers = await ask(image, BUILT, tmp_path, *paths, upstream=reader.registry)
    assert answers == [b"404"] * 4
    assert not registry.asked


async def test_an_image_without_a_signature_has_none(
    reader: Reader, registry: FaultyRegistry, tmp_path: Path
) -> None:
    image = resolved(BUILT, f"{registry.host}/a@")
    path = f"{{name}}/manifests/{TAG}"
    assert await ask(image, BUILT, tmp_path, path, upstream=reader.registry) == [b"404"]
