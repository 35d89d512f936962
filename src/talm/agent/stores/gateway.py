"""One image as a registry on the loopback interface, for a tool that only pulls from registries.

Documents come from the image as resolved, blobs from files; what is in neither is unknown (404).
Read-only.  The repository's name is a secret of this process and its child: a private image must
not become readable for everybody on the node while it is imported.
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
from talm.api.progress import FailureClass

_LOOPBACK: Final = "127.0.0.1"
_BYTES: Final = "application/octet-stream"
# What has not been read after the tool's end nobody will read.
_LAST_WORDS_S: Final = 0.5

_quiet = logging.getLogger("talm.agent.gateway")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


@contextlib.asynccontextmanager
async def serve(image: Image, blob_file: Callable[[str], Path | None]) -> AsyncIterator[str]:
    """Serve the image inside the block; yields `HOST:PORT/NAME`, where its repository is.

    `blob_file` returns the file of a blob by digest, None for one that is nowhere.
    Raises AgentError (StoreFailed) when no port can be had.
    """
    name = secrets.token_hex(16)
    runner = web.AppRunner(
        _application(image, name, blob_file),
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


def _application(
    image: Image, name: str, blob_file: Callable[[str], Path | None]
) -> web.Application:
    documents = {document.digest: document for document in image.documents}
    blobs = {blob.digest for blob in image.blobs}

    async def version(_: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async def manifest(request: web.Request) -> web.StreamResponse:
        document = documents.get(request.match_info["digest"])
        if document is None:
            return _unknown("MANIFEST_UNKNOWN")
        headers = {
            "Content-Type": media_type_of(document),
            "Docker-Content-Digest": document.digest,
        }
        return web.Response(body=document.body, headers=headers)

    async def blob(request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        file = blob_file(digest) if digest in blobs else None
        if file is None:
            return _unknown("BLOB_UNKNOWN")
        headers = {"Content-Type": _BYTES, "Docker-Content-Digest": digest}
        return web.FileResponse(file, headers=headers)

    application = web.Application()
    application.router.add_get("/v2/", version)
    application.router.add_get(f"/v2/{name}/manifests/{{digest}}", manifest)
    application.router.add_get(f"/v2/{name}/blobs/{{digest}}", blob)
    return application


def _unknown(code: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": "unknown here"}]}, status=404)
