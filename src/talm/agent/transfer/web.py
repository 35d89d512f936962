"""GET over HTTP(S): by the node's proxies and certificates, redirects followed with care.

A redirect to another host (registries send us to their storage) takes nothing along that was
meant for the first one: no Authorization, no configured header, no client certificate, and the
other host is always verified.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
from yarl import URL

from talm.agent.failures import invalid_spec
from talm.agent.transfer.endpoints import Tls
from talm.agent.transfer.proxies import Proxies
from talm.agent.transfer.retry import Passing

_REDIRECTS: Final = {301, 302, 303, 307, 308}
_MAX_REDIRECTS: Final = 5
_IN_URLS: Final = "%:/?#[]@!$&'()*+,;=~"  # what stays as it is: a signature must not change
_ANYBODY: Final = Tls()


class Web:
    """One session's way out of the node."""

    def __init__(
        self, session: aiohttp.ClientSession, proxies: Proxies, ca_bundle: Path | None
    ) -> None:
        self._session = session
        self._proxies = proxies
        self._ca_bundle = ca_bundle
        self._contexts: dict[Tls, ssl.SSLContext] = {}

    @contextlib.asynccontextmanager
    async def get(
        self, url: str, headers: Mapping[str, str], private: Mapping[str, str], tls: Tls = _ANYBODY
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET `url`; `private` headers and `tls` are for its host alone.

        Raises what aiohttp raises, Passing for redirects without end, AgentError (InvalidSpec)
        for certificates that cannot be read.
        """
        first, at_home = _origin(url), True
        for _ in range(_MAX_REDIRECTS + 1):
            at_home = at_home and _origin(url) == first  # who has left does not come back
            sent = {**headers, **private} if at_home else headers
            async with self._session.get(
                URL(url, encoded=True),
                headers=sent,
                ssl=self._context(tls if at_home else _ANYBODY, url),
                proxy=self._proxies.of(url),
                allow_redirects=False,
            ) as response:
                location = response.headers.get("Location", "")
                if response.status not in _REDIRECTS or not location:
                    yield response
                    return
                url = _target(url, location)
        raise Passing(f"{_shown(url)}: more than {_MAX_REDIRECTS} redirects")

    def _context(self, tls: Tls, url: str) -> ssl.SSLContext | bool:
        if not url.startswith("https:"):
            return True
        if tls not in self._contexts:
            self._contexts[tls] = _new_context(tls, self._ca_bundle)
        return self._contexts[tls]


def came_from(response: aiohttp.ClientResponse, url: str) -> bool:
    """Tell whether the host that was asked for `url` answered itself."""
    return _origin(str(response.url)) == _origin(url)


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body, or more than `limit` bytes of it when it is longer."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _target(url: str, location: str) -> str:
    """Return where a redirect leads.  Raises Passing for anything but http(s)://HOST[:PORT]/…."""
    try:
        target = quote(urljoin(url, location).partition("#")[0], safe=_IN_URLS)
        scheme, host, _ = _origin(target)
    except ValueError as exc:
        raise Passing(f"{_shown(url)}: it redirects to nowhere") from exc
    if scheme not in ("http", "https"):
        raise Passing(f"{_shown(url)}: it redirects to neither http:// nor https://")
    if not host or "@" in urlsplit(target).netloc:  # a password of its own would be sent along
        raise Passing(f"{_shown(url)}: it redirects to nowhere")
    return target


def _shown(url: str) -> str:
    """Leave out the query, which may be a signature that opens a storage for whoever has it."""
    return url.partition("?")[0]


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _new_context(tls: Tls, bundle: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for file in (*((bundle,) if bundle else ()), *tls.ca_files):
        with _certificate_errors(file):
            context.load_verify_locations(file)
    for certificate, key in tls.clients:
        with _certificate_errors(certificate):
            context.load_cert_chain(certificate, key)
    return context


@contextlib.contextmanager
def _certificate_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        raise invalid_spec(f"{file}: no certificate that can be used: {exc}") from exc
