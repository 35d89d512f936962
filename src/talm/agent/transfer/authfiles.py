"""Credentials from the files that a node and its runtimes keep, by the longest match.

    --auth-file ─┐
    kubelet's config.json ─┼─► HOST[:PORT][/PATH] ─► base64 of user:password
    registries.yaml ─┘         the earlier file wins where two have the same name

Programs that would hand out credentials (helpers, the kubelet's credential providers) are not
run; they are named when a registry refuses us, since they may be what is missing.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from talm.agent.failures import invalid_spec
from talm.agent.transfer.nodefiles import first_existing, read_text

KUBELET: Final = "var/lib/kubelet/config.json"
# Where distributions configure them below the node's root: OpenShift, EKS, AKS, GKE, k3s and RKE2.
_PROVIDERS: Final = (
    "etc/kubernetes/credential-providers/ecr-credential-provider.yaml",
    "etc/kubernetes/credential-providers/gcr-credential-provider.yaml",
    "etc/kubernetes/credential-providers/acr-credential-provider.yaml",
    "etc/eks/image-credential-provider/config.json",
    "var/lib/kubelet/credential-provider-config.yaml",
    "etc/srv/kubernetes/cri_auth_config.yaml",
    "var/lib/rancher/credentialprovider/config.yaml",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Keyring:
    """What is known, by name, and what would know more but cannot be asked."""

    auths: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    unsupported: tuple[str, ...] = ()

    def find(self, registry: str, path: str) -> str:
        """Return the entry for the longest prefix of registry/path; "" when there is none.

        A registry by its name comes before one by `*` (which stands for one label, as in the
        kubelet's file).
        """
        best = max(
            (name for name in self.auths if _matches(name, registry, path)),
            key=lambda name: ("*" not in name.partition("/")[0], len(name)),
            default="",
        )
        return self.auths.get(best, "")

    @property
    def hint(self) -> str:
        """What to say after a refusal; "" when all sources of credentials were used."""
        return (
            f"; not supported and not asked: {', '.join(self.unsupported)}"
            if self.unsupported
            else ""
        )


class _Auth(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _AuthFile(msgspec.Struct, rename="camel"):
    auths: dict[str, _Auth] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


def read_keyring(
    root: Path, auth_file: Path | None, others: Mapping[str, str], helpers: Sequence[str] = ()
) -> Keyring:
    """Read `auth_file`, then the kubelet's file of the node at `root`; `others` come last.

    `helpers`: programs that the node's other files name.

    Raises AgentError (InvalidSpec) when one is there and cannot be understood, or `auth_file` is
    not there; the content is never part of a message.
    """
    keyring = read_auth_file(auth_file) if auth_file else Keyring()
    kubelet = root / KUBELET
    node = _parse(kubelet, text) if (text := read_text(kubelet)) is not None else Keyring()
    unsupported = [*keyring.unsupported, *node.unsupported, *helpers]
    if (providers := first_existing(root, _PROVIDERS)) is not None:
        unsupported.append(f"the kubelet's credential providers ({providers})")
    return Keyring({**others, **node.auths, **keyring.auths}, tuple(unsupported))


def read_auth_file(file: Path) -> Keyring:
    """Read an `auth.json` that the user named.  Raises AgentError (InvalidSpec)."""
    text = read_text(file)
    if text is None:
        raise invalid_spec(f"{file} is no readable auth.json: it is not there, or not for us")
    return _parse(file, text)


def _parse(file: Path, text: str) -> Keyring:
    try:
        read = msgspec.json.decode(text, type=_AuthFile)
        auths = {_name(name): _encoded(entry) for name, entry in read.auths.items()}
    except (ValueError, RecursionError) as exc:  # ValueError: no JSON, or no base64
        raise invalid_spec(f"{file} is no readable auth.json: {type(exc).__name__}") from exc
    unsupported = [f"credHelpers of {file}"] if read.cred_helpers else []
    unsupported += [f"credsStore of {file}"] if read.creds_store else []
    tokens = [name for name, entry in read.auths.items() if _has_token(entry)]
    unsupported += (
        [f"identity and registry tokens of {file} ({', '.join(tokens)})"] if tokens else []
    )
    return Keyring({name: auth for name, auth in auths.items() if auth}, tuple(unsupported))


def _has_token(entry: _Auth) -> bool:
    """Tell whether the entry is a login that is exchanged by other ways than a password."""
    return bool(entry.identitytoken or entry.registrytoken)


def _encoded(entry: _Auth) -> str:
    base64.b64decode(entry.auth, validate=True)
    if entry.auth or not entry.username:
        return entry.auth
    return base64.b64encode(f"{entry.username}:{entry.password}".encode()).decode()


def _name(written: str) -> str:
    """Return the name as references have it; `docker login` writes a URL for Docker Hub."""
    name = written.partition("://")[2] or written
    name = name.rstrip("/").removesuffix("/v1").removesuffix("/v2")
    return f"docker.io{name[15:]}" if name.startswith("index.docker.io") else name


def _matches(name: str, registry: str, path: str) -> bool:
    host, slash, prefix = name.partition("/")
    if slash and not f"{path}/".startswith(f"{prefix}/"):
        return False
    return host == registry or ("*" in host and _matches_labels(host, registry))


def _matches_labels(pattern: str, registry: str) -> bool:
    wanted, labels = pattern.split("."), registry.split(".")
    return len(wanted) == len(labels) and all(
        one in ("*", label) for one, label in zip(wanted, labels, strict=True)
    )
