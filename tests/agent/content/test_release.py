"""Releases: the list that is read, what is read for it, and lists that are none."""

from __future__ import annotations

import dataclasses
import gzip
import json
import tarfile
from pathlib import Path

import pytest

from talm.agent.content.archive import Limits
from talm.agent.content.release import REFERENCES, parse_references, read_release
from talm.agent.main import run_agent
from talm.agent.stores.oci_layout import REF_NAME
from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError
from talm.sim.images import SyntheticImage, build_image, build_release, descriptor, digest_of

from ..archives import LINK, Content, tar
from ..conftest import Reader, SettingsFor
from ..faultyregistry import Answers, Changes, FaultyRegistry

F = FailureClass
DIGEST = f"sha256:{'0' * 64}"


def references(*specs: str) -> bytes:
    tags = [
        {"name": f"image-{n}", "from": {"kind": "DockerImage", "name": spec}}
        for n, spec in enumerate(specs)
    ]
    return json.dumps({"kind": "ImageStream", "spec": {"tags": tags}}).encode()


SOME = references(f"quay.io/a@{DIGEST}", f"quay.io/b@{DIGEST}")


async def names(reader: Reader, spec: str, limits: Limits | None = None) -> list[str]:
    found = await read_release(await reader.image(spec), reader.files, limits)
    return [component.name for component in found]


async def test_the_list_is_found_from_the_top_and_nothing_below_is_read(
    registry: FaultyRegistry, reader: Reader
) -> None:
    layers = [{REFERENCES: b"an old one"}, {"a": b"1"}, {REFERENCES: SOME}, {"b": b"2"}]
    image = build_image("ocp/release", layers)
    assert await names(reader, registry.add(image)) == ["image-0", "image-1"]
    blobs = [path.rpartition("/")[2] for path in registry.asked if "/blobs/" in path]
    *_, third, fourth = (layer["digest"] for layer in json.loads(image.manifest)["layers"])
    assert blobs == [fourth, third]


@pytest.mark.parametrize(
    "layers",
    [
        [{"a": b"1"}],
        [{REFERENCES: SOME}, {"release-manifests/.wh.image-references": b""}],
        [{REFERENCES: SOME}, {"release-manifests/.wh..wh..opq": b""}],
        [{REFERENCES: SOME}, {".wh.release-manifests": b""}],
    ],
    ids=["never", "whiteout", "opaque", "directory"],
)
async def test_a_release_without_its_list_is_unreadable(
    registry: FaultyRegistry, reader: Reader, layers: list[dict[str, bytes]]
) -> None:
    spec = registry.add(build_image("ocp/release", layers))
    with pytest.raises(
        AgentError, match=f"ReleaseUnreadable: .*none of its layers has {REFERENCES}"
    ):
        await names(reader, spec)


def with_layer(blob: bytes, media_type: str, **more: object) -> SyntheticImage:
    """An image whose only layer is `blob`."""
    image = build_image("ocp/release", [{"x": b""}])
    manifest = json.loads(image.manifest)
    manifest["layers"] = [descriptor(media_type, blob) | more]
    config = manifest["config"]["digest"]
    blobs = {config: image.blobs[config], digest_of(blob): blob}
    return SyntheticImage("ocp/release", json.dumps(manifest).encode(), blobs)


TAR = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.mark.parametrize("media_type", [f"{TAR}+gzip", DOCKER])
async def test_compressed_layers_are_read(
    registry: FaultyRegistry, reader: Reader, media_type: str
) -> None:
    image = with_layer(gzip.compress(tar({REFERENCES: SOME})), media_type)
    assert await names(reader, registry.add(image)) == ["image-0", "image-1"]


