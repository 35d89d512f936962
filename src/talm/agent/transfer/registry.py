"""The registry's HTTP API, as much as a pull needs: manifests whole, blobs from an offset.

Decided here: URL and headers, what an answer means.  Not here: what to fetch and where it goes
(manifests.py, download.py), who we are (credentials.py), what may be tried again (retry.py).
Plain HTTP is spoken to registries on this machine only; TLS is always verified.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Final

import aiohttp

from talm import __version__
from talm.agent.content.references import Reference, is_digest
from talm.agent.transfer.credentials import Authorizer
from talm.agent.transfer.retry import Passing, Patience, check_answer, insist, network_errors

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

_ACCEPT: Final = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))
_MAX_MANIFEST: Final = 4 << 20  # the bound that registries themselves set
_CONNECT_S: Final = 30.0
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
    """A blob's bytes from `start` on; `start` is 0 when the registry did not heed the range."""

    start: int
    response: aiohttp.ClientResponse

    async def chunks(self, what: str) -> AsyncIterator[bytes]:
        """Yield what arrives, uncollected.  Raises Passing when the connection is lost."""
        with network_errors(what):
            async for chunk in self.response.content.iter_any():
                yield chunk


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
        connector=connector, timeout=timeout, headers=headers, auto_decompress=False
    ) as session:
        yield session


class Registry:
    """All registries of a run, through one session."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        auths: Mapping[str, str],
        *,
        retry_for_s: float,
        on_retry: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._session = session
        self._authorizer = Authorizer(session, auths)
        self._retry_for_s = retry_for_s
        self._on_retry = on_retry

    def patience(self) -> Patience:
        """Return a fresh patience for one request and its repetitions."""
        return Patience(self._retry_for_s, self._on_retry)

    async def manifest(self, reference: Reference, version: str) -> Document:
        """Fetch the manifest or index `version` (a digest or tag) of the reference's repository.

        Raises AgentError: ImageNotFound (404), Unauthorized, RegistryUnreachable; Corrupt when
        the body does not hash to `version`, or is larger than a manifest may be.
        """
        return await insist(self.patience(), lambda: self._manifest(reference, version))

    async def _manifest(self, reference: Reference, version: str) -> Document:
        what = f"manifest {version} of {reference.registry}/{reference.path}"
        headers = {"Accept": _ACCEPT}
        with network_errors(what):
            async with self._get(reference, f"manifests/{version}", headers, what) as response:
                check_answer(response, what)
                body = await _read_at_most(response, _MAX_MANIFEST, what)
                media_type = response.content_type
        digest = version if is_digest(version) else digest_of(body)
        if digest_of(body, digest.partition(":")[0]) != digest:
            raise Corrupt(f"{what}: what the registry serves hashes to {digest_of(body)}")
        return Document(digest, media_type, body)

    @contextlib.asynccontextmanager
    async def blob(
        self, reference: Reference, digest: str, offset: int
    ) -> AsyncIterator[BlobStream]:
        """Ask for a blob from `offset` on.  One attempt: raises Passing, Corrupt or AgentError.

        Corrupt: the registry's blob ends before `offset`, so what we hold is no part of it.
        """
        what = f"blob {digest} of {reference.registry}/{reference.path}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with network_errors(what):
            async with self._get(reference, f"blobs/{digest}", headers, what) as response:
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise Corrupt(f"{what}: it ends before byte {offset}")
                check_answer(response, what)
                yield BlobStream(_start_of(response, offset, what), response)

    @contextlib.asynccontextmanager
    async def _get(
        self, reference: Reference, path: str, headers: Mapping[str, str], what: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET below the repository; one 401 is answered with a new token, a second one is final."""
        scheme = "http" if reference.is_loopback else "https"
        url = f"{scheme}://{reference.registry}/v2/{reference.path}/{path}"
        sent = self._authorizer.header(reference)
        async with self._session.get(url, headers=_with(headers, sent)) as response:
            if response.status != HTTPStatus.UNAUTHORIZED:
                yield response
                return
            challenges = response.headers.getall("WWW-Authenticate", [])
        await self._authorizer.renew(reference, challenges, sent)
        sent = self._authorizer.header(reference)
        async with self._session.get(url, headers=_with(headers, sent)) as response:
            yield response


def _with(headers: Mapping[str, str], authorization: str) -> dict[str, str]:
    return {**headers, "Authorization": authorization} if authorization else dict(headers)


async def _read_at_most(response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise Corrupt(f"{what}: it is larger than {limit >> 20} MiB")
    return bytes(body)


def _start_of(response: aiohttp.ClientResponse, offset: int, what: str) -> int:
    """Return where the body starts; a 200 to a range request is the whole blob."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return 0
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != offset:
        said = response.headers.get("Content-Range")
        raise Passing(f"{what}: asked from byte {offset}, the registry serves {said!r}")
    return offset
