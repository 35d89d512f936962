from __future__ import annotations

import json
from typing import Any

import pytest

from talm.agent.content.manifests import Unreadable, choose, media_type_of, read_body
from talm.agent.main import run_agent
from talm.agent.transfer.registry import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Document,
    digest_of,
)
from talm.api.progress import EXIT_CODES, FailureClass
from talm.sim.images import SyntheticImage

from ..conftest import Reader, SettingsFor
from ..faultyregistry import FaultyRegistry

PART = {"digest": digest_of(b"x"), "size": 1}
IMAGE = {"config": PART, "layers": []}


def document(media_type: str = OCI_MANIFEST, **body: Any) -> Document:
    return Document(digest_of(b""), media_type, json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schemaVersion": 1, "fsLayers": []},
        {"config": PART},
        {"layers": [PART]},
        {"config": PART, "layers": [PART], "manifests": [PART]},
        {"manifests": [PART], "layers": []},
        {"config": PART, "layers": "none"},
        {"config": PART, "layers": [{"digest": "sha256:../../etc/passwd", "size": 1}]},
        {"config": {"digest": f"sha384:{'0' * 96}", "size": 1}, "layers": []},
        {"config": {"digest": PART["digest"], "size": -1}, "layers": []},
        {"config": {"size": 1}, "layers": []},
        {"config": PART, "layers": [PART | {"size": 2}]},
        {"mediaType": OCI_INDEX, **IMAGE},
        {"mediaType": DOCKER_LIST, **IMAGE},
        {"mediaType": OCI_MANIFEST, "manifests": [PART]},
        {"mediaType": "application/vnd.docker.distribution.manifest.v1+json", **IMAGE},
        {"mediaType": "text/html", "manifests": [PART]},
    ],
    ids=str,
)
def test_what_is_neither_an_image_nor_a_list_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_body(document(**body))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b'{"mediaType": "\xff"}',
        b'{"annotations": ' + b"[" * 1_000_000,
        b'{"config": {"size": ' + b"9" * 5000 + b"}}",
    ],
    ids=["HTML", "nothing", "no UTF-8", "nested without end", "a number without end"],
)
def test_what_is_no_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_body(Document(digest_of(b""), OCI_MANIFEST, body))


def chosen(architecture: str, *platforms: str) -> str:
    """Which of OS/ARCHITECTURE[/VARIANT] is chosen."""
    entries = []
    for platform in platforms:
        system, machine, variant, *_ = *platform.split("/"), ""
        words = {"architecture": machine, "os": system, "variant": variant}
        entry = {"digest": digest_of(platform.encode()), "size": 1, "platform": words}
        entries.append(entry)
    manifests = read_body(document(OCI_INDEX, manifests=entries)).manifests or []
    return platforms[manifests.index(choose(manifests, architecture))]


def test_the_linux_image_of_the_architecture_is_chosen() -> None:
    entries = ["windows/amd64", "linux/arm64", "linux/amd64", "linux/amd64"]
    assert chosen("amd64", *entries) == "linux/amd64"
    with pytest.raises(Unreadable, match=r"for s390x, only for amd64, arm64$"):
        chosen("s390x", *entries)


@pytest.mark.parametrize(
    ("architecture", "entries", "expected"),
    [
        ("amd64", ["linux/amd64/v3", "linux/amd64"], "linux/amd64"),
        ("amd64", ["linux/amd64/v3", "linux/amd64/v1"], "linux/amd64/v1"),
        ("arm64", ["linux/arm64/v9", "linux/arm64/v8"], "linux/arm64/v8"),
        ("arm64", ["linux/arm/v7", "linux/arm64"], "linux/arm64"),
        ("ppc64le", ["linux/ppc64le/power9"], "linux/ppc64le/power9"),
    ],
)
def test_a_variant_that_older_processors_do_not_run_is_passed_over(
    architecture: str, entries: list[str], expected: str
) -> None:
    assert chosen(architecture, *entries) == expected


