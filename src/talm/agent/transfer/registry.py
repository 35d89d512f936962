"""The registry's HTTP API, as much as a pull needs: manifests whole, blobs from an offset.

Decided here: which endpoint is asked when, headers, what an answer means.  Not here: which
endpoints there are (mirrors.py), what to fetch and where it goes (manifests.py, download.py), who
we are (credentials.py), what may be tried again (retry.py), TLS and redirects (web.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

import aiohttp

from talm import __version__
from talm.agent.content.references import Reference, is_digest
from talm.agent.failures import text_of
from talm.agent.transfer.credentials import Authorizer
from talm.agent.transfer.endpoints import Endpoint
from talm.agent.transfer.mirrors import endpoints
from talm.agent.transfer.node import Node
from talm.agent.transfer.retry import Passing, Patience, check_answer, insist, network_errors
from talm.agent.transfer.web import Web, came_from, read_at_most
from talm.api.progress import FailureClass
from talm.errors import AgentError

T = TypeVar("T")

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

_ACCEPT: Final = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))
_MAX_MANIFEST: Final = 4 << 20  # the bound that registries themselves set
_CONNECT_S: Final = 30.0
_DISTRUST_S: Final = 60.0  # a mirror that is down costs a connection's time-out once a minute
# A read that brings less than this is followed by a pause: the kernel collects meanwhile, and a
# fast link costs hundreds of reads a second instead of thousands.
_WORTH_A_READ: Final = 128 << 10
_PAUSE_S: Final = 0.01
_DIGEST_HEADER: Final = "Docker-Content-Digest"
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Corrupt(Exception):
    """What came is not what the digest names."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index, byte for byte as the registry served it."""

    digest: str
    media_type: str
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class BlobStream:
    """A blob's bytes from `start` on; not `ranged`: up to another end than was asked for."""

    start: int
    ranged: bool
    response: aiohttp.ClientResponse
    endpoint: Endpoint

    async def chunks(self, what: str) -> AsyncIterator[bytes]:
        """Yield what arrives, within a few milliseconds.  Raises Passing when the connection is lost."""
        with network_errors(what):
            async for chunk in self.response.content.iter_any():
                yield chunk
                if len(chunk) < _WORTH_A_READ:
                    await self._let_it_collect()

    async def _let_it_collect(self) -> None:
        """Read nothing for a moment; there is no connection any more once all has arrived."""
        connection = self.response.connection
        transport = connection.transport if connection is not None else None
        if transport is None:
            return
        transport.pause_reading()
        try:
            await asyncio.sleep(_PAUSE_S)
        finally:
            transport.resume_reading()


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """Return `algorithm:hex` of `body`."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


@contextlib.asynccontextmanager
async def open_session(stall_s: float) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the HTTP session of one run: no total time limit, `stall_s` without a byte at most."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=stall_s)
    headers = {"User-Agent": f"talm-agent/{__version__}", "Accept-Encoding": "identity"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers=headers,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


class Registry:
    """All registries of a run, through one session."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        node: Node,
        *,
        retry_for_s: float,
        on_retry: Callable[[str], None] = lambda _: None,
        persistent: bool = False,
    ) -> None:
        self._node = node
        self._web = Web(session, node.proxies, node.ca_bundle)
        self._authorizer = Authorizer(self._web, node.keyring)
        self._new_patience = functools.partial(
            Patience, retry_for_s, on_retry, persistent=persistent
        )
        self._last_until: dict[str, float] = {}
        self._served: dict[Reference, str] = {}

    def patience(self) -> Patience:
        """Return a fresh patience for one request and its repetitions."""
        return self._new_patience()

    async def manifest(self, reference: Reference, version: str) -> Document:
        """Fetch the manifest or index `version` (a digest or tag) of the reference's repository.

        Raises AgentError: ImageNotFound (404), Unauthorized, RegistryUnreachable; Corrupt when
        the body does not hash to `version`, or is larger than a manifest may be.
        """

        async def ask(endpoint: Endpoint) -> Document:
            document = await self._manifest(reference, endpoint, version)
            self._served[reference] = endpoint.base
            return document

        return await insist(self.patience(), lambda: self._first(reference, version, ask))

    @contextlib.asynccontextmanager
    async def blob(
        self, reference: Reference, digest: str, offset: int, end: int | None = None
    ) -> AsyncIterator[BlobStream]:
        """Ask for a blob's bytes from `offset` up to `end` (None: the last).

        One attempt at each endpoint: raises Passing, Corrupt or AgentError.  Corrupt: the
        registry's blob ends before `offset`, so what we hold is no part of it.
        """
        async with contextlib.AsyncExitStack() as stack:

            async def ask(endpoint: Endpoint) -> BlobStream:
                what = f"blob {digest} of {_place(reference, endpoint)}"
                asking = self._blob(endpoint, digest, (offset, end), what)
                return await stack.enter_async_context(asking)

            yield await self._first(reference, digest, ask)

    def home(self, reference: Reference) -> Endpoint:
        """Return who has served the reference's manifest, or is to be asked for it first."""
        return self._in_order(reference, reference.version)[0]

    async def attachment(self, reference: Reference, tag: str) -> Document:
        """Fetch what is kept beside the image under a tag of its own, from where that came from.

        No other endpoint is asked, as container tools do it: signatures of a mirror's images are the
        mirror's to have.  Raises as `manifest`.
        """
        return await insist(
            self.patience(), lambda: self._manifest(reference, self.home(reference), tag)
        )

    async def content(self, reference: Reference, digest: str, most: int) -> bytes:
        """Fetch a small blob whole, unverified.  Raises AgentError, Corrupt when it is larger."""

        async def ask() -> bytes:
            async with self.blob(reference, digest, 0) as stream:
                with network_errors(digest):
                    return await _read_whole(stream.response, digest, most)

        return await insist(self.patience(), ask)

    async def file(self, url: str, most: int) -> bytes:
        """Fetch what is in no repository, by the node's proxies and certificates, as nobody.

        Raises AgentError (ImageNotFound: it is not there), Corrupt when it is larger.
        """

        async def ask() -> bytes:
            with network_errors(url):
                async with self._web.get(url, {}, {}) as response:
                    check_answer(response, url)
                    return await _read_whole(response, url, most)

        return await insist(self.patience(), ask)

    def distrust(self, endpoint: Endpoint) -> None:
        """Ask this endpoint after all others for a while: it is down, or served something else."""
        self._last_until[endpoint.base] = time.monotonic() + _DISTRUST_S

    def _in_order(self, reference: Reference, version: str) -> list[Endpoint]:
        """Return where to ask: as the node says, but who served the manifest has the blobs too."""
        now, served = time.monotonic(), self._served.get(reference)

        def rank(endpoint: Endpoint) -> tuple[bool, bool]:
            return self._last_until.get(endpoint.base, 0.0) > now, endpoint.base != served

        return sorted(self._endpoints(reference, version), key=rank)

    def _endpoints(self, reference: Reference, version: str) -> tuple[Endpoint, ...]:
        """Return where to ask.  What a tag leads to has a digest: mirrors for either may have it."""
        forms = [dataclasses.replace(reference, digest=version)] if is_digest(version) else []
        found: dict[Endpoint, None] = {}
        refusal: AgentError | None = None
        for form in (*forms, reference):
            try:
                found.update(dict.fromkeys(endpoints(self._node.mirrors, form)))
            except AgentError as exc:
                refusal = exc
        if refusal and not found:
            raise refusal
        return tuple(found)

    async def _first(
        self, reference: Reference, version: str, ask: Callable[[Endpoint], Awaitable[T]]
    ) -> T:
        """Ask one endpoint after the other.  Raises their joint error when none has it."""
        failures: list[Exception] = []
        for endpoint in self._in_order(reference, version):
            try:
                return await ask(endpoint)
            except (Passing, Corrupt, AgentError) as exc:
                failures.append(exc)
                if isinstance(exc.__cause__, aiohttp.ClientConnectionError | TimeoutError):
                    self.distrust(endpoint)
        raise _verdict(failures)

    async def _manifest(self, reference: Reference, endpoint: Endpoint, version: str) -> Document:
        what = f"manifest {version} of {_place(reference, endpoint)}"
        url = endpoint.url(f"manifests/{version}")
        with network_errors(what):
            async with self._get(endpoint, url, {"Accept": _ACCEPT}) as response:
                check_answer(response, what, self._node.keyring.hint)
                body = await read_at_most(response, _MAX_MANIFEST)
                media_type = response.content_type
                said = response.headers.get(_DIGEST_HEADER, "")
        if len(body) > _MAX_MANIFEST:
            raise Corrupt(f"{what}: it is larger than {_MAX_MANIFEST >> 20} MiB")
        # Behind a tag the header is all that tells a whole manifest from one that was cut.
        promised = version if is_digest(version) else said
        if is_digest(promised) and digest_of(body, promised.partition(":")[0]) != promised:
            raise Corrupt(f"{what}: what the registry serves hashes to {digest_of(body)}")
        return Document(version if is_digest(version) else digest_of(body), media_type, body)

    @contextlib.asynccontextmanager
    async def _blob(
        self, endpoint: Endpoint, digest: str, part: tuple[int, int | None], what: str
    ) -> AsyncIterator[BlobStream]:
        offset, end = part
        last = "" if end is None else end - 1
        headers = {"Range": f"bytes={offset}-{last}"} if offset or end is not None else {}
        with network_errors(what):
            async with self._get(endpoint, endpoint.url(f"blobs/{digest}"), headers) as response:
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise Corrupt(f"{what}: it ends before byte {offset}")
                check_answer(response, what, self._node.keyring.hint)
                start, final = _span_of(response, offset, what)
                ranged = final is not None and (end is None or final == end - 1)
                yield BlobStream(start, ranged, response, endpoint)

    @contextlib.asynccontextmanager
    async def _get(
        self, endpoint: Endpoint, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET below the repository; one 401 is answered with a new token, a second one is final.

        A 401 of the host that we were redirected to asks for nothing that we would give it: the
        endpoint is asked for another way.
        """
        sent = self._authorizer.header(endpoint)
        async with self._web.get(url, headers, _private(endpoint, sent), endpoint.tls) as response:
            if response.status != HTTPStatus.UNAUTHORIZED:
                yield response
                return
            challenges = response.headers.getall("WWW-Authenticate", [])
            home = came_from(response, url)
        if home:
            await self._authorizer.renew(endpoint, challenges, sent)
            sent = self._authorizer.header(endpoint)
        async with self._web.get(url, headers, _private(endpoint, sent), endpoint.tls) as response:
            yield response


async def _read_whole(response: aiohttp.ClientResponse, what: str, most: int) -> bytes:
    body = await read_at_most(response, most)
    if len(body) > most:
        raise Corrupt(f"{what}: it is larger than {most >> 20} MiB")
    return body


def _place(reference: Reference, endpoint: Endpoint) -> str:
    """Name the image's repository, and the mirror when it is one that is asked."""
    name = f"{reference.registry}/{reference.path}"
    itself = endpoint.registry == reference.registry and not endpoint.namespace
    return name if itself else f"{name} at {endpoint}"


def _private(endpoint: Endpoint, authorization: str) -> dict[str, str]:
    """Return what only this endpoint may see; its configured headers give way to a token."""
    private = dict(endpoint.headers)
    if authorization:
        private = {k: v for k, v in private.items() if k.lower() != "authorization"}
        private["Authorization"] = authorization
    return private


def _verdict(failures: Sequence[Exception]) -> Exception:
    """Return one error for several endpoints': passing if one of them is, final otherwise.

    One that is down beside one that has answered finally is hoped for like a wrong name: a dead
    mirror must not keep an image waiting that the registry does not have.
    """
    if len(failures) == 1:
        return failures[0]
    text = "; ".join(dict.fromkeys(str(error) for error in failures))
    if passing := [error for error in failures if isinstance(error, Passing)]:
        soonest = min(error.retry_after_s for error in passing)
        final = any(isinstance(error, AgentError) for error in failures)
        return Passing(text, soonest, stubborn=final or all(e.stubborn for e in passing))
    if corrupt := [error for error in failures if isinstance(error, Corrupt)]:
        return Corrupt("; ".join(str(error) for error in corrupt))
    refused = [error for error in failures if isinstance(error, AgentError)]
    # That one lacks the image is said of mirrors all the time; anything else is the better reason.
    worst = next((e for e in refused if e.kind != FailureClass.IMAGE_NOT_FOUND), refused[-1])
    return AgentError(worst.kind, "; ".join(text_of(error) for error in refused), worst.exit_code)


def _span_of(response: aiohttp.ClientResponse, offset: int, what: str) -> tuple[int, int | None]:
    """Return first and last byte of the body; a 200 to a range request is the whole blob (None)."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, None
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != offset:
        said = response.headers.get("Content-Range", "")[:80]
        raise Passing(f"{what}: asked from byte {offset}, the registry serves {said!r}")
    return offset, int(match[2])
