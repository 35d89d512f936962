from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from talm.errors import SetupError
from talm.sim.images import build_release, digest_of, push


class Depot:
    """The push side of a registry, as the distribution specification has it."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads = 0
        self.is_read_only = False

    async def head(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["digest"] in self.blobs else 404)

    async def begin(self, request: web.Request) -> web.Response:
        self.uploads += 1
        if self.is_read_only:
            return web.Response(status=405)
        return web.Response(status=202, headers={"Location": f"{request.path}u?_state=x"})

    async def finish(self, request: web.Request) -> web.Response:
        body = await request.read()
        if digest_of(body) != request.query["digest"]:
            return web.Response(status=400)
        self.blobs[request.query["digest"]] = body
        return web.Response(status=201)

    async def manifest(self, request: web.Request) -> web.Response:
        body = await request.read()
        named = json.loads(body)
        if any(d["digest"] not in self.blobs for d in (named["config"], *named["layers"])):
            return web.Response(status=400)
        self.manifests[request.match_info["version"]] = body
        return web.Response(status=201)


@pytest.fixture
async def depot() -> AsyncIterator[tuple[str, Depot]]:
    depot = Depot()
    application = web.Application(client_max_size=64 << 20)
    application.router.add_get("/v2/{repo:.+}/blobs/{digest:sha256:.+}", depot.head)
    application.router.add_post("/v2/{repo:.+}/blobs/uploads/", depot.begin)
    application.router.add_put("/v2/{repo:.+}/blobs/uploads/u", depot.finish)
    application.router.add_put("/v2/{repo:.+}/manifests/{version}", depot.manifest)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", depot
    await runner.cleanup()


def files_of(layer: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as tar:
        return {m.name: f.read() for m in tar.getmembers() if (f := tar.extractfile(m))}


def test_a_release_says_its_version_and_names_images_that_come_with_it() -> None:
    *components, release = build_release("127.0.0.1:5000", version="4.10.9", size_mib=0.5)
    layers = json.loads(release.manifest)["layers"]
    files = files_of(release.blobs[layers[-1]["digest"]])
    stream = json.loads(files["release-manifests/image-references"])
    assert stream["metadata"]["name"] == "4.10.9"
    assert {tag["from"]["name"] for tag in stream["spec"]["tags"]} == {
        f"127.0.0.1:5000/{image.repository}@{image.digest}" for image in components
    }
    metadata = json.loads(files["release-manifests/release-metadata"])
    assert metadata["version"] == "4.10.9"


def test_the_same_seed_gives_the_same_digests_and_another_one_others() -> None:
    def digests(seed: int) -> list[str]:
        images = build_release("127.0.0.1:5000", seed=seed, size_mib=0.5)
        return [image.digest for image in images]

    assert digests(1) == digests(1)
    assert not set(digests(1)) & set(digests(2))


def test_a_release_has_the_size_that_was_asked_for() -> None:
    release = build_release("127.0.0.1:5000", size_mib=2.0)[-1]
    assert 2.0 * 2**20 < sum(len(blob) for blob in release.blobs.values()) < 2.1 * 2**20


async def test_pushing_returns_a_pull_spec_whose_digest_the_manifest_has(
    depot: tuple[str, Depot],
) -> None:
    host, registry = depot
    spec = await push(host, size_mib=0.5)
    name, _, digest = spec.partition("@")
    assert name == f"{host}/openshift-release/release"
    assert digest_of(registry.manifests[digest]) == digest


async def test_pushing_again_uploads_no_blob(depot: tuple[str, Depot]) -> None:
    host, registry = depot
    await push(host, size_mib=0.5)
    uploads = registry.uploads
    await push(host, size_mib=0.5)
    assert registry.uploads == uploads


async def test_a_registry_that_refuses_is_named(depot: tuple[str, Depot]) -> None:
    host, registry = depot
    registry.is_read_only = True
    with pytest.raises(SetupError, match=f"{host}.*405"):
        await push(host, size_mib=0.1)
