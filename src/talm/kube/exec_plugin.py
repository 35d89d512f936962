"""Run a credential plugin of a kubeconfig (`users[].user.exec`) and read what it answers.

Decided here: how the plugin is started, how long it may take, what counts as an answer.
Not here: when it is run again (credentials.py).
The protocol is client.authentication.k8s.io v1 and v1beta1, as kubectl speaks it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from talm.errors import CredentialError

PLUGIN_TIMEOUT_S: Final = 60.0  # somebody may have to confirm in a browser
_SHOWN_CHARS: Final = 400


class ExecCredentialStatus(msgspec.Struct, rename="camel", frozen=True):
    """What the plugin hands out: a token, or a client certificate with its key, or both."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: dt.datetime | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: ExecCredentialStatus | None = None


class _EnvVar(msgspec.Struct):
    name: str
    value: str = ""


class _ExecConfig(msgspec.Struct, rename="camel"):
    command: str
    api_version: str
    args: Sequence[str] | None = None
    env: Sequence[_EnvVar] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = "IfAvailable"


async def run_plugin(
    config: Mapping[str, Any],
    cluster: Mapping[str, Any],
    base: Path,
    *,
    timeout_s: float = PLUGIN_TIMEOUT_S,
) -> ExecCredentialStatus:
    """Run the plugin once; a relative command with a slash is looked up from `base`.

    Raises CredentialError, which names the plugin, what it said and what to do.
    """
    plugin = _parse(config)
    interactive = plugin.interactive_mode != "Never" and sys.stdin is not None
    interactive = interactive and sys.stdin.isatty()
    if plugin.interactive_mode == "Always" and not interactive:
        raise CredentialError(
            f"credential plugin {plugin.command}: it wants a terminal (interactiveMode Always) "
            "and there is none; use an identity that works unattended"
        )
    command = plugin.command
    if "/" in command:
        command = str(base / command)  # an absolute command stays what it is
    environment = os.environ | {v.name: v.value for v in plugin.env or ()}
    environment["KUBERNETES_EXEC_INFO"] = _exec_info(plugin, cluster, base, interactive)
    answer = await _run([command, *(plugin.args or ())], environment, interactive, timeout_s)
    if isinstance(answer, str):
        hint = f"; {plugin.install_hint.strip()}" if plugin.install_hint.strip() else ""
        raise CredentialError(
            f"credential plugin {plugin.command}: {answer}{hint}; run it by hand to see more"
        )
    return _read_answer(plugin, answer)


def _parse(config: Mapping[str, Any]) -> _ExecConfig:
    try:
        return msgspec.convert(config, _ExecConfig)
    except msgspec.ValidationError as exc:
        raise CredentialError(f"kubeconfig: users[].user.exec is malformed: {exc}") from exc


def _exec_info(
    plugin: _ExecConfig, cluster: Mapping[str, Any], base: Path, interactive: bool
) -> str:
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.provide_cluster_info:
        names = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
        info = {n: cluster[n] for n in (*names, "certificate-authority-data") if n in cluster}
        if "certificate-authority" in cluster:
            info["certificate-authority"] = str(base / cluster["certificate-authority"])
        for extension in cluster.get("extensions") or ():
            if extension.get("name") == "client.authentication.k8s.io/exec":
                info["config"] = extension.get("extension")
        spec["cluster"] = info
    body = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    return msgspec.json.encode(body).decode()


async def _run(
    argv: Sequence[str], environment: Mapping[str, str], interactive: bool, timeout_s: float
) -> bytes | str:
    """Standard output, or (as str) what went wrong."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if interactive else asyncio.subprocess.PIPE,
        )
    except OSError as exc:
        return f"cannot be started: {exc.strerror or exc}"
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        return f"no answer in {timeout_s:.0f} s"
    finally:
        if process.returncode is None:  # timed out, or we were cancelled
            process.kill()
            await process.wait()
    if process.returncode:
        said = (err or b"").decode("utf-8", "replace").strip()[-_SHOWN_CHARS:]
        return f"exit code {process.returncode}: {said or 'it said nothing'}"
    return out


def _read_answer(plugin: _ExecConfig, answer: bytes) -> ExecCredentialStatus:
    try:
        credential = msgspec.json.decode(answer, type=_ExecCredential)
    except msgspec.DecodeError as exc:
        # The answer itself is not shown: it may hold a token.
        raise CredentialError(
            f"credential plugin {plugin.command}: its answer is no ExecCredential: {exc}"
        ) from exc
    if credential.api_version != plugin.api_version:
        raise CredentialError(
            f"credential plugin {plugin.command}: answered with apiVersion "
            f"{credential.api_version!r}, the kubeconfig says {plugin.api_version!r}"
        )
    status = credential.status or ExecCredentialStatus()
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise CredentialError(
            f"credential plugin {plugin.command}: a client certificate needs its key and "
            "its answer has only one of them"
        )
    if not status.token and not status.client_certificate_data:
        raise CredentialError(
            f"credential plugin {plugin.command}: its answer has neither a token nor a certificate"
        )
    return status
