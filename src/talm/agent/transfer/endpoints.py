"""Where an image can be asked for: one base URL with its TLS options, of which there may be several.

Which endpoints an image has is decided from the node's files (mirrors.py); without any there is
the registry itself, with TLS unless it runs on this machine.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from talm.agent.content.references import Reference, is_address, is_loopback

_AUTHORITY: Final = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|(?P<address>\[[0-9A-Fa-f:.]+\]))(?::(?P<port>[0-9]{1,5}))?"
)
_MAX_PORT: Final = 65535
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~%-]+)*/?")
_DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_SERVER: Final = "registry-1.docker.io"


@dataclasses.dataclass(frozen=True, slots=True)
class Tls:
    """How the other side is known.  `ca_files` are trusted beside the system's bundle.

    `clients`: certificate and key (None: both are in the one file).
    """

    verify: bool = True
    ca_files: tuple[Path, ...] = ()
    clients: tuple[tuple[Path, Path | None], ...] = ()

    def joined(self, other: Tls) -> Tls:
        """Return what both allow: verified only when both say so."""
        return Tls(
            self.verify and other.verify,
            tuple(dict.fromkeys((*self.ca_files, *other.ca_files))),
            tuple(dict.fromkeys((*self.clients, *other.clients))),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that may serve an image.

    `base` ends before the repository (`https://HOST/v2`); `registry` and `path` are what
    credentials are looked up by; `headers` are sent to this host only; `namespace` is the
    registry that a containerd mirror stands for ("": it is not one).
    """

    base: str
    registry: str
    path: str
    tls: Tls = Tls()
    headers: tuple[tuple[str, str], ...] = ()
    namespace: str = ""

    def url(self, what: str) -> str:
        """Return the URL of `manifests/…` or `blobs/…` of the repository."""
        query = f"?ns={quote(self.namespace, safe='')}" if self.namespace else ""
        return f"{self.base}/{quote(self.path)}/{what}{query}"

    def __str__(self) -> str:
        return f"{self.base}/{self.path}"


def direct(registry: str, path: str, tls: Tls = Tls()) -> Endpoint:
    """Return the registry itself: plain HTTP on this machine, TLS elsewhere."""
    scheme = "http" if is_loopback(registry) else "https"
    host = _DOCKER_HUB_SERVER if registry == _DOCKER_HUB else registry
    return Endpoint(f"{scheme}://{host}/v2", registry, repository(registry, path), tls)


def repository(registry: str, path: str) -> str:
    """Return the path as the registry knows it: Docker Hub keeps its own below `library`."""
    return f"library/{path}" if registry == _DOCKER_HUB and "/" not in path else path


def is_authority(text: str) -> bool:
    """Tell whether `text` can be HOST[:PORT]."""
    match = _AUTHORITY.fullmatch(text)
    if match is None or (match["address"] and not is_address(match["address"])):
        return False
    return 0 < int(match["port"] or "1") <= _MAX_PORT


def base_url(text: str, *, as_written: bool = False) -> str:
    """Read a mirror's URL as containerd does: TLS unless said, `/v2` added unless `as_written`.

    Raises ValueError for anything but http(s)://HOST[:PORT][/PATH].
    """
    url = urlsplit(text if "://" in text else f"https://{text}")
    if url.scheme not in ("http", "https"):
        raise ValueError("it is neither http:// nor https://")
    if not is_authority(url.netloc):
        raise ValueError("it names no HOST[:PORT]")
    if url.query or url.fragment or not _PATH.fullmatch(url.path):
        raise ValueError("it is more than http(s)://HOST[:PORT]/PATH")
    path = url.path.rstrip("/")
    if not as_written and not path.endswith("/v2"):
        path += "/v2"
    return f"{url.scheme}://{url.netloc}{path}"


def mirror(
    base: str, reference: Reference, tls: Tls, headers: tuple[tuple[str, str], ...] = ()
) -> Endpoint:
    """Return an endpoint that stands for the reference's registry, as containerd asks one."""
    host = urlsplit(base).netloc
    itself = host in (reference.registry, direct(reference.registry, "x").base.split("/")[2])
    return Endpoint(
        base,
        reference.registry if itself else host,
        repository(reference.registry, reference.path),
        tls,
        headers,
        "" if itself else reference.registry,
    )
