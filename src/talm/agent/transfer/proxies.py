"""Which proxy a URL is asked through: by this process's environment, else by the node's own file.

`NO_PROXY` is read as Go reads it, as the runtimes on the node do: names with their subdomains,
addresses, networks (CIDR), ports.  This machine is never asked through a proxy.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from talm.agent.content.references import is_loopback
from talm.agent.failures import invalid_spec
from talm.agent.transfer.nodefiles import read_text

# Below the node's root: OpenShift; k3s and RKE2.
_FILES: Final = (
    "etc/mco/proxy.env",
    "etc/systemd/system/k3s.service.env",
    "etc/systemd/system/k3s-agent.service.env",
    "etc/default/k3s",
    "etc/default/rke2-agent",
    "etc/default/rke2-server",
)
_CONTAINERD: Final = "CONTAINERD_"  # k3s: for the runtime alone
_PORTS: Final = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True, slots=True)
class Proxies:
    """One proxy per scheme ("": none), and the hosts that are asked without."""

    http: str = dataclasses.field(default="", repr=False)  # may hold a password
    https: str = dataclasses.field(default="", repr=False)
    without: tuple[str, ...] = ()

    def of(self, url: str) -> str | None:
        """Return the proxy for `url`; None: ask the host itself."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        host = parts.hostname or ""
        if not proxy or is_loopback(parts.netloc) or host in ("localhost", "::1"):
            return None
        port = parts.port or _PORTS.get(parts.scheme, 0)
        return None if any(_covers(entry, host, port) for entry in self.without) else proxy


def read_proxies(root: Path, environment: Mapping[str, str]) -> Proxies:
    """Return the environment's proxies, or those of the node at `root` when it names none.

    Raises AgentError (InvalidSpec) for a proxy that is none; its password is not repeated.
    """
    found = proxies_of(environment, "the environment")
    if found.http or found.https:
        return found
    for name in _FILES:
        text = read_text(root / name)
        if text is not None:
            found = proxies_of(_variables(text), str(root / name))
            if found.http or found.https:
                return found
    return Proxies()


def proxies_of(variables: Mapping[str, str], source: str) -> Proxies:
    """Read HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in capitals or not; `source` is named if wrong."""

    def value(name: str) -> str:
        names = (_CONTAINERD + name, name, name.lower())
        return next((variables[n] for n in names if variables.get(n)), "")

    without = tuple(e.strip().lower() for e in value("NO_PROXY").split(",") if e.strip())
    http, https = (_proxy(source, name, value(name)) for name in ("HTTP_PROXY", "HTTPS_PROXY"))
    return Proxies(http, https, without)


def _proxy(source: str, name: str, text: str) -> str:
    if not text:
        return ""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = None
    if not valid:
        raise invalid_spec(f"{source}: {name} is no http:// or https:// proxy")
    return url


def _variables(text: str) -> dict[str, str]:
    """Read NAME=VALUE lines, as systemd and shells write them."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass  # one of them is a name, or the entry has a port
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal():
        if int(number) != port:
            return False
        entry = name.strip("[]")
    if entry.startswith((".", "*.")):
        return host.endswith(entry.removeprefix("*"))
    return host == entry or host.endswith(f".{entry}")
