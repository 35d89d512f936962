"""Who we are to a registry: `auth.json` by longest match, Basic, and the Bearer token dance.

Credentials go to the registry that they are written for and to the token service that this
registry names, over TLS (or to this machine) only; a redirect to another host loses them.
Credential helpers and the node's pull secret are not read here.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from talm.agent.content.references import Reference, is_loopback
from talm.agent.failures import failure, invalid_spec
from talm.agent.transfer.retry import Passing, check_answer, network_errors
from talm.api.progress import FailureClass

_PARAMETER: Final = re.compile(r'([a-zA-Z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_MAX_TOKEN_ANSWER: Final = 1 << 20


class _Auth(msgspec.Struct):
    auth: str = ""


class _AuthFile(msgspec.Struct):
    auths: dict[str, _Auth] = {}


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


def read_auth_file(file: Path | None) -> Mapping[str, str]:
    """Read `auth.json`: registry or registry/path -> base64 of user:password.  None: nobody.

    Raises AgentError (InvalidSpec) when it is there and cannot be understood; its content is
    never part of a message.
    """
    if file is None:
        return {}
    try:
        auths = msgspec.json.decode(file.read_bytes(), type=_AuthFile).auths
        for entry in auths.values():
            base64.b64decode(entry.auth, validate=True)
    except (OSError, ValueError) as exc:  # ValueError: no JSON, or no base64
        raise invalid_spec(f"{file} is no readable auth.json: {type(exc).__name__}") from exc
    return {name: entry.auth for name, entry in auths.items() if entry.auth}


def longest_match(auths: Mapping[str, str], reference: Reference) -> str:
    """Return the entry for the longest prefix of registry/path; "" when there is none."""
    name = f"{reference.registry}/{reference.path}"
    while name:
        if name in auths:
            return auths[name]
        name = name.rpartition("/")[0]
    return ""


class Authorizer:
    """The Authorization header per repository, renewed when the registry refuses the last one."""

    def __init__(self, session: aiohttp.ClientSession, auths: Mapping[str, str]) -> None:
        self._session = session
        self._auths = auths
        self._headers: dict[tuple[str, str], str] = {}
        self._renewing = asyncio.Lock()

    def header(self, reference: Reference) -> str:
        """Return the header to send, "" before the registry has asked for one."""
        return self._headers.get((reference.registry, reference.path), "")

    async def renew(self, reference: Reference, challenges: Iterable[str], refused: str) -> None:
        """Answer a 401's `challenges`; `refused` is the header that was sent.

        Several streams are refused at once when a token expires: one renews, the others see that
        the header is no longer the refused one.  Raises AgentError (Unauthorized), or Passing.
        """
        async with self._renewing:
            if self.header(reference) != refused:
                return
            basic = longest_match(self._auths, reference)
            for challenge in challenges:
                scheme, _, rest = challenge.partition(" ")
                if scheme.lower() == "bearer":
                    header = await self._bearer(reference, _parameters(rest), basic)
                elif scheme.lower() == "basic" and basic:
                    header = f"Basic {basic}"
                else:
                    continue
                self._headers[reference.registry, reference.path] = header
                return
        who = "these credentials were refused" if basic else "no credentials for it"
        raise failure(FailureClass.UNAUTHORIZED, f"{reference}: 401, {who}")

    async def _bearer(self, reference: Reference, asked: Mapping[str, str], basic: str) -> str:
        realm = asked.get("realm", "")
        url = urlsplit(realm)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.netloc)):
            raise failure(
                FailureClass.UNAUTHORIZED, f"{reference}: the token service {realm!r} has no TLS"
            )
        query = {"scope": asked.get("scope") or f"repository:{reference.path}:pull"}
        if "service" in asked:
            query["service"] = asked["service"]
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        what = f"token for {reference}"
        with network_errors(what):
            async with self._session.get(realm, params=query, headers=headers) as response:
                check_answer(response, what)
                body = await response.content.read(_MAX_TOKEN_ANSWER)
        try:
            answer = msgspec.json.decode(body, type=_Token)
        except msgspec.MsgspecError as exc:
            raise Passing(f"{what}: the answer is no token") from exc
        token = answer.token or answer.access_token
        if not token:
            raise failure(FailureClass.UNAUTHORIZED, f"{what}: the service gave none")
        return f"Bearer {token}"


def _parameters(text: str) -> dict[str, str]:
    """Split `realm="…",scope="…"` of a challenge."""
    return {
        m[1].lower(): (m[3] or re.sub(r"\\(.)", r"\1", m[2])) for m in _PARAMETER.finditer(text)
    }
