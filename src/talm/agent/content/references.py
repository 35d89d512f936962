"""Image references: which strings name an image, and what their parts are.

The grammar is the OCI distribution project's (reference package): `HOST[:PORT]/PATH[:TAG][@DIGEST]`.
Stricter in one point: the registry must be written.  A short name ("ubi9") would be completed
differently by each runtime, so it is refused instead of guessed.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Final

from talm.agent.failures import invalid_spec, text_of
from talm.errors import AgentError

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"

_REGISTRY: Final = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]+))?")
_PATH: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
# Registered algorithms of the OCI image specification, with the length of their hex.
_DIGEST: Final = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")

_MAX_NAME: Final = 255  # the grammar's bound on registry and path together
_MAX_LABEL: Final = 63  # of a host's name, between two dots: no resolver takes a longer one
_MAX_PORT: Final = 65535


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """One image.  `tag` and `digest` are "" when not written; with a digest the tag is decoration."""

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @property
    def is_loopback(self) -> bool:
        """Whether the registry runs on this machine."""
        return is_loopback(self.registry)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.path}{tag}{digest}"


def is_digest(text: str) -> bool:
    """Tell whether `text` is a digest of a registered algorithm."""
    return _DIGEST.fullmatch(text) is not None


def is_address(host: str) -> bool:
    """Tell whether `host` is an IPv6 address in brackets, as URLs have it."""
    try:
        ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def is_loopback(authority: str) -> bool:
    """Tell whether `authority` (HOST[:PORT]) is this machine, by its written name."""
    host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
    if host in ("localhost", "[::1]"):
        return True
    numbers = host.split(".")
    return numbers[0] == "127" and len(numbers) == 4 and all(n.isdigit() for n in numbers)  # noqa: PLR2004


def parse(text: str) -> Reference:
    """Split `text` into the parts of a reference.

    Raises AgentError (InvalidSpec) that repeats the text and says which part is wrong.
    """
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _refused(text, f"{digest!r} is not a digest (sha256 and 64 hex digits, or sha512)")
    registry, slash, rest = name.partition("/")
    if not slash or not _is_registry_like(registry):
        raise _refused(text, "it names no registry (HOST[:PORT]/PATH)")
    _check_registry(text, registry)
    path, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _refused(text, f"{tag!r} is not a tag")
    if not _PATH.fullmatch(path):
        raise _refused(text, f"{path!r} is not a repository path (lower case, parts split by /)")
    if len(registry) + 1 + len(path) > _MAX_NAME:
        raise _refused(text, f"registry and path are longer than {_MAX_NAME} characters")
    return Reference(registry, path, tag, digest)


def parse_lines(source: str, text: str) -> tuple[Reference, ...]:
    """Parse one reference per line, each kept once; blank lines and edge blanks do not count.

    `source` (a file or a flag) is named with the line number when a line is refused.
    """
    found: dict[Reference, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found[parse(line.strip())] = None
        except AgentError as exc:
            raise invalid_spec(f"{source}, line {number}: {text_of(exc)}") from exc
    return tuple(found)


def _is_registry_like(first: str) -> bool:
    """Tell a registry from the first part of a path, as every runtime does."""
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _check_registry(text: str, registry: str) -> None:
    match = _REGISTRY.fullmatch(registry)
    if match is None:
        raise _refused(text, f"{registry!r} is not a registry (HOST[:PORT])")
    host = match["host"]
    if (
        not is_address(host)
        if host.startswith("[")
        else max(map(len, host.split("."))) > _MAX_LABEL
    ):
        raise _refused(text, f"{host!r} is neither a host's name nor an address")
    if match["port"] and not 0 < int(match["port"][:6]) <= _MAX_PORT:
        raise _refused(text, f"{match['port']} is not a port")


def _refused(text: str, reason: str) -> AgentError:
    return invalid_spec(f"{text[:300]!r} is not an image reference: {reason}")
