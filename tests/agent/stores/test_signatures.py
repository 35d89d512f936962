"""Where signatures are looked for; that a policy finds them there is asked of the real skopeo."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from talm.agent.content.manifests import Image
from talm.agent.stores.containers_storage import ContainersStorage
from talm.agent.stores.gateway import serve
from talm.agent.stores.names import names_of
from talm.agent.stores.signatures import Kept, Signatures, read_kept
from talm.agent.stores.tools import run
from talm.api.progress import REJECTED_CODE
from talm.errors import AgentError
from talm.sim.images import build_image

from ..conftest import Reader
from ..faultyregistry import Answers, FaultyRegistry
from .conftest import skip_without_tools
from .samples import resolved, spooled

BUILT = build_image("a", [{"file": b"content"}])
SIGNATURE = build_image("a", [{"signature": b"by somebody"}])
TAG = f"sha256-{BUILT.digest.removeprefix('sha256:')}.sig"
DEFAULT = "file:///var/lib/containers/sigstore"


def say(root: Path, **files: Any) -> None:
    directory = root / "etc/containers/registries.d"
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / f"{name}.yaml").write_text(json.dumps(content))


def attached(value: bool) -> dict[str, bool]:
    return {"use-sigstore-attachments": value}


def test_a_node_that_says_nothing_keeps_them_in_the_usual_directory(tmp_path: Path) -> None:
    assert read_kept(tmp_path, "quay.io/a/b", {}) == Kept(False, DEFAULT)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("quay.io/ours/b", Kept(True, "https://one.example/ours")),
        ("quay.io/ours/c", Kept(False, "https://one.example/ours")),
        ("quay.io/other", Kept(False, "https://one.example")),
        ("registry.lab.example:5000/a", Kept(True, "file:///older")),
        ("lab.example/a", Kept(True, "https://all.example")),
        ("quay.io.evil/ours/b", Kept(True, "https://all.example")),
    ],
)
def test_the_closest_name_decides_each_for_itself(tmp_path: Path, name: str, kept: Kept) -> None:
    names = {
        "quay.io": {"lookaside": "https://one.example", **attached(False)},
        "quay.io/ours": {"lookaside": "https://one.example/ours/"},
        "*.lab.example:5000": {"sigstore": "file:///older"},
    }
    all_names = {"lookaside": "https://all.example", **attached(True)}
    say(tmp_path, first={"docker": names}, default={"default-docker": all_names})
    say(tmp_path, second={"docker": {"quay.io/ours/b": attached(True)}}, empty={})
    assert read_kept(tmp_path, name, {}) == kept


def test_a_user_s_own_directory_replaces_the_system_s(tmp_path: Path) -> None:
    say(tmp_path, a={"default-docker": attached(True)})
    assert read_kept(tmp_path, "quay.io/a", {"HOME": "/root"}).attached
    (tmp_path / "root/.config/containers/registries.d").mkdir(parents=True)
    assert not read_kept(tmp_path, "quay.io/a", {"HOME": "/root"}).attached


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    say(tmp_path, a={"docker": []})
    with pytest.raises(AgentError, match=r"InvalidSpec: .*registries\.d/a\.yaml"):
        read_kept(tmp_path, "quay.io/a", {})


def signatures(registry: FaultyRegistry, reader: Reader, root: Path) -> Signatures:
    return Signatures(resolved(BUILT, f"{registry.host}/a@"), root, reader.registry)


WHICH = f"@{BUILT.digest.replace(':', '=')}/signature-1"


async def test_a_detached_one_comes_from_the_lookaside(
    registry: FaultyRegistry, reader: Reader, tmp_path: Path
) -> None:
    registry.blobs["signature-1"] = b"signed"
    say(tmp_path, a={"default-docker": {"lookaside": f"http://{registry.host}/v2/lookaside"}})
    found = signatures(registry, reader, tmp_path)
    assert await found.detached(WHICH) == b"signed"
    assert registry.asked == [f"/v2/lookaside/a{WHICH}"]
    assert await found.detached(WHICH.replace("-1", "-2")) is None
    assert found.failed is None


async def test_a_detached_one_may_be_a_file_of_the_node(
    registry: FaultyRegistry, reader: Reader, tmp_path: Path
) -> None:
    file = tmp_path / f"var/lib/containers/sigstore/a{WHICH}"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"signed")
    found = signatures(registry, reader, tmp_path)
    assert await found.detached(WHICH) == b"signed"
    for which in (f"/..{WHICH}", "@sha256=00/../../signature-1", "", f"{WHICH}0000"):
        assert await found.detached(which) is None
    assert not registry.asked


@pytest.mark.parametrize(("status", "kind"), [(403, "Unauthorized"), (400, "RegistryUnreachable")])
async def test_that_one_could_not_be_asked_for_is_kept_in_mind(
    registry: FaultyRegistry, reader: Reader, tmp_path: Path, status: int, kind: str
) -> None:
    registry.fails(TAG, Answers(404), Answers(status))
    absent, refused = (signatures(registry, reader, tmp_path) for _ in range(2))
    assert await absent.attached(TAG) is None
    assert absent.failed is None
    assert await refused.attached(TAG) is None
    assert refused.failed
    assert refused.failed.kind == kind


async def test_a_mirror_s_images_have_the_mirror_s_signatures(
    registry: FaultyRegistry, reader: Reader, tmp_path: Path
) -> None:
    class Mirrored:
        """The registries of a node that took the image from a mirror."""

        manifest = reader.registry.manifest
        attachment = reader.registry.attachment
        content = reader.registry.content
        file = reader.registry.file

        def home(self, reference: object) -> object:
            return reader.registry.home(resolved(BUILT, f"{registry.host}/mirrored/a@").reference)

    say(tmp_path, a={"docker": {f"{registry.host}/mirrored": attached(True)}})
    image = resolved(BUILT, "quay.io/a@")
    said = json.loads(Signatures(image, tmp_path, Mirrored()).registries_d("127.0.0.1:1/x"))  # type: ignore[arg-type]
    assert said["docker"]["127.0.0.1:1/x"]["use-sigstore-attachments"]
    said = json.loads(Signatures(image, tmp_path, None).registries_d("127.0.0.1:1/x"))
    assert not said["docker"]["127.0.0.1:1/x"]["use-sigstore-attachments"]


class Node:
    """The storage's node, with a policy and a registries.d of its own."""

    def __init__(self, home: Path, reader: Reader) -> None:
        self._place = home / ".config/containers"
        self._place.mkdir(parents=True)
        self._spool = home / "spool"
        self.storage = ContainersStorage(upstream=reader.registry)

    def demands(self, requirement: dict[str, str]) -> None:
        policy = {"default": [{"type": "reject"}], "transports": {"docker": {"": [requirement]}}}
        (self._place / "policy.json").write_text(json.dumps(policy))

    def keeps(self, **said: object) -> None:
        (self._place / "registries.d").mkdir()
        (self._place / "registries.d/a.yaml").write_text(json.dumps({"default-docker": said}))

    async def import_(self, image: Image) -> None:
        await self.storage.put(image, spooled(self._spool, BUILT))


