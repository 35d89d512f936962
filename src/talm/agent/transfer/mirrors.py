"""Where this node takes an image from: its mirrors in order, then the registry, or nowhere.

    registries.conf(.d)  podman, CRI-O      ┐
    certs.d/hosts.toml   containerd         ├ the first that says something about the registry
    registries.yaml      k3s, RKE2          ┘ decides; without any: the registry itself

A node has the files of one runtime as a rule.  Read once; `endpoints` is pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from talm.agent.content.references import Reference, is_loopback
from talm.agent.failures import failure, invalid_spec
from talm.agent.transfer.certsd import directories, read_certs
from talm.agent.transfer.endpoints import Endpoint, Tls, direct
from talm.agent.transfer.hoststoml import CertsD, read_certs_d
from talm.agent.transfer.nodefiles import first_existing
from talm.agent.transfer.registriesconf import RegistriesConf, Source, read_registries_conf
from talm.agent.transfer.registriesyaml import RegistriesYaml, read_registries_yaml
from talm.api.progress import FailureClass

_CERTS: Final = ("etc/containers/certs.d", "etc/docker/certs.d")
_YAML: Final = ("etc/rancher/k3s/registries.yaml", "etc/rancher/rke2/registries.yaml")


@dataclasses.dataclass(frozen=True, slots=True)
class Mirrors:
    """What the node's files say; by default nothing.  `certs` by HOST[:PORT]."""

    conf: RegistriesConf = dataclasses.field(default_factory=RegistriesConf)
    certs_d: CertsD = dataclasses.field(default_factory=CertsD)
    yaml: RegistriesYaml = dataclasses.field(default_factory=RegistriesYaml)
    certs: Mapping[str, Tls] = dataclasses.field(default_factory=dict)


def read_mirrors(root: Path) -> Mirrors:
    """Read the files of the node whose file system is at `root`.

    Raises AgentError (InvalidSpec) that names the file and the line or key.
    """
    yaml = first_existing(root, _YAML)
    certs: dict[str, Tls] = {}
    for parent in _CERTS:
        for directory in directories(root / parent):
            certs.setdefault(directory.name, read_certs(directory))
    return Mirrors(
        read_registries_conf(root / "etc/containers"),
        read_certs_d(root, root / "etc/containerd/certs.d"),
        read_registries_yaml(root, yaml) if yaml else RegistriesYaml(),
        certs,
    )


def endpoints(mirrors: Mirrors, reference: Reference) -> tuple[Endpoint, ...]:
    """Return where to ask for the reference, in order; at least one.

    Raises AgentError: Unauthorized when the node's files forbid every place, InvalidSpec when
    they turn the name into something that is none.
    """
    found = _from_conf(mirrors.conf, reference)
    if found is None:
        found = mirrors.certs_d.sources(reference)
    if found is None:
        found = mirrors.yaml.sources(reference)
    if found is None:
        found = (direct(reference.registry, reference.path),)
    if not found:
        raise failure(
            FailureClass.UNAUTHORIZED,
            f"{reference}: the node's configuration of registries blocks every place to take it from",
        )
    return tuple(_with_certificates(mirrors, endpoint) for endpoint in found)


def _from_conf(conf: RegistriesConf, reference: Reference) -> tuple[Endpoint, ...] | None:
    try:
        sources = conf.sources(reference)
    except ValueError as exc:
        raise invalid_spec(f"registries.conf of the node: {exc}") from exc
    if sources is None:
        return None
    return tuple(endpoint for source in sources for endpoint in _schemes(source))


def _schemes(source: Source) -> tuple[Endpoint, ...]:
    """Insecure means: TLS with anybody, else no TLS."""
    if not source.insecure or is_loopback(source.registry):
        return (direct(source.registry, source.path),)
    tls = direct(source.registry, source.path, Tls(verify=False))
    return tls, dataclasses.replace(tls, base=tls.base.replace("https://", "http://", 1))


def _with_certificates(mirrors: Mirrors, endpoint: Endpoint) -> Endpoint:
    tls = endpoint.tls
    for there in (mirrors.certs.get(endpoint.registry), mirrors.yaml.tls.get(endpoint.registry)):
        tls = tls.joined(there) if there else tls
    return dataclasses.replace(endpoint, tls=tls)
