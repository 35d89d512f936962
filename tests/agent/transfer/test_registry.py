"""Several endpoints for one image: who is asked, who is not told our secrets, who is trusted."""

from __future__ import annotations

import base64
import dataclasses
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from talm.agent.content.references import parse
from talm.agent.transfer.authfiles import Keyring
from talm.agent.transfer.mirrors import read_mirrors
from talm.agent.transfer.node import Node, read_node
from talm.agent.transfer.proxies import Proxies
from talm.agent.transfer.registry import Document, Registry, open_session
from talm.agent.transfer.retry import Passing
from talm.errors import AgentError
from talm.sim.images import SyntheticImage

from .. import faultyregistry
from ..faultyregistry import USER, Answers, Changes, Cuts, FaultyRegistry, serve

BASIC = base64.b64encode(USER.encode()).decode()


@pytest.fixture
async def mirror() -> AsyncIterator[FaultyRegistry]:
    async with serve() as mirror:
        yield mirror


def conf(root: Path, *hosts: str, more: str = "", prefix: str = "") -> Node:
    """A node whose registries.conf has the last of `hosts` as source, the others as mirrors."""
    text = f'[[registry]]\nprefix = "{prefix or hosts[-1]}"\nlocation = "{hosts[-1]}"\n{more}\n'
    text += "".join(f'[[registry.mirror]]\nlocation = "{host}"\n' for host in hosts[:-1])
    file = root / "etc/containers/registries.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return Node(read_mirrors(root))


async def fetch(node: Node, spec: str, *, retry_for_s: float = 20.0) -> Document:
    reference = parse(spec)
    async with open_session(20.0) as session:
        registry = Registry(session, node, retry_for_s=retry_for_s)
        return await registry.manifest(reference, reference.version)


async def read(node: Node, spec: str, digest: str) -> bytes:
    async with open_session(20.0) as session:
        registry = Registry(session, node, retry_for_s=20.0)
        async with registry.blob(parse(spec), digest, 0) as stream:
            return b"".join([chunk async for chunk in stream.chunks(digest)])


async def test_a_mirror_that_has_the_image_is_enough(
    registry: FaultyRegistry, mirror: FaultyRegistry, release: SyntheticImage, tmp_path: Path
) -> None:
    mirror.add(release)
    spec = f"{registry.host}/{release.repository}@{release.digest}"
    node = conf(tmp_path, mirror.host, registry.host)
    assert (await fetch(node, spec)).body == release.manifest
    assert registry.asked == []


@pytest.mark.parametrize(
    "fault", [Answers(404), Answers(503), Answers(403), Answers(401), Cuts(0), Changes()], ids=str
)
async def test_what_a_mirror_cannot_give_comes_from_the_source_at_once(
    registry: FaultyRegistry,
    mirror: FaultyRegistry,
    release: SyntheticImage,
    tmp_path: Path,
    fault: Answers | Cuts | Changes,
) -> None:
    spec = registry.add(release)
    mirror.add(release)
    mirror.fails("/manifests/", fault, fault)
    node = conf(tmp_path, mirror.host, registry.host)
    assert (await fetch(node, spec, retry_for_s=0)).body == release.manifest


async def test_a_mirror_that_is_down_is_asked_last_for_a_while(
    registry: FaultyRegistry, release: SyntheticImage, tmp_path: Path
) -> None:
    spec = registry.add(release)
    node = conf(tmp_path, "127.0.0.1:9", registry.host)
    reference = parse(spec)
    async with open_session(20.0) as session:
        pulls = Registry(session, node, retry_for_s=0)
        assert (await pulls.manifest(reference, release.digest)).body == release.manifest
        first, *_ = pulls._last_until
        assert first == "http://127.0.0.1:9/v2"
        registry.fails("/manifests/", Answers(404))
        with pytest.raises(AgentError, match=r"127\.0\.0\.1:9"):
            await pulls.manifest(reference, release.digest)


async def test_an_image_that_nobody_has_is_not_found_and_every_place_is_named(
    registry: FaultyRegistry, mirror: FaultyRegistry, tmp_path: Path
) -> None:
    node = conf(tmp_path, f"{mirror.host}/copy", registry.host)
    with pytest.raises(AgentError) as caught:
        await fetch(node, f"{registry.host}/a/b:1")
    assert caught.value.kind == "ImageNotFound"
    assert f"{registry.host}/a/b at http://{mirror.host}/v2/copy/a/b" in str(caught.value)
    assert (len(registry.asked), len(mirror.asked)) == (1, 1)


async def test_a_refusal_is_told_rather_than_that_a_mirror_lacks_it(
    registry: FaultyRegistry, mirror: FaultyRegistry, tmp_path: Path
) -> None:
    registry.fails("/", Answers(403))
    with pytest.raises(AgentError) as caught:
        await fetch(conf(tmp_path, mirror.host, registry.host), f"{registry.host}/a/b:1")
    assert caught.value.kind == "Unauthorized"


