"""What a container finds when it starts, for a process that has no mount namespace.

    place/                 one directory per pod
      volumes/NAME/        what is mounted: keys of ConfigMaps and Secrets, token, empty directories
      termination-log      the container's last words
      kubeconfig           the pod's own account, with its real token
    host/…                 hostPath volumes of all pods of the node; made when missing

A mountPath that stands as a path in an argument or an environment value (at its start, or after
`=`, `:`, `,` or a blank) is rewritten to where the volume really is; $TALM_ROOT names `place`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from talm.api import kinds
from talm.errors import ApiError, NotFound
from talm.kube.client import Client
from talm.sim.node.podwire import PodObject

_ROOT_CA: Final = "kube-root-ca.crt"  # published by a controller that a small spoke need not run
_TOKEN_S: Final = 24 * 3600  # longer than any Job; nothing rotates it
_EXPANSION: Final = re.compile(r"\$(\$)|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_MAP_FIELD: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL")


class NotYet(Exception):
    """The container cannot be made now; `reason` and message go into its waiting state."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True, slots=True)
class Launch:
    """A container, ready to be started as a process."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    termination_log: Path


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How pods reach the API server: its URL and its CA's certificate (PEM)."""

    server: str
    ca: str


class PodFiles:
    """Prepares pods of one node below `pods`, with hostPath volumes below `host`."""

    def __init__(self, client: Client, access: ClusterAccess, *, pods: Path, host: Path) -> None:
        self._client = client
        self._access = access
        self._pods = pods
        self._host = host

    def place(self, pod: PodObject) -> Path:
        """The pod's directory."""
        meta = pod.metadata
        return self._pods / f"{meta.namespace}_{meta.name}_{meta.uid}"

    def host_path(self, path: str) -> Path:
        """Where a path of the node really is."""
        return self._host / path.strip("/")

    def remove(self, pod: PodObject) -> None:
        """Remove the pod's files, its token among them; what it wrote to the host stays."""
        shutil.rmtree(self.place(pod), ignore_errors=True)

    async def prepare(self, pod: PodObject, entry: Sequence[str], program: str) -> Launch:
        """Lay out the pod's files and work out its command line.

        `entry` stands for the image's program, called `program` in a command.  Raises NotYet.
        """
        place = self.place(pod)
        (place / "tmp").mkdir(parents=True, exist_ok=True)
        volumes = {}
        for volume in pod.spec.get("volumes") or ():
            volumes[volume["name"]] = await self._volume(pod, volume)
        container = pod.container
        mounts = {
            mount["mountPath"]: volumes[mount["name"]] / mount.get("subPath", "")
            for mount in container.get("volumeMounts") or ()
        }
        log = place / "termination-log"
        log.write_bytes(b"")
        mounts[container.get("terminationMessagePath") or "/dev/termination-log"] = log
        moved = _mover(mounts)
        own = {k: moved(v) for k, v in (await self._environment(pod)).items()}
        words = [moved(_expanded(w, own)) for w in _command(container, entry, program)]
        return Launch(tuple(words), self._surroundings(place, pod) | own, place, log)

    def _surroundings(self, place: Path, pod: PodObject) -> dict[str, str]:
        """The environment that a container has before its own is added."""
        known = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        known |= {
            "HOME": str(place),
            "HOSTNAME": pod.metadata.name,
            "TMPDIR": str(place / "tmp"),
            "TALM_ROOT": str(place),
            "TALM_TERMINATION_LOG": str(place / "termination-log"),
        }
        if (place / "kubeconfig").exists():
            known["KUBECONFIG"] = str(place / "kubeconfig")
        return known

    # --- volumes ---

    async def _volume(self, pod: PodObject, volume: Mapping[str, Any]) -> Path:
        name = str(volume["name"])
        target = self.place(pod) / "volumes" / name
        try:
            if "hostPath" in volume:
                return self._host_volume(volume["hostPath"])
            target.mkdir(parents=True, exist_ok=True)
            if "emptyDir" not in volume:
                await self._fill(pod, target, volume)
        except (ApiError, OSError) as exc:
            message = f'MountVolume.SetUp failed for volume "{name}" : {exc}'
            raise NotYet("ContainerCreating", message) from exc
        return target

    def _host_volume(self, source: Mapping[str, Any]) -> Path:
        """Make what is missing, whatever `type` says: a simulated node has every path."""
        path = self.host_path(str(source["path"]))
        if source.get("type") in ("File", "FileOrCreate"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True, exist_ok=True)
        return path

    async def _fill(self, pod: PodObject, target: Path, volume: Mapping[str, Any]) -> None:
        """Write the files of a volume, or of each source of a projected one."""
        writers: Mapping[str, Callable[..., Awaitable[None]]] = {
            "configMap": self._write_config_map,
            "secret": self._write_secret,
            "serviceAccountToken": self._write_token,
            "downwardAPI": self._write_fields,
        }
        projected = volume.get("projected")
        for source in projected["sources"] if projected else [volume]:
            kind = next((k for k in source if k in writers), None)
            if kind is None:
                raise NotYet("ContainerCreating", f"unknown kind of volume: {', '.join(source)}")
            await writers[kind](pod, target, source[kind])

    async def _write_config_map(
        self, pod: PodObject, target: Path, source: Mapping[str, Any]
    ) -> None:
        if source.get("name") == _ROOT_CA:
            _write_keys(target, source, {"ca.crt": self._access.ca.encode()})
            return
        found = await self._read(kinds.CONFIG_MAP, pod, source["name"], source)
        texts = {key: text.encode() for key, text in (found.get("data") or {}).items()}
        binary = found.get("binaryData") or {}
        _write_keys(target, source, texts | {k: base64.b64decode(v) for k, v in binary.items()})

    async def _write_secret(self, pod: PodObject, target: Path, source: Mapping[str, Any]) -> None:
        found = await self._read(
            kinds.SECRET, pod, source.get("secretName") or source["name"], source
        )
        data = {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}
        _write_keys(target, source, data)

    async def _write_fields(self, pod: PodObject, target: Path, source: Mapping[str, Any]) -> None:
        for item in source.get("items") or ():
            (target / item["path"]).write_text(field(pod, item["fieldRef"]["fieldPath"]))

    async def _write_token(self, pod: PodObject, target: Path, source: Mapping[str, Any]) -> None:
        """Ask for a token bound to the pod, and write the kubeconfig that uses it."""
        meta = pod.metadata
        account = str(pod.spec.get("serviceAccountName") or "default")
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
        answer = await self._client.request(
            "POST",
            kinds.SERVICE_ACCOUNT.path(meta.namespace, account, "token"),
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": _TOKEN_S, "boundObjectRef": bound},
            },
        )
        file = target / source["path"]
        _write_private(file, msgspec.json.decode(answer)["status"]["token"])
        config = _kubeconfig(self._access, account, meta.namespace, file)
        _write_private(self.place(pod) / "kubeconfig", json.dumps(config))

    async def _read(
        self, kind: kinds.Kind, pod: PodObject, name: str, source: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Read a ConfigMap or Secret of the pod's namespace; an optional one may be absent."""
        try:
            return await self._client.get(kind, name, pod.metadata.namespace)
        except NotFound:
            if source.get("optional"):
                return {}
            raise

    # --- environment ---

    async def _environment(self, pod: PodObject) -> dict[str, str]:
        known: dict[str, str] = {}
        for entry in pod.container.get("env") or ():
            origin = entry.get("valueFrom")
            try:
                value = await self._value(pod, origin) if origin else entry.get("value", "")
            except (ApiError, KeyError) as exc:
                message = f"environment variable {entry['name']}: {exc}"
                raise NotYet("CreateContainerConfigError", message) from exc
            if value is not None:
                known[entry["name"]] = _expanded(value, known)
        return known

    async def _value(self, pod: PodObject, origin: Mapping[str, Any]) -> str | None:
        """Resolve a valueFrom; None for an optional key that is absent."""
        if ref := origin.get("fieldRef"):
            return field(pod, ref["fieldPath"])
        kind = kinds.CONFIG_MAP if "configMapKeyRef" in origin else kinds.SECRET
        ref = origin.get("configMapKeyRef") or origin["secretKeyRef"]
        data = (await self._read(kind, pod, ref["name"], ref)).get("data") or {}
        if ref["key"] not in data and ref.get("optional"):
            return None
        value = str(data[ref["key"]])
        return value if kind is kinds.CONFIG_MAP else base64.b64decode(value).decode()


def field(pod: PodObject, path: str) -> str:
    """Resolve a fieldPath of the downward API.  Raises KeyError for one that is not known."""
    meta = pod.metadata
    if match := _MAP_FIELD.fullmatch(path):
        table = meta.labels if match[1] == "labels" else meta.annotations
        return (table or {}).get(match[2], "")
    return {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": pod.node_name,
        "spec.serviceAccountName": str(pod.spec.get("serviceAccountName") or ""),
        "status.hostIP": "127.0.0.1",
        "status.podIP": "127.0.0.1",
    }[path]


def _command(container: Mapping[str, Any], entry: Sequence[str], program: str) -> list[str]:
    """Command and arguments; the image's own program is where `entry` says."""
    command = [str(word) for word in container.get("command") or ()]
    if not command:
        command = list(entry)
    elif command[0].rpartition("/")[2] == program:
        command = [*entry, *command[1:]]
    return [*command, *(str(word) for word in container.get("args") or ())]


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """Replace $(NAME) by what is known, leave it when it is not; $$ is a dollar."""
    return _EXPANSION.sub(lambda m: m[1] or known.get(m[2], m[0]), text)


def _mover(mounts: Mapping[str, Path]) -> Callable[[str], str]:
    """Return what rewrites mount paths in a text; of two that fit the longer one counts."""
    places = {path.rstrip("/"): str(place) for path, place in mounts.items()}
    paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    pattern = re.compile(rf"(?<![^\s=:,])(?:{paths})(?=$|[/\s:,])")
    return lambda text: pattern.sub(lambda match: places[match[0]], text)


def _write_keys(target: Path, source: Mapping[str, Any], data: Mapping[str, bytes]) -> None:
    """Write one file per key, or per item that renames one."""
    items = source.get("items")
    paths = {item["path"]: item["key"] for item in items} if items else {key: key for key in data}
    for path, key in paths.items():
        if key not in data:
            raise FileNotFoundError(f"references non-existent config key: {key}")
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data[key])


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _kubeconfig(access: ClusterAccess, account: str, namespace: str, token: Path) -> dict[str, Any]:
    ca = base64.b64encode(access.ca.encode()).decode()
    context = {"cluster": "spoke", "user": account, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "spoke",
                "cluster": {"server": access.server, "certificate-authority-data": ca},
            }
        ],
        "users": [{"name": account, "user": {"tokenFile": str(token)}}],
        "contexts": [{"name": "spoke", "context": context}],
        "current-context": "spoke",
    }