def test_a_list_with_nothing_but_newer_variants_says_so() -> None:
    with pytest.raises(Unreadable, match="no image for amd64, only for amd64/v3"):
        chosen("amd64", "linux/amd64/v3")


@pytest.mark.parametrize(
    ("said", "served", "stored"),
    [
        (OCI_INDEX, "application/json", OCI_INDEX),
        ("", OCI_INDEX, OCI_INDEX),
        ("", "application/json", OCI_INDEX),
        ("", OCI_MANIFEST, OCI_INDEX),
        ("", DOCKER_LIST, DOCKER_LIST),
    ],
)
def test_the_stored_type_is_what_the_document_says_of_itself(
    said: str, served: str, stored: str
) -> None:
    more = {"mediaType": said} if said else {}
    assert media_type_of(document(served, manifests=[PART], **more)) == stored


@pytest.mark.parametrize(
    ("served", "stored"),
    [
        ("text/plain", OCI_MANIFEST),
        (OCI_INDEX, OCI_MANIFEST),
        (DOCKER_MANIFEST, DOCKER_MANIFEST),
    ],
)
def test_an_image_that_does_not_say_its_type_is_stored_as_an_image(
    served: str, stored: str
) -> None:
    assert media_type_of(document(served, **IMAGE)) == stored


def nested(registry: FaultyRegistry, image: SyntheticImage, lists: int, size: int = 0) -> str:
    """Serve `image` behind so many lists; the innermost one says its manifest is `size` larger."""
    spec, inner = registry.add(image), image.manifest
    for _ in range(lists):
        platform = {"architecture": "amd64", "os": "linux"}
        entry = {"digest": digest_of(inner), "size": len(inner) + size, "platform": platform}
        size = 0
        inner = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        registry.manifests[digest_of(inner)] = (OCI_INDEX, inner)
    return f"{spec.partition('@')[0]}@{digest_of(inner)}"


async def test_a_list_of_lists_is_followed_and_a_chain_of_them_is_not(
    registry: FaultyRegistry, reader: Reader, release: SyntheticImage, settings_for: SettingsFor
) -> None:
    image = await reader.image(nested(registry, release, 2))
    assert [document.media_type for document in image.documents] == [
        OCI_INDEX,
        OCI_INDEX,
        OCI_MANIFEST,
    ]
    settings = settings_for(nested(registry, release, 3))
    assert await run_agent(settings) == EXIT_CODES[FailureClass.IMAGE_NOT_FOUND]
    assert settings.termination_log
    assert "nested more than 3 lists deep" in settings.termination_log.read_text()


async def test_an_image_by_digests_of_the_other_registered_algorithm_is_pulled(
    registry: FaultyRegistry, settings_for: SettingsFor, release: SyntheticImage, big: str
) -> None:
    """The image specification registers sha512 beside sha256; others are refused."""
    longer = digest_of(release.blobs[big], "sha512")
    manifest = release.manifest.replace(big.encode(), longer.encode())
    digest = digest_of(manifest, "sha512")
    registry.add(release)
    registry.manifests[digest] = (OCI_MANIFEST, manifest)
    registry.blobs[longer] = release.blobs[big]
    spec = f"{registry.host}/{release.repository}@{digest}"
    assert await run_agent(settings_for(spec)) == 0
    registry.blobs[longer] = bytes(len(release.blobs[big]))
    registry.manifests[digest] = (OCI_MANIFEST, manifest + b" ")
    assert await run_agent(settings_for(spec)) == EXIT_CODES[FailureClass.IMAGE_NOT_FOUND]


@pytest.mark.parametrize("size", [-1, 1])
async def test_a_manifest_of_another_size_than_its_list_says_is_refused(
    registry: FaultyRegistry, settings_for: SettingsFor, release: SyntheticImage, size: int
) -> None:
    settings = settings_for(nested(registry, release, 1, size))
    assert await run_agent(settings) == EXIT_CODES[FailureClass.IMAGE_NOT_FOUND]
    assert settings.termination_log
    assert f"its list says {len(release.manifest) + size}" in settings.termination_log.read_text()
    assert registry.blob_bytes == 0
