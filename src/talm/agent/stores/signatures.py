"""An image's signatures, for a tool that asks the gateway for them.

    registries.d of the node ──► where they are ──► registries.d for the gateway
                                      │
                                      └── attached: under a tag of their own, in the image's repository
                                          detached: files of a lookaside, on the node or a web server

A tool that registries.conf leads elsewhere looks into registries.d for the place that it is led to.
So what the node says of the place that served the image is said again of the gateway.  Whether there
must be a signature is the policy's to say, whether it is right the tool's to find out.
Format: containers-registries.d(5), and registries_d.go of github.com/containers/image.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from talm.agent.content.manifests import Image, Unreadable, read_body
from talm.agent.content.references import Reference
from talm.agent.failures import failure
from talm.agent.stores.names import repository
from talm.agent.transfer.endpoints import Endpoint
from talm.agent.transfer.nodefiles import read_yaml
from talm.agent.transfer.registry import Corrupt, Document
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import FailureClass
from talm.errors import AgentError

T = TypeVar("T")

_DIRECTORIES: Final = (".config/containers/registries.d", "etc/containers/registries.d")
_LOOKASIDE: Final = "file:///var/lib/containers/sigstore"  # root's, unless another one is named
_TAG: Final = re.compile(r"sha256-[a-f0-9]{64}(\.sig|\.att)?")  # as cosign writes them
_DETACHED: Final = re.compile(r"@[a-z0-9]+=[a-f0-9]+/signature-[1-9][0-9]{0,3}")
_MAX_BYTES: Final = 4 << 20  # as for a manifest; ordinary ones have some kB


class Upstream(Protocol):
    """The real registries, as `transfer.registry.Registry` speaks to them.  Raises AgentError."""

    def home(self, reference: Reference) -> Endpoint: ...
    async def attachment(self, reference: Reference, tag: str) -> Document: ...
    async def content(self, reference: Reference, digest: str, most: int) -> bytes: ...
    async def file(self, url: str, most: int) -> bytes: ...


class _Said(msgspec.Struct, frozen=True, rename="kebab"):
    """What a registries.d says of a name; `sigstore` is the older word for a lookaside."""

    lookaside: str = ""
    sigstore: str = ""
    use_sigstore_attachments: bool | None = None


class _File(msgspec.Struct, rename="kebab"):
    default_docker: _Said | None = None
    docker: dict[str, _Said] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """Where the signatures of a repository are; `lookaside` is a URL."""

    attached: bool = False
    lookaside: str = _LOOKASIDE


def read_kept(root: Path, name: str, environment: Mapping[str, str] = os.environ) -> Kept:
    """Return where the node whose file system is at `root` keeps signatures of the repository `name`.

    Raises AgentError (InvalidSpec) that names the file and the key.
    """
    said = list(_said_of(name, _files(root, environment)))
    lookasides = (one.lookaside or one.sigstore for one in said)
    attached = (one.use_sigstore_attachments for one in said)
    return Kept(
        next((choice for choice in attached if choice is not None), False),
        next((url for url in lookasides if url), _LOOKASIDE).rstrip("/"),
    )


def _files(root: Path, environment: Mapping[str, str]) -> list[_File]:
    user, system = _DIRECTORIES
    homes = root / environment.get("HOME", "/root").lstrip("/") / user
    directory = homes if homes.is_dir() else root / system
    found = [read_yaml(file, _File) for file in sorted(directory.glob("*.yaml"))]
    return [file for file in found if file]


def _said_of(name: str, files: list[_File]) -> Iterator[_Said]:
    """Yield what is said of the name, then of each namespace around it, then of all."""
    merged = {key: said for file in files for key, said in (file.docker or {}).items()}
    host = name.partition("/")[0]
    parents = [name]
    while "/" in parents[-1]:
        parents.append(parents[-1].rpartition("/")[0])
    domains = [f"*.{host[dot + 1 :]}" for dot, sign in enumerate(host) if sign == "."]
    for key in (*parents, *domains):
        if key in merged:
            yield merged[key]
    yield from (file.default_docker for file in files if file.default_docker)


class Signatures:
    """The signatures of one image.  Without `upstream` there are those that the node has in files.

    What is not there is None.  `failed`: why something could not be asked for, as opposed to that.
    """

    def __init__(self, image: Image, root: Path, upstream: Upstream | None) -> None:
        self.failed: AgentError | None = None
        self._reference = image.reference
        self._root = root
        self._upstream = upstream
        self._blobs: set[str] = set()  # that signatures name
        name = repository(image.reference)
        if upstream:
            home = upstream.home(image.reference)
            name = f"{home.registry}/{home.path}"
        self._path = name.partition("/")[2]
        self._kept = read_kept(root, name)

    def registries_d(self, gateway: str) -> bytes:
        """Return the file that sends a tool to the repository `gateway` (HOST:PORT/NAME) for them."""
        said = {
            "lookaside": f"http://{gateway}/lookaside",
            "use-sigstore-attachments": self._kept.attached,
        }
        return msgspec.json.encode({"docker": {gateway: said}})  # JSON is YAML

    async def attached(self, tag: str) -> Document | None:
        """Return the manifest of a signature that is kept in the repository."""
        if self._upstream is None or not _TAG.fullmatch(tag):
            return None
        return await self._asked(self._attachment(self._upstream, tag))

    async def _attachment(self, upstream: Upstream, tag: str) -> Document:
        document = await upstream.attachment(self._reference, tag)
        body = read_body(document)
        parts = [*(body.layers or []), *([body.config] if body.config else [])]
        self._blobs |= {part.digest for part in parts}
        return document

    async def blob(self, digest: str) -> bytes | None:
        """Return what a signature that was served consists of; the tool verifies it."""
        if self._upstream is None or digest not in self._blobs:
            return None
        return await self._asked(self._upstream.content(self._reference, digest, _MAX_BYTES))

    async def detached(self, which: str) -> bytes | None:
        """Return a file of the lookaside; `which` is `@ALGORITHM=HEX/signature-NUMBER`."""
        if not _DETACHED.fullmatch(which):
            return None
        url = f"{self._kept.lookaside}/{self._path}{which}"
        scheme, _, place = url.partition("://")
        if scheme == "file":
            file = self._root / place.lstrip("/")
            return await self._asked(asyncio.to_thread(_content, file))
        if self._upstream and scheme in ("http", "https"):
            return await self._asked(self._upstream.file(url, _MAX_BYTES))
        return None

    async def _asked(self, asking: Awaitable[T | None]) -> T | None:
        """Wait for the answer, and keep a failure in mind; that something is not there is none."""
        try:
            return await asking
        except (Corrupt, Unreadable) as exc:
            self.failed = failure(FailureClass.STORE_FAILED, f"signature: {exc}")
        except AgentError as exc:
            if exc.kind != FailureClass.IMAGE_NOT_FOUND:
                self.failed = exc
        return None


def _content(file: Path) -> bytes | None:
    with storage_errors(file):
        try:
            return file.read_bytes() if file.stat().st_size <= _MAX_BYTES else None
        except (FileNotFoundError, NotADirectoryError):
            return None
