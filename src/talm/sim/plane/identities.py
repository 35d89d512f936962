"""Who may talk to a control plane of ours: one CA, one client certificate per user, kubeconfigs.

Everything is kept in the control plane's directory, so that a kubeconfig stays valid over
restarts.  RBAC decides what a user may do; only the group system:masters may do everything.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trustme


@dataclass(frozen=True, slots=True)
class Identity:
    """A user name and at most one group, as the API server reads them from a certificate."""

    name: str
    group: str = ""

    @property
    def file_name(self) -> str:
        """Name and group as part of a path."""
        both = f"{self.name}+{self.group}" if self.group else self.name
        return both.replace(":", "-").replace("/", "-")


ADMIN: Final = Identity("admin", "system:masters")
CONTROLLER_MANAGER: Final = Identity("system:kube-controller-manager")
OPERATOR: Final = Identity("talm-operator")
# A certificate of trustme without any host name has an empty critical extension, which Go refuses.
NOBODY: Final = "client.invalid"
SERVER_NAMES: Final = ("127.0.0.1", "localhost", "kubernetes.default.svc")


class Authority:
    """A certificate authority whose key is kept in `directory`; made at the first use."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.certificate = directory / "ca.pem"
        self.server_certificate = directory / "server.pem"
        self.server_key = directory / "server-key.pem"
        self.service_account_key = directory / "service-account-key.pem"
        self._ca = self._load_or_make()
        self._ensure_server()

    def _load_or_make(self) -> trustme.CA:
        key = self.directory / "ca-key.pem"
        if key.exists() and self.certificate.exists():
            return trustme.CA.from_pem(self.certificate.read_bytes(), key.read_bytes())
        ca = trustme.CA(organization_name="talm")
        write_private(key, ca.private_key_pem.bytes())
        write_private(self.certificate, ca.cert_pem.bytes())
        return ca

    def _ensure_server(self) -> None:
        if not self.server_certificate.exists():
            issued = self._ca.issue_cert(*SERVER_NAMES)
            write_private(self.server_key, issued.private_key_pem.bytes())
            write_private(self.server_certificate, issued.cert_chain_pems[0].bytes())
        if not self.service_account_key.exists():
            # Only its key is of use: the API server signs service account tokens with it.
            issued = self._ca.issue_cert(common_name="service-accounts")
            write_private(self.service_account_key, issued.private_key_pem.bytes())

    def client_pair(self, identity: Identity) -> tuple[Path, Path]:
        """Return certificate and key of `identity`, issued at the first call."""
        certificate = self.directory / f"client-{identity.file_name}.pem"
        key = self.directory / f"client-{identity.file_name}-key.pem"
        if not certificate.exists():
            issued = self._ca.issue_cert(
                NOBODY, common_name=identity.name, organization_name=identity.group or None
            )
            write_private(key, issued.private_key_pem.bytes())
            write_private(certificate, issued.cert_chain_pems[0].bytes())
        return certificate, key

    def write_kubeconfig(self, path: Path, identity: Identity, *, name: str, server: str) -> Path:
        """Write a kubeconfig (mode 0600) with which `identity` reaches `server`; returns `path`."""
        certificate, key = self.client_pair(identity)
        cluster = {"server": server, "certificate-authority-data": encode(self.certificate)}
        user = {
            "client-certificate-data": encode(certificate),
            "client-key-data": encode(key),
        }
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": identity.name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": identity.name}}],
            "current-context": name,
        }
        write_private(path, json.dumps(config, indent=2).encode())  # JSON is YAML
        return path


def encode(file: Path) -> str:
    """Base64 of a file, as kubeconfigs carry it."""
    return base64.b64encode(file.read_bytes()).decode()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)