async def test_plain_layers_are_read(registry: FaultyRegistry, reader: Reader) -> None:
    spec = registry.add(with_layer(tar({REFERENCES: SOME}), TAR))
    assert await names(reader, spec) == ["image-0", "image-1"]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({REFERENCES: (LINK, "/etc/passwd")}, "is a link"),
        ({"release-manifests": (LINK, "/etc")}, "is a link"),
        ({"../x": b""}, "leads out of the layer"),
        ({"x": bytes(3 << 20)}, "too large when unpacked"),
        ({REFERENCES: bytes(20_000)}, "at most 10000 are read"),
        ({REFERENCES: b""}, "image-references"),
        ({REFERENCES: b"{}"}, "no ImageStream"),
        ({REFERENCES: references()}, "no ImageStream that lists images"),
    ],
)
async def test_a_layer_that_is_malicious_or_empty_is_unreadable(
    registry: FaultyRegistry, reader: Reader, files: dict[str, Content], complaint: str
) -> None:
    spec = registry.add(with_layer(gzip.compress(tar(files)), DOCKER))
    with pytest.raises(AgentError, match=f"^ReleaseUnreadable: .*{complaint}"):
        await names(reader, spec, Limits(unpacked=1 << 20, file=10_000))


@pytest.mark.parametrize(
    "image",
    [
        with_layer(b"x", FOREIGN),
        with_layer(b"x", "application/vnd.oci.image.layer.nondistributable.v1.tar"),
        with_layer(b"x", DOCKER, urls=["http://elsewhere.example.com/layer"]),
    ],
    ids=["docker", "oci", "urls"],
)
async def test_a_layer_that_is_kept_elsewhere_is_not_fetched(
    registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path, image: SyntheticImage
) -> None:
    settings = settings_for(platform_image=registry.add(image))
    assert await run_agent(settings) == EXIT_CODES[F.RELEASE_UNREADABLE]
    assert "kept outside of the registry" in (tmp_path / "termination-log").read_text()
    assert registry.blob_bytes == 0


async def test_a_layer_is_read_no_further_than_to_its_list(
    registry: FaultyRegistry, reader: Reader
) -> None:
    files: dict[str, Content] = {REFERENCES: SOME, "x": bytes(3 << 20), "../y": b""}
    spec = registry.add(with_layer(gzip.compress(tar(files)), DOCKER))
    assert await names(reader, spec, Limits(unpacked=1 << 20)) == ["image-0", "image-1"]


async def test_a_layer_that_cannot_unpack_within_its_bound_is_not_even_fetched(
    registry: FaultyRegistry, reader: Reader
) -> None:
    spec = registry.add(with_layer(b"x", DOCKER, size=9 << 40))
    with pytest.raises(AgentError, match=r"^ReleaseUnreadable: .*9895604649984 bytes"):
        await names(reader, spec)
    assert registry.blob_bytes == 0


@pytest.mark.parametrize(
    "content", [b"\xff", b'{"x": ' + b"[" * 100_000, b'{"kind": "\xff"}'], ids=lambda c: c[:9]
)
async def test_a_list_that_is_no_json_is_unreadable(
    registry: FaultyRegistry, reader: Reader, content: bytes
) -> None:
    spec = registry.add(build_image("ocp/release", [{REFERENCES: content}]))
    with pytest.raises(AgentError, match=rf"^ReleaseUnreadable: .*{REFERENCES}: "):
        await names(reader, spec)


async def test_a_path_that_is_no_text_can_be_told(registry: FaultyRegistry, reader: Reader) -> None:
    files: dict[str, Content] = {f"{REFERENCES}/\udcff\n\x1b[2J": (LINK, "/")}
    blob = gzip.compress(tar(files, form=tarfile.GNU_FORMAT))
    spec = registry.add(with_layer(blob, DOCKER))
    with pytest.raises(AgentError, match=r"is a link") as caught:
        await names(reader, spec)
    assert str(caught.value).isprintable()
    assert str(caught.value).encode()


