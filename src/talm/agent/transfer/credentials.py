"""Who we are to a registry: Basic, and the Bearer token dance.

Credentials go to the endpoint that they are written for and to the token service that it names,
over TLS (or to this machine, or to a mirror that the node's files ask without TLS) only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from talm.agent.content.references import is_loopback
from talm.agent.failures import failure
from talm.agent.transfer.authfiles import Keyring
from talm.agent.transfer.endpoints import Endpoint
from talm.agent.transfer.retry import Passing, check_answer, network_errors
from talm.agent.transfer.web import Web, read_at_most
from talm.api.progress import FailureClass

_PARAMETER: Final = re.compile(r'([a-zA-Z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_MAX_TOKEN_ANSWER: Final = 1 << 20


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class Authorizer:
    """The Authorization header per repository, renewed when the registry refuses the last one."""

    def __init__(self, web: Web, keyring: Keyring) -> None:
        self._web = web
        self._keyring = keyring
        self._headers: dict[str, str] = {}
        self._renewing = asyncio.Lock()

    def header(self, endpoint: Endpoint) -> str:
        """Return the header to send, "" before the registry has asked for one."""
        return self._headers.get(str(endpoint), "")

    async def renew(self, endpoint: Endpoint, challenges: Iterable[str], refused: str) -> None:
        """Answer a 401's `challenges`; `refused` is the header that was sent.

        Several streams are refused at once when a token expires: one renews, the others see that
        the header is no longer the refused one.  Raises AgentError (Unauthorized), or Passing.
        """
        async with self._renewing:
            if self.header(endpoint) != refused:
                return
            basic = self._keyring.find(endpoint.registry, endpoint.path)
            for challenge in challenges:
                scheme, _, rest = challenge.partition(" ")
                if scheme.lower() == "bearer":
                    header = await self._bearer(endpoint, _parameters(rest), basic)
                elif scheme.lower() == "basic" and basic:
                    header = f"Basic {basic}"
                else:
                    continue
                self._headers[str(endpoint)] = header
                return
        raise failure(FailureClass.UNAUTHORIZED, f"{endpoint}: 401{self._who(basic)}")

    def _who(self, basic: str) -> str:
        """Say with a refusal whether we have shown anything, and what could not be asked."""
        who = "these credentials were refused" if basic else "no credentials for it"
        return f", {who}{self._keyring.hint}"

    async def _bearer(self, endpoint: Endpoint, asked: Mapping[str, str], basic: str) -> str:
        realm = asked.get("realm", "")
        if not _is_safe(realm, endpoint):
            raise failure(
                FailureClass.UNAUTHORIZED, f"{endpoint}: the token service {realm!r} has no TLS"
            )
        query = {"scope": asked.get("scope") or f"repository:{endpoint.path}:pull"}
        if "service" in asked:
            query["service"] = asked["service"]
        fields = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        url = f"{realm}{'&' if '?' in realm else '?'}{fields}"
        private = {"Authorization": f"Basic {basic}"} if basic else {}
        what = f"token for {endpoint}"
        # A service beside the registry has its certificate; another one is verified as anybody.
        beside = urlsplit(realm).netloc == urlsplit(endpoint.base).netloc
        tls = (endpoint.tls,) if beside else ()
        with network_errors(what):
            async with self._web.get(url, {}, private, *tls) as response:
                check_answer(response, what, self._who(basic))
                body = await read_at_most(response, _MAX_TOKEN_ANSWER)
        try:
            answer = msgspec.json.decode(body, type=_Token)
        except (ValueError, RecursionError) as exc:
            raise Passing(f"{what}: the answer is no token") from exc
        token = answer.token or answer.access_token
        if not token.isascii() or not token.isprintable() or not token:
            raise failure(FailureClass.UNAUTHORIZED, f"{what}: the service gave none")
        return f"Bearer {token}"


def _is_safe(realm: str, endpoint: Endpoint) -> bool:
    """Tell whether a password may go there: not readable on the way, unless the node says so."""
    try:
        url = urlsplit(realm)
        port = url.port
    except ValueError:
        return False
    if not url.hostname or port == 0 or "@" in url.netloc:
        return False
    if url.scheme == "http":
        same = url.netloc == urlsplit(endpoint.base).netloc
        return is_loopback(url.netloc) or (same and endpoint.base.startswith("http:"))
    return url.scheme == "https"


def _parameters(text: str) -> dict[str, str]:
    """Split `realm="…",scope="…"` of a challenge."""
    return {
        m[1].lower(): (m[3] or re.sub(r"\\(.)", r"\1", m[2])) for m in _PARAMETER.finditer(text)
    }
