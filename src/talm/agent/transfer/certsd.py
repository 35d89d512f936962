"""Certificates by registry, as Docker, podman and containerd keep them: `certs.d/HOST[:PORT]/`.

`*.crt` are authorities to trust; `NAME.cert` with `NAME.key` is who we are.
"""

from __future__ import annotations

from pathlib import Path

from talm.agent.transfer.endpoints import Tls
from talm.agent.transfer.nodefiles import refused


def read_certs(directory: Path) -> Tls:
    """Return what one registry's directory says.

    Raises AgentError (InvalidSpec) for a certificate without its key, as the runtimes do.
    """
    clients: list[tuple[Path, Path | None]] = []
    for certificate in _files(directory, "*.cert"):
        key = certificate.with_suffix(".key")
        if not key.exists():
            raise refused(certificate, f"its key {key.name} is missing")
        clients.append((certificate, key))
    return Tls(True, tuple(_files(directory, "*.crt")), tuple(clients))


def directories(parent: Path) -> list[Path]:
    """Return the registries' directories below a `certs.d`; none when it is absent or closed."""
    try:
        return sorted(entry for entry in parent.iterdir() if entry.is_dir())
    except OSError:
        return []


def _files(directory: Path, pattern: str) -> list[Path]:
    return sorted(file for file in directory.glob(pattern) if file.is_file())