async def test_a_manifest_of_10_mib_is_refused(
    registry: FaultyRegistry, settings_for: SettingsFor
) -> None:
    image = build_image("ocp/release", [{REFERENCES: SOME}])
    huge = dataclasses.replace(image, manifest=image.manifest + b" " * (10 << 20))
    settings = settings_for(platform_image=registry.add(huge))
    assert await run_agent(settings) == EXIT_CODES[F.RELEASE_UNREADABLE]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"from": None}, "names no image"),
        ({"from": {"kind": "ImageStreamTag", "name": "a:b"}}, "names no image"),
        ({"from": {"kind": "DockerImage", "name": "quay.io/a:latest"}}, "has no digest"),
        ({"from": {"kind": "DockerImage", "name": "x; touch /p"}}, "names no registry"),
        ({"from": {"kind": "DockerImage", "name": ""}}, "names no registry"),
        ({"name": ""}, "no name"),
        ({"name": "a\nb"}, "no name"),
        ({"name": 7}, "Expected `str`"),
    ],
)
def test_a_tag_that_is_malformed_fails_the_whole_list(
    change: dict[str, object], complaint: str
) -> None:
    stream = json.loads(SOME)
    stream["spec"]["tags"][1] |= change
    with pytest.raises(ValueError, match=complaint):
        parse_references(json.dumps(stream).encode())


def synthetic(registry: FaultyRegistry) -> tuple[str, tuple[SyntheticImage, ...]]:
    """A release with three components, served."""
    images = build_release(registry.host, size_mib=0.1)
    return [registry.add(image) for image in images][-1], images


def stored(tmp_path: Path) -> dict[str, str]:
    index = json.loads((tmp_path / "images" / "index.json").read_text())
    return {e["annotations"][REF_NAME]: e["digest"] for e in index["manifests"]}


async def test_a_release_is_pulled_with_its_components_and_read_and_fetched_once(
    registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec, images = synthetic(registry)
    assert await run_agent(settings_for(platform_image=spec)) == 0
    assert stored(tmp_path) == {
        f"{registry.host}/{image.repository}@{image.digest}": image.digest for image in images
    }
    unique = {digest: blob for image in images for digest, blob in image.blobs.items()}
    moved = registry.blob_bytes
    assert moved == sum(len(blob) for blob in unique.values())
    assert await run_agent(settings_for(platform_image=spec)) == 0
    assert registry.blob_bytes == moved


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Answers(404), F.IMAGE_NOT_FOUND),
        (Answers(403), F.UNAUTHORIZED),
        (Changes(), F.IMAGE_NOT_FOUND),
        (Answers(502), F.REGISTRY_UNREACHABLE),
    ],
    ids=str,
)
async def test_a_layer_that_cannot_be_had_fails_the_run_in_its_class_with_image_and_blob(
    registry: FaultyRegistry, settings_for: SettingsFor, fault: Answers | Changes, kind: F
) -> None:
    spec, images = synthetic(registry)
    top = json.loads(images[-1].manifest)["layers"][-1]["digest"]
    registry.fails(top, *[fault] * 100)
    settings = settings_for(platform_image=spec, retry_for_s=0.5)
    assert await run_agent(settings) == EXIT_CODES[kind]
    assert settings.termination_log
    words = settings.termination_log.read_text()
    assert spec in words
    assert top in words


async def test_excluded_components_stay_away(
    registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec, _images = synthetic(registry)
    settings = settings_for(platform_image=spec, excludes=("^etcd", "^machine"))
    assert await run_agent(settings) == 0
    assert len(stored(tmp_path)) == 2
    assert not [name for name in stored(tmp_path) if "etcd" in name or "machine" in name]


async def test_an_expression_that_is_none_is_refused_before_a_byte_moves(
    registry: FaultyRegistry, settings_for: SettingsFor
) -> None:
    spec, _images = synthetic(registry)
    settings = settings_for(platform_image=spec, excludes=("^etcd", "["))
    assert await run_agent(settings) == EXIT_CODES[F.INVALID_SPEC]
    assert settings.termination_log
    assert "the exclude pattern '['" in settings.termination_log.read_text()
    assert registry.asked == []


async def test_a_component_that_the_registry_lacks_does_not_stop_the_others(
    registry: FaultyRegistry, settings_for: SettingsFor, tmp_path: Path
) -> None:
    spec, images = synthetic(registry)
    del registry.manifests[images[1].digest]
    assert await run_agent(settings_for(platform_image=spec)) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    assert images[1].digest in (tmp_path / "termination-log").read_text()
    assert len(stored(tmp_path)) == len(images) - 1