async def test_a_mirror_for_tags_serves_the_blobs_behind_them_too(
    registry: FaultyRegistry,
    mirror: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    tmp_path: Path,
) -> None:
    mirror.add(release, tag="4.10")
    node = conf(tmp_path, mirror.host, registry.host, more="blocked = true")
    file = tmp_path / "etc/containers/registries.conf"
    file.write_text(file.read_text() + 'pull-from-mirror = "tag-only"\n')
    node = Node(read_mirrors(tmp_path))
    spec = f"{registry.host}/{release.repository}:4.10"
    assert (await fetch(node, spec)).digest == release.digest
    assert await read(node, spec, big) == release.blobs[big]
    with pytest.raises(AgentError, match="blocks"):
        await fetch(node, f"{registry.host}/{release.repository}@{release.digest}")


async def test_blobs_are_asked_for_where_the_manifest_was(
    registry: FaultyRegistry,
    mirror: FaultyRegistry,
    release: SyntheticImage,
    big: str,
    tmp_path: Path,
) -> None:
    spec = parse(registry.add(release))
    async with open_session(20.0) as session:
        node = conf(tmp_path, mirror.host, registry.host)
        pulls = Registry(session, node, retry_for_s=20.0)
        await pulls.manifest(spec, release.digest)
        async with pulls.blob(spec, big, 0):
            pass
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(
    ("answer", "stubborn"), [(Answers(404), True), (Answers(403), True), (Answers(503), False)]
)
async def test_a_dead_mirror_is_not_hoped_for_until_the_deadline_when_the_registry_says_no(
    registry: FaultyRegistry, tmp_path: Path, answer: Answers, stubborn: bool
) -> None:
    registry.fails("/", *[answer] * 9)
    node = conf(tmp_path, "127.0.0.1:9", registry.host)
    async with open_session(20.0) as session:
        pulls = Registry(session, node, retry_for_s=20.0)
        with pytest.raises(Passing) as caught:
            async with pulls.blob(parse(f"{registry.host}/a:1"), f"sha256:{'0' * 64}", 0):
                pass
    assert caught.value.stubborn == stubborn
    assert registry.host in str(caught.value)


async def test_each_mirror_gets_its_own_credentials_and_token(
    registry: FaultyRegistry, mirror: FaultyRegistry, release: SyntheticImage, tmp_path: Path
) -> None:
    mirror.add(release)
    mirror.wants_tokens()
    spec = f"{registry.host}/{release.repository}@{release.digest}"
    node = conf(tmp_path, mirror.host, registry.host)
    keyring = Keyring({registry.host: "d3Jvbmc=", mirror.host: BASIC})
    assert await fetch(dataclasses.replace(node, keyring=keyring), spec)
    assert registry.sent == []


async def test_a_containerd_mirror_is_told_for_whom_and_gets_its_header(
    registry: FaultyRegistry, mirror: FaultyRegistry, release: SyntheticImage, tmp_path: Path
) -> None:
    mirror.add(release)
    mirror.wants_passwords()
    directory = tmp_path / "etc/containerd/certs.d/_default"
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text(
        f'[host."http://{mirror.host}"]\n[host."http://{mirror.host}".header]\n'
        f'authorization = "Basic {BASIC}"\n'
    )
    spec = f"{registry.host}/{release.repository}@{release.digest}"
    assert await fetch(read_node(tmp_path, None, {}), spec)
    assert mirror.queries == [f"ns={registry.host.replace(':', '%3A')}"]


async def test_a_host_that_we_are_redirected_to_learns_and_gets_nothing(
    registry: FaultyRegistry, mirror: FaultyRegistry, release: SyntheticImage, big: str
) -> None:
    spec = registry.add(release)
    registry.wants_passwords()
    mirror.wants_tokens()  # and asks for what it must not be given
    elsewhere = f"http://{mirror.host}/v2/{release.repository}/blobs/{big}"
    registry.fails(big, Answers(307, (("Location", elsewhere),)))
    registry.fails(big, Answers(307, (("Location", elsewhere),)))
    node = Node(keyring=Keyring({"127.0.0.1:1": "", registry.host: BASIC, mirror.host: BASIC}))
    async with open_session(20.0) as session:
        pulls = Registry(session, node, retry_for_s=20.0)
        await pulls.manifest(parse(spec), release.digest)
        with pytest.raises(AgentError, match="401"):
            async with pulls.blob(parse(spec), big, 0):
                pass
    assert [authorization for _, authorization in mirror.sent] == ["", ""]
    assert mirror.scopes == []


async def test_a_redirect_to_storage_that_needs_no_token_is_followed_with_the_range(
    registry: FaultyRegistry, mirror: FaultyRegistry, release: SyntheticImage, big: str
) -> None:
    spec = registry.add(release)
    mirror.add(release)
    elsewhere = f"http://{mirror.host}/v2/blobs/{big}?signature=a%2Fb%3D"
    registry.fails(big, Answers(302, (("Location", elsewhere),)))
    async with open_session(20.0) as session:
        pulls = Registry(session, Node(), retry_for_s=20.0)
        async with pulls.blob(parse(spec), big, 100, 300) as stream:
            body = b"".join([chunk async for chunk in stream.chunks(big)])
    assert body == release.blobs[big][100:300]
    assert mirror.queries == ["signature=a%2Fb%3D"]


