from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from talm.agent.content.references import Reference
from talm.agent.content.references import parse as reference
from talm.agent.transfer.credentials import Authorizer, longest_match, read_auth_file
from talm.errors import AgentError

RELEASE = reference("quay.io/openshift/release:4.10")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("quay.io", "quay.io/openshift"), "quay.io/openshift"),
        (("quay.io", "quay.io/openshift/release"), "quay.io/openshift/release"),
        (("quay.io", "quay.io/open"), "quay.io"),
        (("quay.io:443", "example.com"), ""),
    ],
)
def test_the_longest_entry_that_matches_is_used(names: tuple[str, ...], chosen: str) -> None:
    assert longest_match({name: name for name in names}, RELEASE) == chosen


@pytest.mark.parametrize("text", ["{", '{"auths": 3}', '{"auths": {"a": {"auth": "§secret"}}}'])
def test_an_unreadable_auth_file_is_refused_without_its_content(tmp_path: Path, text: str) -> None:
    file = tmp_path / "auth.json"
    file.write_text(text)
    with pytest.raises(AgentError, match=r"auth\.json") as caught:
        read_auth_file(file)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "challenge",
    ['Bearer realm="http://token.example.com/",service="x"', "Bearer", "Negotiate", ""],
)
async def test_credentials_are_not_sent_where_they_could_be_read(challenge: str) -> None:
    async with aiohttp.ClientSession() as session:
        authorizer = Authorizer(session, {"quay.io": "c2VjcmV0"})
        with pytest.raises(AgentError) as caught:
            await authorizer.renew(RELEASE, [challenge], "")
    assert caught.value.kind == "Unauthorized"
    assert authorizer.header(Reference("quay.io", "openshift/release")) == ""
