"""Registries and proxies that speak HTTP as they like: old, cut, endless, or meant to harm."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from talm.agent.content.references import parse
from talm.agent.main import run_agent
from talm.agent.settings import Settings
from talm.agent.transfer.node import Node, read_node
from talm.agent.transfer.registry import Corrupt, Document, Registry, digest_of, open_session
from talm.agent.transfer.retry import Passing
from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError
from talm.sim.images import SyntheticImage

from ..conftest import SettingsFor
from ..faultyregistry import Answers, Cuts, Expires, FaultyRegistry
from ..test_main import auth_file
from .rawserver import RawServer, answer, chunked, serve_raw

F = FailureClass
MANIFEST = json.dumps({"manifests": []}).encode()
CHUNKED = "Transfer-Encoding: chunked"
TYPE = "Content-Type: application/json"


async def manifest(server: RawServer, version: str = "1", *, retry_for_s: float = 20.0) -> Document:
    async with open_session(20.0) as session:
        registry = Registry(session, Node(), retry_for_s=retry_for_s)
        return await registry.manifest(parse(f"{server.host}/a/b:1"), version)


def last_words(settings: Settings) -> str:
    assert settings.termination_log
    return settings.termination_log.read_text()


@pytest.mark.parametrize(
    "good",
    [
        answer(MANIFEST, TYPE, version="1.0"),
        answer(MANIFEST, TYPE),
        answer(MANIFEST, TYPE, f"Content-Length: {len(MANIFEST)}", "Connection: close"),
        answer(chunked(MANIFEST[:5], MANIFEST[5:]), CHUNKED),
        answer(MANIFEST, "Content-Encoding: nonsense", TYPE),
    ],
    ids=["HTTP/1.0", "until the end", "closed", "chunked", "encoded by its word"],
)
async def test_any_way_to_end_an_answer_is_understood(good: bytes) -> None:
    async with serve_raw(good) as server:
        assert (await manifest(server)).body == MANIFEST


@pytest.mark.parametrize(
    "bad",
    [
        answer(MANIFEST[:5], f"Content-Length: {len(MANIFEST)}"),
        answer(chunked(MANIFEST[:5], ended=False), CHUNKED),
        answer(b"zz\r\nnonsense", CHUNKED),
        answer(MANIFEST, f"X-Large: {'x' * 20_000}"),
        answer(MANIFEST, *(f"X-{n}: {'x' * 1000}" for n in range(2000))),
        answer(MANIFEST, "Content-Length: -1"),
        answer(MANIFEST, status="302 Found"),
        answer(b"", status="204 No Content"),
        answer(b"", status="304 Not Modified"),
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
    ids=[
        "cut",
        "cut in chunks",
        "no chunks",
        "a huge header",
        "endless headers",
        "a negative length",
        "a redirect without a target",
        "no content",
        "not modified",
        "another protocol",
        "nothing",
    ],
)
async def test_an_answer_that_is_none_is_asked_for_again(bad: bytes) -> None:
    async with serve_raw(bad, answer(MANIFEST, TYPE)) as server:
        assert (await manifest(server)).body == MANIFEST
        assert len(server.requests) == 2


async def test_a_manifest_without_a_length_or_an_end_is_read_up_to_its_bound() -> None:
    endless = answer(chunked(*[bytes(1 << 20)] * 12, ended=False), CHUNKED)
    async with serve_raw(endless, endless) as server:
        with pytest.raises(Corrupt, match="larger than 4 MiB"):
            await manifest(server)
        assert len(server.requests) == 1


async def test_a_manifest_by_tag_is_checked_by_the_digest_that_the_registry_promises() -> None:
    said = f"Docker-Content-Digest: {digest_of(MANIFEST)}"
    async with serve_raw(answer(MANIFEST[:-2], said, version="1.0")) as server:
        with pytest.raises(Corrupt, match="hashes to"):
            await manifest(server)
    for header in (said, "Docker-Content-Digest: nonsense"):
        async with serve_raw(answer(MANIFEST, header)) as server:
            assert (await manifest(server)).digest == digest_of(MANIFEST)


async def test_a_connection_that_the_peer_closed_between_requests_is_no_failure() -> None:
    length = f"Content-Length: {len(MANIFEST)}"
    async with serve_raw(answer(MANIFEST, length), answer(MANIFEST, length)) as server:
        async with open_session(20.0) as session:
            registry = Registry(session, Node(), retry_for_s=0)
            reference = parse(f"{server.host}/a/b:1")
            for _ in range(2):
                assert (await registry.manifest(reference, "1")).body == MANIFEST
        assert server.connections == 2


@pytest.mark.parametrize(
    ("location", "complaint"),
    [
        ("file:///etc/passwd", "neither http:// nor https://"),
        ("unix:/run/secret.sock", "neither http:// nor https://"),
        ("http://user:pass@127.0.0.1/x", "nowhere"),
        ("http://127.0.0.1:99999/x", "nowhere"),
        ("http://a..b/x", "label empty or too long"),
        (f"http://{'a' * 64}.lan/x", "label empty or too long"),
    ],
    ids=lambda text: text[:30],
)
async def test_a_redirect_out_of_the_web_is_not_followed(location: str, complaint: str) -> None:
    """With credentials of our own at hand, which must not meet those in the target."""
    async with serve_raw(answer(b"", f"Location: {location}", status="307 Go")) as server:
        with pytest.raises(AgentError, match=complaint) as caught:
            await manifest(server, retry_for_s=0)
    assert caught.value.kind == F.REGISTRY_UNREACHABLE


async def test_a_target_with_blanks_is_asked_for_as_a_browser_would() -> None:
    there = answer(b"", "Location: /a b/\u00e9?s=a%2Fb%3D", status="307 Go")
    async with serve_raw(there, answer(MANIFEST)) as server:
        assert (await manifest(server)).body == MANIFEST
        assert server.requests[1].split(b"\r\n")[0] == b"GET /a%20b/%C3%A9?s=a%2Fb%3D HTTP/1.1"


async def test_a_service_for_tokens_with_a_password_in_its_address_is_not_asked() -> None:
    async with serve_raw() as server:
        challenge = f'WWW-Authenticate: Bearer realm="http://u:p@{server.host}/token"'
        server.answers.append(answer(b"", challenge, status="401 No"))
        with pytest.raises(AgentError, match="token service") as caught:
            await manifest(server)
    assert caught.value.kind == F.UNAUTHORIZED
    assert len(server.requests) == 1


async def test_a_cookie_goes_nowhere() -> None:
    cookie = "Set-Cookie: session=1; Path=/"
    answers = answer(MANIFEST, cookie), answer(MANIFEST)
    async with serve_raw(*answers) as server, open_session(20.0) as session:
        registry = Registry(session, Node(), retry_for_s=0)
        for _ in range(2):
            await registry.manifest(parse(f"{server.host}/a:1"), "1")
    assert b"ookie" not in server.requests[1]


async def test_a_servers_words_reach_a_terminal_without_its_control_characters() -> None:
    said = f"503 \x1b[2J{'x' * 5000}"
    async with serve_raw(answer(b"", status=said)) as server:
        with pytest.raises(AgentError) as caught:
            await manifest(server, retry_for_s=0)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


async def test_names_that_no_resolver_takes_are_unreachable_as_unknown_ones_are(
    tmp_path: Path,
) -> None:
    file = tmp_path / "etc/containers/registries.conf"
    file.parent.mkdir(parents=True)
    file.write_text(
        '[[registry]]\nlocation = "a.invalid"\n[[registry.mirror]]\nlocation = "b..lan"\n'
    )
    node = read_node(tmp_path, None, {})
    async with open_session(20.0) as session:
        registry = Registry(session, node, retry_for_s=0)
        with pytest.raises(Passing, match=r"b\.\.lan/.*label empty") as caught:
            async with registry.blob(parse("a.invalid/a:1"), f"sha256:{'0' * 64}", 0):
                pass
    assert caught.value.stubborn
    assert "cannot connect to a.invalid:443: " in str(caught.value)
    assert "0x" not in str(caught.value)


def here(address: str) -> bool:
    """Whether this machine has the address; containers often lack IPv6."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("address", [a for a in ("127.0.0.1", "::1") if here(a)])
