from __future__ import annotations

import aiohttp
import pytest

from talm.agent.transfer.authfiles import Keyring
from talm.agent.transfer.credentials import Authorizer
from talm.agent.transfer.endpoints import direct
from talm.agent.transfer.proxies import Proxies
from talm.agent.transfer.web import Web
from talm.errors import AgentError

RELEASE = direct("quay.io", "openshift/release")
KEYRING = Keyring({"quay.io": "c2VjcmV0"}, ("credHelpers of auth.json",))


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="http://token.example.com/",service="x"',
        'Bearer realm="http://quay.io/token"',
        'Bearer realm="https://[/"',
        'Bearer realm="https://quay.io:70000/"',
        'Bearer realm="https:///token"',
        'Bearer realm="file:///etc"',
        "Bearer",
        "Negotiate",
        "",
    ],
)
async def test_credentials_are_not_sent_where_they_could_be_read(challenge: str) -> None:
    async with aiohttp.ClientSession() as session:
        authorizer = Authorizer(Web(session, Proxies(), None), KEYRING)
        with pytest.raises(AgentError) as caught:
            await authorizer.renew(RELEASE, [challenge], "")
    assert caught.value.kind == "Unauthorized"
    assert authorizer.header(RELEASE) == ""


async def test_a_refusal_names_what_would_know_more_credentials() -> None:
    async with aiohttp.ClientSession() as session:
        authorizer = Authorizer(Web(session, Proxies(), None), KEYRING)
        with pytest.raises(AgentError, match=r"not asked: credHelpers of auth\.json"):
            await authorizer.renew(RELEASE, [], "")
