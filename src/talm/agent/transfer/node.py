"""What the transfer takes from the node that it runs on: mirrors, credentials, proxies, trust."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from talm.agent.transfer.authfiles import Keyring, read_keyring
from talm.agent.transfer.mirrors import Mirrors, read_mirrors
from talm.agent.transfer.nodefiles import first_existing
from talm.agent.transfer.proxies import Proxies, read_proxies

# Where distributions keep the bundle below their root; files, not links that would lead out of it.
_BUNDLES: Final = (
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/certs/ca-certificates.crt",
    "var/lib/ca-certificates/ca-bundle.pem",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """By default a node without any files.  `ca_bundle` is trusted beside this process's own."""

    mirrors: Mirrors = dataclasses.field(default_factory=Mirrors)
    keyring: Keyring = dataclasses.field(default_factory=Keyring)
    proxies: Proxies = dataclasses.field(default_factory=Proxies)
    ca_bundle: Path | None = None


def read_node(root: Path, auth_file: Path | None, environment: Mapping[str, str]) -> Node:
    """Read the files of the node whose file system is at `root`.

    Raises AgentError (InvalidSpec) that names the file and the line or key.
    """
    mirrors = read_mirrors(root)
    return Node(
        mirrors,
        read_keyring(root, auth_file, mirrors.yaml.auths, mirrors.conf.helpers),
        read_proxies(root, environment),
        first_existing(root, _BUNDLES),
    )