@pytest.mark.parametrize("location", ["http://[", "ftp://a.lan/x", "/v2/a/b/manifests/1"])
async def test_a_redirect_to_nowhere_or_in_a_circle_ends(
    registry: FaultyRegistry, location: str
) -> None:
    registry.fails("/", *[Answers(302, (("Location", location),))] * 6)
    with pytest.raises(AgentError, match="redirect"):
        await fetch(Node(), f"{registry.host}/a/b:1", retry_for_s=0)


async def test_a_proxy_is_asked_for_the_whole_url(
    registry: FaultyRegistry, release: SyntheticImage, tmp_path: Path
) -> None:
    registry.add(release)
    node = conf(tmp_path, "mirror.invalid", more="insecure = true")
    node = dataclasses.replace(node, proxies=Proxies(http=f"http://{registry.host}"))
    spec = f"mirror.invalid/{release.repository}@{release.digest}"
    assert (await fetch(node, spec, retry_for_s=0)).body == release.manifest
    assert registry.sent[-1][0] == "mirror.invalid"


async def test_a_proxys_password_is_in_no_message(
    registry: FaultyRegistry, release: SyntheticImage
) -> None:
    node = Node(proxies=Proxies(https=f"http://user:secret@{registry.host}"))
    with pytest.raises(AgentError) as caught:
        await fetch(node, f"quay.invalid/{release.repository}@{release.digest}", retry_for_s=0)
    assert caught.value.kind == "RegistryUnreachable"
    assert "secret" not in str(caught.value)


async def test_a_token_that_cannot_be_sent_is_refused(
    registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.wants_tokens()
    monkeypatch.setattr(faultyregistry, "TOKEN", "a\r\nX-Evil: b")
    node = Node(keyring=Keyring({registry.host: BASIC}))
    with pytest.raises(AgentError, match="the service gave none") as caught:
        await fetch(node, f"{registry.host}/a/b:1")
    assert caught.value.kind == "Unauthorized"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[FaultyRegistry]:
    """A registry with a certificate for a name that is only known to the resolver as loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serve(context) as registry:
        yield registry


def hosts_toml(root: Path, host: str, more: str) -> Node:
    directory = root / "etc/containerd/certs.d/_default"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.toml").write_text(f'server = "https://{host}"\n{more}\n')
    return Node(read_mirrors(root))


@pytest.mark.parametrize(
    ("more", "trusted"), [("", False), ('ca = "/ca.pem"', True), ("skip_verify = true", True)]
)
async def test_a_certificate_is_trusted_by_the_authorities_that_the_node_names(
    secure: FaultyRegistry,
    authority: trustme.CA,
    release: SyntheticImage,
    tmp_path: Path,
    more: str,
    trusted: bool,
) -> None:
    secure.add(release)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    node = hosts_toml(tmp_path, secure.host, more)
    spec = f"a.lan/{release.repository}@{release.digest}"
    if trusted:
        assert (await fetch(node, spec)).body == release.manifest
        return
    with pytest.raises(AgentError, match=r"(?i)certificate") as caught:
        await fetch(node, spec, retry_for_s=0)
    assert caught.value.kind == "RegistryUnreachable"


async def test_a_client_certificate_is_shown_to_who_asks_for_it(
    authority: trustme.CA, release: SyntheticImage, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    spec = f"a.lan/{release.repository}@{release.digest}"
    async with serve(context) as registry:
        registry.add(release)
        node = hosts_toml(tmp_path, registry.host, 'ca = "/ca.pem"')
        with pytest.raises(AgentError):
            await fetch(node, spec, retry_for_s=0)
        authority.issue_cert("spoke").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / "me.pem"
        )
        node = hosts_toml(tmp_path, registry.host, 'ca = "/ca.pem"\nclient = "/me.pem"')
        assert (await fetch(node, spec)).body == release.manifest


async def test_the_nodes_own_bundle_is_trusted(
    secure: FaultyRegistry, authority: trustme.CA, release: SyntheticImage, tmp_path: Path
) -> None:
    secure.add(release)
    bundle = tmp_path / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    authority.cert_pem.write_to_path(bundle)
    hosts_toml(tmp_path, secure.host, "")
    spec = f"a.lan/{release.repository}@{release.digest}"
    assert (await fetch(read_node(tmp_path, None, {}), spec)).body == release.manifest


async def test_a_certificate_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    node = hosts_toml(tmp_path, "127.0.0.1:9", 'ca = "/ca.pem"')
    with pytest.raises(AgentError, match=r"ca\.pem: no certificate") as caught:
        await fetch(node, "a.lan/a:1")
    assert caught.value.kind == "InvalidSpec"
