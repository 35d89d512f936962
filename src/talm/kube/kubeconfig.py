"""Read where the API server is and who we are, once: from a kubeconfig or in a pod.

Decided here: which file counts, what of it is used, and the words when it cannot be used.
Not here: when it is read again (credentials.py).  Parsing is kubernetes_asyncio's, but for
credential plugins (exec_plugin.py) and token files, which it reads once and for all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from talm.errors import CredentialError
from talm.kube.exec_plugin import run_plugin
from talm.kube.library import (
    Configuration,
    FileOrData,
    InClusterConfigLoader,
    KubeConfigLoader,
    KubeConfigMerger,
)

DEFAULT_NAMESPACE: Final = "default"  # kubectl's, where a context names none
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """One reading: the library's configuration and how we authenticate.

    `authorization` is the header's value ("": none).  `token_file`, when set, is read again by
    whoever keeps this, and wins over `authorization`.  `expires_at_s`: wall clock, None: unknown.
    """

    configuration: Configuration
    authorization: str = ""
    token_file: Path | None = None
    expires_at_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class InCluster:
    """The service account of the pod that we run in."""

    directory: Path = SERVICE_ACCOUNT

    def server(self) -> str:
        """Base URL of the API server, from the pod's environment."""
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "")
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def namespace(self) -> str:
        """The pod's own namespace."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.directory / "namespace").read_text(encoding="utf-8").strip()
        return DEFAULT_NAMESPACE

    async def load(self) -> Loaded:
        """Read API server and CA; raises CredentialError."""
        configuration = _new_configuration()
        token_file = self.directory / "token"
        try:
            InClusterConfigLoader(
                token_filename=str(token_file),
                cert_filename=str(self.directory / "ca.crt"),
                try_refresh_token=False,
            ).load_and_set(configuration)
        except Exception as exc:
            raise CredentialError(
                f"service account in {self.directory}: {exc}; outside a pod give a kubeconfig"
            ) from exc
        return Loaded(configuration, token_file=token_file)


@dataclasses.dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One kubeconfig, or several that are merged as kubectl merges $KUBECONFIG."""

    paths: tuple[Path, ...]
    context: str | None = None

    def __str__(self) -> str:
        return os.pathsep.join(map(str, self.paths))

    def server(self) -> str:
        """Base URL of the API server; runs no plugin.  Raises CredentialError."""
        with self._explained():
            return str(_sections(self._merge(), self.context).cluster["server"]).rstrip("/")

    def namespace(self) -> str:
        """The context's namespace, as kubectl takes it; runs no plugin.  Raises CredentialError."""
        with self._explained():
            return _sections(self._merge(), self.context).namespace

    async def load(self) -> Loaded:
        """Read the files and run the credential plugin, if any; raises CredentialError."""
        with self._explained():
            return await self._load()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except CredentialError:
            raise
        except Exception as exc:
            # Odd YAML makes the library raise whatever Python raises there.
            raise CredentialError(
                f"kubeconfig {self}: {str(exc) or type(exc).__name__}; "
                "check it with: kubectl config view --minify"
            ) from exc

    def _merge(self) -> KubeConfigMerger:
        merger = KubeConfigMerger(str(self))
        if merger.config is None:
            raise CredentialError(f"kubeconfig {self}: there is no such file")
        return merger

    async def _load(self) -> Loaded:
        merger = self._merge()
        loader = _Loader(
            config_dict=merger.config,
            active_context=self.context,
            config_base_path=None,
            config_persister=lambda _: merger.save_changes(),  # OIDC: the next refresh token
        )
        loader.sections = _sections(merger, self.context)
        configuration = _new_configuration()
        await loader.load_and_set(configuration)
        return Loaded(
            configuration,
            authorization=configuration.api_key.pop("BearerToken", "").strip(),
            token_file=loader.sections.token_file,
            expires_at_s=loader.plugin_expires_at_s,
        )


Source = InCluster | Kubeconfig


def find_source(kubeconfig: Path | None, context: str | None = None) -> Source:
    """Look where kubectl looks: the given file, $KUBECONFIG, ~/.kube/config, the pod.

    A $KUBECONFIG that names no existing file is an error, not a reason to go on looking: to talk
    to another cluster than the one that was meant is worse than to stop.
    """
    if kubeconfig is not None:
        return _existing([kubeconfig], context)
    variable = os.environ.get("KUBECONFIG", "")
    if variable:
        return _existing([Path(p) for p in variable.split(os.pathsep) if p], context)
    home = Path("~/.kube/config").expanduser()
    if home.is_file() or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _existing([home], context)
    return InCluster()


def _existing(paths: Sequence[Path], context: str | None) -> Kubeconfig:
    source = Kubeconfig(tuple(p.expanduser() for p in paths), context)
    if not any(p.is_file() for p in source.paths):
        raise CredentialError(
            f"kubeconfig {source}: there is no such file; give one with --kubeconfig or $KUBECONFIG"
        )
    return source


@dataclasses.dataclass(frozen=True, slots=True)
class _Sections:
    """The parts of the kubeconfig that its context names; paths in it start from `base`."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    base: Path
    namespace: str

    @property
    def token_file(self) -> Path | None:
        # kubectl: a token file wins over a token; exec wins over both.
        name = self.user.get("tokenFile")
        return self.base / name if name and "exec" not in self.user else None


def _sections(merger: KubeConfigMerger, context: str | None) -> _Sections:
    config: Any = merger.config  # nodes that say what is missing when they are indexed
    context = context or config["current-context"]
    chosen = config["contexts"].get_with_name(context)["context"]
    cluster = config["clusters"].get_with_name(chosen["cluster"])["cluster"]
    user_name = chosen.safe_get("user")
    user = config["users"].get_with_name(user_name, safe=True) if user_name else None
    if user is None and str(cluster["server"]).startswith("https"):
        raise CredentialError(f"kubeconfig: context {context} names no user that it has")
    settings = user["user"].value if user is not None and user.value.get("user") else {}
    if "as" in settings:
        raise CredentialError(
            f"kubeconfig: user {user_name} impersonates {settings['as']}; this is not supported, "
            "use an identity of its own"
        )
    base = user if user is not None else cluster
    folder = Path(base.path or ".").absolute().parent
    namespace = chosen.safe_get("namespace") or DEFAULT_NAMESPACE
    return _Sections(cluster.value, settings, folder, namespace)


class _Loader(KubeConfigLoader):
    """The library's loader with our way to run a credential plugin."""

    sections: _Sections
    plugin_expires_at_s: float | None = None

    async def load_from_exec_plugin(self) -> bool:
        status = await run_plugin(
            self.sections.user["exec"], self.sections.cluster, self.sections.base
        )
        if status.token:
            self.token = f"Bearer {status.token}"
        if status.client_certificate_data:
            self.cert_file: str | None = _as_file(status.client_certificate_data)
            self.key_file: str | None = _as_file(status.client_key_data)
        if status.expiration_timestamp is not None:
            self.plugin_expires_at_s = status.expiration_timestamp.timestamp()
        return True


def _as_file(pem: str) -> str:
    """A private temporary file with `pem`, as TLS wants files; the library removes it at exit."""
    return str(FileOrData({"pem-data": pem}, "pem", base64_file_content=False).as_file())


def _new_configuration() -> Configuration:
    configuration = Configuration()
    # No limit: watches hold their connection, and one waiting write must not starve.
    configuration.connection_pool_maxsize = 0
    # From Python 3.13 on certificates without key identifiers are refused by default; kubectl
    # takes them, and many a cluster's own CA makes such.
    configuration.disable_strict_ssl_verification = True
    return configuration
