"""containerd's `certs.d/HOST/hosts.toml`: the hosts that are asked for one registry's images.

By digest a host needs the capability `pull`, by tag `resolve`; the `server` comes last.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from talm.agent.content.references import Reference
from talm.agent.transfer.certsd import directories, read_certs
from talm.agent.transfer.endpoints import Endpoint, Tls, base_url, direct, mirror
from talm.agent.transfer.nodefiles import on_node, read_toml, refused

_DEFAULT: Final = "_default"
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CAPABILITIES: Final = ("pull", "resolve", "push")


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """One host of the file; `base` "" stands for the registry itself."""

    base: str
    by_digest: bool
    by_tag: bool
    tls: Tls
    headers: tuple[tuple[str, str], ...]

    def serves(self, reference: Reference) -> bool:
        """Tell whether this host is asked for the reference."""
        return self.by_digest if reference.digest else self.by_tag

    def endpoint(self, reference: Reference) -> Endpoint:
        """Return where the reference is at this host."""
        base = self.base or direct(reference.registry, reference.path).base
        return mirror(base, reference, self.tls, self.headers)


@dataclasses.dataclass(frozen=True, slots=True)
class CertsD:
    """All directories: the hosts by the name of the directory."""

    hosts: Mapping[str, tuple[Host, ...]] = dataclasses.field(default_factory=dict)

    def sources(self, reference: Reference) -> tuple[Endpoint, ...] | None:
        """Return what to ask, in order; None: nothing is said; empty: nobody may be asked."""
        name, colon, port = reference.registry.rpartition(":")
        written = (f"{name}_{port}_",) if colon else ()
        for directory in (*written, reference.registry, _DEFAULT):
            if directory in self.hosts:
                hosts = self.hosts[directory]
                return tuple(host.endpoint(reference) for host in hosts if host.serves(reference))
        return None


class _Host(msgspec.Struct):
    capabilities: list[str] = msgspec.field(default_factory=lambda: list(_CAPABILITIES))
    ca: str | list[str] = []
    client: str | list[str | list[str]] = []
    skip_verify: bool = False
    override_path: bool = False
    header: dict[str, str | list[str]] = {}


class _File(_Host):
    server: str = ""
    host: dict[str, _Host] = {}


def read_certs_d(root: Path, parent: Path) -> CertsD:
    """Read every directory below `parent`; files that they name are looked up below `root`.

    A directory without hosts.toml has certificates only.  Raises AgentError (InvalidSpec) that
    names the file and the key.
    """
    hosts: dict[str, tuple[Host, ...]] = {}
    for directory in directories(parent):
        file = directory / "hosts.toml"
        read = read_toml(file, _File)
        if read is None:
            tls = read_certs(directory)
            hosts[directory.name] = (Host("", True, True, tls, ()),)
        else:
            hosts[directory.name] = _hosts(root, file, read)
    return CertsD(hosts)


def _hosts(root: Path, file: Path, read: _File) -> tuple[Host, ...]:
    written = [(f'host."{name}"', name, host) for name, host in read.host.items()]
    found = []
    for key, name, host in [*written, ("server", read.server, read)]:
        try:
            lacking = host is read and not name
            base = "" if lacking else base_url(name, as_written=host.override_path)
            found.append(_host(root, file, base, host))
        except ValueError as exc:
            raise refused(file, f"{key}: {exc}") from exc
    return tuple(found)


def _host(root: Path, file: Path, base: str, written: _Host) -> Host:
    authorities = [written.ca] if isinstance(written.ca, str) else written.ca
    ca_files = tuple(on_node(root, file.parent, name) for name in authorities)
    clients = [written.client] if isinstance(written.client, str) else written.client
    return Host(
        base,
        "pull" in written.capabilities,
        "resolve" in written.capabilities,
        Tls(not written.skip_verify, ca_files, tuple(_client(root, file, c) for c in clients)),
        tuple(_headers(written)),
    )


def _client(root: Path, file: Path, written: str | list[str]) -> tuple[Path, Path | None]:
    """Read a certificate (with its key in the same file), or a pair of both."""
    names = _list(written)
    if not 1 <= len(names) <= 2:  # noqa: PLR2004 (certificate and key)
        raise ValueError("client: neither a file nor certificate and key")
    files = [on_node(root, file.parent, name) for name in names]
    return files[0], files[1] if len(files) > 1 and names[1] else None


def _headers(written: _Host) -> Iterator[tuple[str, str]]:
    for name, values in written.header.items():
        for value in _list(values):
            if not _HEADER.fullmatch(name) or not value.isascii() or not value.isprintable():
                raise ValueError(f"header {name!r}: it is none that can be sent")
            yield name, value


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
