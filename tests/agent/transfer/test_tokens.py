"""The service that gives tokens: what it may answer, and what a run makes of it."""

from __future__ import annotations

import base64

import pytest

from talm.agent.content.references import parse
from talm.agent.transfer.authfiles import Keyring
from talm.agent.transfer.node import Node
from talm.agent.transfer.registry import Document, Registry, open_session
from talm.errors import AgentError
from talm.sim.images import SyntheticImage

from ..faultyregistry import USER, Answers, Changes, FaultyRegistry


async def fetch(
    registry: FaultyRegistry, spec: str, *, retry_for_s: float = 20.0, user: str = USER
) -> Document:
    basic = base64.b64encode(user.encode()).decode()
    node = Node(keyring=Keyring({registry.host: basic}, ("credsStore of auth.json",)))
    async with open_session(20.0) as session:
        reference = parse(spec)
        pulls = Registry(session, node, retry_for_s=retry_for_s)
        return await pulls.manifest(reference, reference.version)


@pytest.mark.parametrize(
    "fault",
    [
        Answers(503),
        Answers(429, (("Retry-After", "1"),)),
        Changes(b"<html>"),
        Changes(b'{"token": "\xff"}'),
        Changes(b'{"x": ' + b"[" * 100_000),
        Changes(b" " * (2 << 20) + b'{"token": "t0ken1"}'),
    ],
    ids=["down", "busy", "a page", "no text", "nested without end", "too large"],
)
async def test_a_service_that_fails_in_passing_is_asked_again(
    registry: FaultyRegistry, release: SyntheticImage, fault: Answers | Changes
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    registry.fails("/token", fault)
    assert (await fetch(registry, spec)).digest == release.digest
    assert len(registry.scopes) == 2


async def test_a_service_that_stays_down_makes_the_registry_unreachable(
    registry: FaultyRegistry, release: SyntheticImage
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    registry.fails("/token", *[Answers(502)] * 100)
    with pytest.raises(AgentError, match=r"^RegistryUnreachable: token for .*502") as caught:
        await fetch(registry, spec, retry_for_s=0.5)
    assert registry.host in str(caught.value)


@pytest.mark.parametrize(
    "fault", [Answers(401), Answers(403), Changes(b"{}"), Changes(b'{"token": ""}')], ids=str
)
async def test_a_service_that_says_no_is_final_and_names_who_could_not_be_asked(
    registry: FaultyRegistry, release: SyntheticImage, fault: Answers | Changes
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    registry.fails("/token", fault, fault)
    with pytest.raises(AgentError, match=r"^Unauthorized: token for ") as caught:
        await fetch(registry, spec)
    if isinstance(fault, Answers):
        assert "these credentials were refused; not supp" in str(caught.value)
        assert "not asked: credsStore of auth.json" in str(caught.value)
    assert len(registry.scopes) == 1


@pytest.mark.parametrize("scope", ['scope="repository:x:pull"', ""])
async def test_the_scope_is_the_registrys_or_else_the_repository(
    registry: FaultyRegistry, release: SyntheticImage, scope: str
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    registry.challenge = f'Bearer service="faulty", realm="http://{registry.host}/token",{scope}'
    assert await fetch(registry, spec)
    own = f"repository:{release.repository}:pull"
    assert registry.scopes == ["repository:x:pull" if scope else own]


async def test_who_has_no_credentials_is_told_so(
    registry: FaultyRegistry, release: SyntheticImage
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    with pytest.raises(AgentError, match=r"401 Unauthorized, no credentials for it; not"):
        await fetch(registry, spec, user="")


async def test_a_token_that_the_registry_does_not_take_is_asked_for_once(
    registry: FaultyRegistry, release: SyntheticImage
) -> None:
    spec = registry.add(release)
    registry.wants_tokens()
    registry.fails("/token", Changes(b'{"token": "wrong"}'), Changes(b'{"token": "wrong"}'))
    with pytest.raises(AgentError, match=r"^Unauthorized: manifest .*401"):
        await fetch(registry, spec)
    assert (len(registry.scopes), len(registry.asked)) == (1, 2)