@pytest.fixture
def node(storage: ContainersStorage, tmp_path: Path, reader: Reader) -> Node:
    del storage  # the environment that it is configured by
    return Node(tmp_path / "home", reader)


async def test_what_the_node_s_policy_rejects_is_final_and_named_in_its_words(
    node: Node, registry: FaultyRegistry
) -> None:
    node.demands({"type": "reject"})
    image = resolved(BUILT, f"{registry.host}/a@")
    with pytest.raises(AgentError) as caught:
        await node.import_(image)
    assert caught.value.exit_code == REJECTED_CODE
    assert str(caught.value) == (
        f"StoreFailed: {image.reference}: rejected by the node's policy.json: Running image"
        f" docker://{image.reference} is rejected by policy."
    )


async def test_a_node_without_a_policy_says_which_file_is_missing(
    storage: ContainersStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tmp_path / "bin"
    without.mkdir()
    skopeo = (await run("sh", "-c", "command -v skopeo")).strip()
    (without / "skopeo").write_text(
        f'#!/bin/sh\nexec {skopeo} --policy "{tmp_path}/etc/containers/policy.json" "$@"\n'
    )
    (without / "skopeo").chmod(0o755)
    monkeypatch.setenv("PATH", str(without), prepend=":")
    image = resolved(BUILT, "registry.example/a@")
    with pytest.raises(AgentError, match=r"/etc/containers/policy\.json: no such file") as caught:
        await storage.put(image, spooled(tmp_path / "spool", BUILT))
    assert str(caught.value).startswith(f"StoreFailed: {image.reference}: ")


async def test_attached_signatures_are_asked_for_where_the_node_says_so(
    node: Node, registry: FaultyRegistry
) -> None:
    registry.add(SIGNATURE, tag=TAG)
    node.demands({"type": "insecureAcceptAnything"})
    node.keeps(**attached(True))
    await node.import_(resolved(BUILT, f"{registry.host}/a@"))
    assert f"/v2/a/manifests/{TAG}" in registry.asked


async def test_a_signature_that_may_not_be_read_is_the_registry_s_failure(
    node: Node, registry: FaultyRegistry
) -> None:
    registry.fails(TAG, *[Answers(403)] * 9)
    node.demands({"type": "insecureAcceptAnything"})
    node.keeps(**attached(True))
    with pytest.raises(AgentError, match=f"{BUILT.digest}: its signature: manifest {TAG}.* 403"):
        await node.import_(resolved(BUILT, f"{registry.host}/a@"))


@pytest.fixture
async def key(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The file of a public key, whose private one is the test's."""
    skip_without_tools("gpg", "gpgconf")
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    quiet = ("--batch", "--pinentry-mode", "loopback", "--passphrase", "")
    try:
        await run("gpg", *quiet, "--quick-gen-key", "signer@example.com", "rsa2048", "sign", "0")
        (tmp_path / "key.pub").write_text(await run("gpg", "--armor", "--export"))
        yield str(tmp_path / "key.pub")
    finally:
        await run("gpgconf", "--kill", "all")


async def signed(directory: Path, image: Image) -> bytes:
    """What the key's owner signs: that these bytes are this image."""
    (directory / "manifest").write_bytes(image.documents[-1].body)
    target = directory / "signature"
    name = names_of(image)[0].partition("@")[0]
    words = ("standalone-sign", str(directory / "manifest"), f"{name}:1", "signer@example.com")
    await run("skopeo", *words, "--output", str(target))
    return await asyncio.to_thread(target.read_bytes)


async def test_a_policy_that_wants_a_signature_takes_the_right_one_from_the_lookaside(
    node: Node, registry: FaultyRegistry, key: str, tmp_path: Path
) -> None:
    node.demands({"type": "signedBy", "keyType": "GPGKeys", "keyPath": key})
    node.keeps(lookaside=f"http://{registry.host}/v2/lookaside")
    image = resolved(BUILT, f"{registry.host}/a@")
    with pytest.raises(AgentError, match="A signature was required, but no signature exists"):
        await node.import_(image)
    registry.blobs["signature-1"] = await signed(tmp_path, image)
    await node.import_(image)
    assert await node.storage.has(image)
    other = resolved(BUILT, f"{registry.host}/other@")
    with pytest.raises(AgentError, match="rejected by the node's policy") as caught:
        await node.import_(other)
    assert caught.value.exit_code == REJECTED_CODE


async def test_what_is_asked_of_the_gateway_is_the_lookaside_s_answer(
    registry: FaultyRegistry, reader: Reader, tmp_path: Path
) -> None:
    registry.blobs["signature-1"] = b"signed"
    say(tmp_path, a={"default-docker": {"lookaside": f"http://{registry.host}/v2/lookaside"}})
    found = signatures(registry, reader, tmp_path)
    image = resolved(BUILT, f"{registry.host}/a@")
    async with serve(image, lambda _: None, found) as gateway, aiohttp.ClientSession() as session:
        said = json.loads(found.registries_d(gateway))["docker"][gateway]
        url = f"{said['lookaside']}/{gateway.partition('/')[2]}{WHICH}"
        async with session.get(url) as answer:
            assert await answer.read() == b"signed"
        async with session.get(url.replace("-1", "-2")) as answer:
            assert answer.status == 404
