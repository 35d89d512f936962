"""One image as a registry on the loopback interface, for a tool that only pulls from registries.

Documents come from the image as resolved, blobs from files.  What a policy may want beside them,
signatures under tags of their own, passes through from the real registry; all else is unknown
(404).  Read-only.  The repository's name is a secret of this process and its child: a private image
must not become readable for everybody on the node while it is imported.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from talm.agent.content.manifests import Image, Unreadable, media_type_of, read_body
from talm.agent.content.references import Reference
from talm.agent.failures import failure
from talm.agent.transfer.registry import BlobStream, Corrupt, Document
from talm.agent.transfer.retry import Passing
from talm.api.progress import FailureClass
from talm.errors import AgentError

_LOOPBACK: Final = "127.0.0.1"
_BYTES: Final = "application/octet-stream"
_SIGNATURE_TAG: Final = re.compile(r"sha256-[a-f0-9]{64}(\.sig|\.att)?")  # as cosign writes them
_MAX_SIGNATURE: Final = 4 << 20  # as for a manifest; ordinary ones have some kB
# What has not been read after the tool's end nobody will read.
_LAST_WORDS_S: Final = 0.5

_quiet = logging.getLogger("talm.agent.gateway")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Upstream(Protocol):
    """The real registries, as `transfer.registry.Registry` speaks to them."""

    async def manifest(self, reference: Reference, version: str) -> Document: ...
    def blob(
        self, reference: Reference, digest: str, offset: int
    ) -> AbstractAsyncContextManager[BlobStream]: ...


@contextlib.asynccontextmanager
async def serve(
    image: Image, blob_file: Callable[[str], Path | None], upstream: Upstream | None = None
) -> AsyncIterator[str]:
    """Serve the image inside the block; yields `HOST:PORT/NAME`, where its repository is.

    `blob_file` returns the file of a blob by digest, None for one that is nowhere.  Without
    `upstream` there are no signatures.  Raises AgentError (StoreFailed) when no port can be had.
    """
    name = secrets.token_hex(16)
    application = web.Application()
    application.add_routes(_Repository(image, blob_file, upstream).routes(name))
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=_quiet,  # tools try TLS first, which is no news here
        shutdown_timeout=_LAST_WORDS_S,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _LOOPBACK, 0).start()
        except OSError as exc:
            text = f"no port on {_LOOPBACK} for the loopback registry: {exc.strerror}"
            raise failure(FailureClass.STORE_FAILED, text) from exc
        yield f"{_LOOPBACK}:{runner.addresses[0][1]}/{name}"
    finally:
        await runner.cleanup()


class _Repository:
    """The image's repository, as far as a pull of the image asks for it."""

    def __init__(
        self, image: Image, blob_file: Callable[[str], Path | None], upstream: Upstream | None
    ) -> None:
        self._reference = image.reference
        self._documents = {document.digest: document for document in image.documents}
        self._blobs = {blob.digest for blob in image.blobs}
        self._blob_file = blob_file
        self._upstream = upstream
        self._signatures: set[str] = set()  # blobs that signatures name

    def routes(self, name: str) -> list[web.RouteDef]:
        return [
            web.get("/v2/", self._version),
            web.get(f"/v2/{name}/manifests/{{version}}", self._manifest),
            web.get(f"/v2/{name}/blobs/{{digest}}", self._blob),
        ]

    async def _version(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        version = request.match_info["version"]
        document = self._documents.get(version) or await self._signature(version)
        if document is None:
            return _unknown("MANIFEST_UNKNOWN")
        headers = {
            "Content-Type": media_type_of(document),
            "Docker-Content-Digest": document.digest,
        }
        return web.Response(body=document.body, headers=headers)

    async def _signature(self, tag: str) -> Document | None:
        """Ask the real registry for a signature; one that cannot be had does not exist."""
        if self._upstream is None or not _SIGNATURE_TAG.fullmatch(tag):
            return None
        try:
            document = await self._upstream.manifest(self._reference, tag)
            body = read_body(document)
        except (AgentError, Corrupt, Unreadable):
            return None
        parts = [*(body.layers or []), *([body.config] if body.config else [])]
        self._signatures |= {part.digest for part in parts}
        return document

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        headers = {"Content-Type": _BYTES, "Docker-Content-Digest": digest}
        file = self._blob_file(digest) if digest in self._blobs else None
        if file is not None:
            return web.FileResponse(file, headers=headers)
        content = await self._signature_blob(digest)
        return _unknown("BLOB_UNKNOWN") if content is None else web.Response(body=content)

    async def _signature_blob(self, digest: str) -> bytes | None:
        """Fetch what a signature that was served consists of; the tool verifies it."""
        if self._upstream is None or digest not in self._signatures:
            return None
        content = bytearray()
        try:
            async with self._upstream.blob(self._reference, digest, 0) as stream:
                async for chunk in stream.chunks(digest):
                    content += chunk
                    if len(content) > _MAX_SIGNATURE:
                        return None
        except (AgentError, Corrupt, Passing):
            return None
        return bytes(content)


def _unknown(code: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": "unknown here"}]}, status=404)
