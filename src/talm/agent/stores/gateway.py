"""One image as a registry on the loopback interface, for a tool that only pulls from registries.

Documents come from the image as resolved, blobs from files.  What a policy may want beside them
passes through from where it is (signatures.py); all else is unknown (404).  Read-only.  The
repository's name is a secret of this process and its child: a private image must not become readable
for everybody on the node while it is imported.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from talm.agent.content.manifests import Image, media_type_of
from talm.agent.failures import failure
from talm.agent.stores.signatures import Signatures
from talm.api.progress import FailureClass

_LOOPBACK: Final = "127.0.0.1"
_BYTES: Final = "application/octet-stream"
# What has not been read after the tool's end nobody will read.
_LAST_WORDS_S: Final = 0.5

_quiet = logging.getLogger("talm.agent.gateway")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


@contextlib.asynccontextmanager
async def serve(
    image: Image, blob_file: Callable[[str], Path | None], signatures: Signatures | None = None
) -> AsyncIterator[str]:
    """Serve the image inside the block; yields `HOST:PORT/NAME`, where its repository is.

    `blob_file` returns the file of a blob by digest, None for one that is nowhere.  Raises AgentError
    (StoreFailed) when no port can be had.
    """
    name = secrets.token_hex(16)
    application = web.Application()
    application.add_routes(_Repository(image, blob_file, signatures).routes(name))
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
        self,
        image: Image,
        blob_file: Callable[[str], Path | None],
        signatures: Signatures | None,
    ) -> None:
        self._documents = {document.digest: document for document in image.documents}
        self._blobs = {blob.digest for blob in image.blobs}
        self._blob_file = blob_file
        self._signatures = signatures

    def routes(self, name: str) -> list[web.RouteDef]:
        return [
            web.get("/v2/", self._version),
            web.get(f"/v2/{name}/manifests/{{version}}", self._manifest),
            web.get(f"/v2/{name}/blobs/{{digest}}", self._blob),
            # As tools put it together: the lookaside's URL, the repository's name, the rest.
            web.get(f"/{name}/lookaside/{name}{{which:.+}}", self._detached),
        ]

    async def _version(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        version = request.match_info["version"]
        document = self._documents.get(version)
        if document is None and self._signatures:
            document = await self._signatures.attached(version)
        if document is None:
            return self._not_here("MANIFEST_UNKNOWN")
        headers = {
            "Content-Type": media_type_of(document),
            "Docker-Content-Digest": document.digest,
        }
        return web.Response(body=document.body, headers=headers)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        headers = {"Content-Type": _BYTES, "Docker-Content-Digest": digest}
        file = self._blob_file(digest) if digest in self._blobs else None
        if file is not None:
            return web.FileResponse(file, headers=headers)
        content = await self._signatures.blob(digest) if self._signatures else None
        return self._not_here("BLOB_UNKNOWN") if content is None else web.Response(body=content)

    async def _detached(self, request: web.Request) -> web.StreamResponse:
        which = request.match_info["which"]
        content = await self._signatures.detached(which) if self._signatures else None
        return self._not_here("UNKNOWN") if content is None else web.Response(body=content)

    def _not_here(self, code: str) -> web.Response:
        """Answer 404 for what does not exist, and not for what could not be asked for."""
        if self._signatures and self._signatures.failed:
            return _refusal(403, "DENIED", str(self._signatures.failed))
        return _refusal(404, code, "unknown here")


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)
