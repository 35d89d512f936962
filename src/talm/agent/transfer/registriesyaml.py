"""`registries.yaml` of k3s and RKE2: mirrors by registry, TLS and credentials by host."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from talm.agent.content.references import Reference
from talm.agent.transfer.endpoints import Endpoint, Tls, base_url, direct, mirror, repository
from talm.agent.transfer.nodefiles import on_node, read_yaml, refused

_ANY: Final = "*"
_GROUP: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")  # Go's $1 and ${1}


@dataclasses.dataclass(frozen=True, slots=True)
class Rewriting:
    """The mirrors of one registry, and how repository paths read there."""

    bases: tuple[str, ...]
    rewrites: tuple[tuple[re.Pattern[str], str], ...]

    def path(self, path: str) -> str:
        """Return the repository's path at the mirror: by the first expression that matches."""
        for pattern, replacement in self.rewrites:
            if pattern.search(path):
                return pattern.sub(replacement, path)
        return path


@dataclasses.dataclass(frozen=True, slots=True)
class RegistriesYaml:
    """The file's content.  `auths`: base64 of user:password by host."""

    mirrors: Mapping[str, Rewriting] = dataclasses.field(default_factory=dict)
    tls: Mapping[str, Tls] = dataclasses.field(default_factory=dict)
    auths: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    def sources(self, reference: Reference) -> tuple[Endpoint, ...] | None:
        """Return the mirrors, then the registry itself; None: nothing is said about it."""
        found = self.mirrors.get(reference.registry) or self.mirrors.get(_ANY)
        if found is None:
            return None
        path = found.path(repository(reference.registry, reference.path))
        there = dataclasses.replace(reference, path=path)
        mirrors = [mirror(base, there, Tls()) for base in found.bases]
        return (*mirrors, direct(reference.registry, reference.path))


class _Mirror(msgspec.Struct):
    endpoint: list[str] | None = None
    rewrite: dict[str, str] | None = None


class _Auth(msgspec.Struct):
    username: str = ""
    password: str = ""
    auth: str = ""


class _Tls(msgspec.Struct):
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False


class _Config(msgspec.Struct):
    auth: _Auth | None = None
    tls: _Tls | None = None


class _File(msgspec.Struct):
    mirrors: dict[str, _Mirror | None] | None = None
    configs: dict[str, _Config | None] | None = None


def read_registries_yaml(root: Path, file: Path) -> RegistriesYaml:
    """Read the file; an absent one says nothing.  Certificates are looked up below `root`.

    Raises AgentError (InvalidSpec) that names the file and the line or key.
    """
    read = read_yaml(file, _File) or _File()
    mirrors = {
        name: _rewriting(file, name, written or _Mirror())
        for name, written in (read.mirrors or {}).items()
    }
    configs = {name: written for name, written in (read.configs or {}).items() if written}
    tls = {name: _tls(root, file, c.tls) for name, c in configs.items() if c.tls}
    auths = {name: _auth(file, name, c.auth) for name, c in configs.items() if c.auth}
    return RegistriesYaml(mirrors, tls, {name: auth for name, auth in auths.items() if auth})


def _rewriting(file: Path, name: str, written: _Mirror) -> Rewriting:
    bases = []
    for number, text in enumerate(written.endpoint or []):
        try:
            bases.append(base_url(text))
        except ValueError as exc:
            raise refused(file, f"mirrors.{name}.endpoint[{number}]: {exc}") from exc
    rewrites = []
    for expression, replacement in (written.rewrite or {}).items():
        try:
            pattern = re.compile(expression)
            template = _GROUP.sub(r"\\g<\1\2>", replacement.replace("\\", r"\\"))
            pattern.sub(template, "")  # refuses a template that names no group of it
        except (re.error, IndexError, RecursionError, OverflowError) as exc:
            raise refused(file, f"mirrors.{name}.rewrite: {expression!r}: {exc}") from exc
        rewrites.append((pattern, template))
    return Rewriting(tuple(bases), tuple(rewrites))


def _tls(root: Path, file: Path, written: _Tls) -> Tls:
    def there(name: str) -> Path:
        return on_node(root, file.parent, name)

    clients: tuple[tuple[Path, Path | None], ...] = ()
    if written.cert_file:
        clients = (
            (there(written.cert_file), there(written.key_file) if written.key_file else None),
        )
    ca_files = (there(written.ca_file),) if written.ca_file else ()
    return Tls(not written.insecure_skip_verify, ca_files, clients)


def _auth(file: Path, name: str, written: _Auth) -> str:
    if written.username:
        return base64.b64encode(f"{written.username}:{written.password}".encode()).decode()
    try:
        base64.b64decode(written.auth, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise refused(file, f"configs.{name}.auth.auth: it is no base64") from exc
    return written.auth