async def test_a_registry_by_its_address_is_pulled_from(address: str) -> None:
    async with serve_raw(answer(MANIFEST), address=address) as server:
        assert (await manifest(server)).body == MANIFEST
        assert f"Host: {server.host}\r\n".encode() in server.requests[0]


async def test_a_blob_without_a_length_or_an_end_is_cut_at_its_size(
    settings_for: SettingsFor, release: SyntheticImage, registry: FaultyRegistry, big: str
) -> None:
    endless = answer(chunked(*[bytes(1 << 20)] * 8, ended=False), CHUNKED)
    async with serve_raw(endless, endless) as storage:
        spec = registry.add(release)
        away = Answers(307, (("Location", f"http://{storage.host}/x"),))
        registry.fails(big, away, away)
        settings = settings_for(spec)
        assert await run_agent(settings) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    assert f"longer than its {len(release.blobs[big])} bytes" in last_words(settings)


async def test_a_token_that_expires_in_the_middle_of_a_blob_costs_one_renewal_and_no_byte(
    settings_for: SettingsFor,
    release: SyntheticImage,
    registry: FaultyRegistry,
    big: str,
    tmp_path: Path,
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    registry.fails(big, Cuts(100_000), Expires())
    settings = settings_for(spec, auth_file=auth_file(tmp_path, registry.host))
    assert await run_agent(settings) == 0
    assert len(registry.scopes) == 2
    assert registry.blob_bytes == sum(len(blob) for blob in release.blobs.values())
