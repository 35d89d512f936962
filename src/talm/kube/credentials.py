"""Keep our identity valid for months: read it again when it runs out, changes or is refused.

- A credential plugin runs again before its credential expires, and after a 401.
- A token file (also the pod's own) is read again when it changes, and after a 401.
- The kubeconfig itself is read again after a 401: somebody may have logged in anew.
- A failure is a CredentialError of the call that met it; the next call tries again.

kubernetes_asyncio knows the first reading only (kubeconfig.py uses it for that).
Not here: what is sent with it (client.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from talm.errors import CredentialError
from talm.kube.kubeconfig import Loaded, Source
from talm.kube.library import Configuration

# A plugin's credential is replaced when a tenth of its life is left, at most this long before its
# end: longer than a request takes, while a short-lived token is not fetched for every call.
RENEW_BEFORE_S: Final = 60.0
# After a 401 that newer credentials did not cure, further 401s are believed for this long: a
# plugin must not be started once per call.
BELIEVE_401_S: Final = 5.0
# A plugin that failed while its last credential is still good is asked again after this long.
ASK_AGAIN_S: Final = 5.0

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What one request is sent with.

    `tls` tells apart what a connection is made with (server, CA, certificate, proxy): when it
    changes, new connections are needed; a new `authorization` needs none.
    """

    configuration: Configuration
    authorization: str
    tls: str

    def is_same_as(self, other: Identity) -> bool:
        """Whether the API server would see the same client."""
        return (self.authorization, self.tls) == (other.authorization, other.tls)


class Credentials:
    """The current identity; `clock` is the wall clock in seconds, as expiry times are."""

    def __init__(self, source: Source, *, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._lock = asyncio.Lock()
        self._loads = 0  # how often a load ended, well or badly
        self._failure = ""  # of the last load
        self._identity: Identity | None = None
        self._token_file: TokenFile | None = None
        self._renew_at_s: float | None = None
        self._expires_at_s: float | None = None
        self._believe_401_until_s = 0.0

    async def current(self) -> Identity:
        """The identity to use now; raises CredentialError when there is none that is valid."""
        identity = self._identity
        due = self._renew_at_s is not None and self._clock() >= self._renew_at_s
        if identity is None or due:
            return await self._load()
        return self._with_token(identity)

    async def renew(self, refused: Identity) -> bool:
        """After a 401 for `refused`: look for newer credentials.

        True: there are, the request is worth repeating.  Raises CredentialError.
        """
        now = self._identity
        if now is not None and not now.is_same_as(refused):
            return True  # somebody else renewed while this answer was on its way
        if self._clock() < self._believe_401_until_s:
            return False
        renewed = await self._load()
        if renewed.is_same_as(refused):
            self._believe_401_until_s = self._clock() + BELIEVE_401_S
            return False
        return True

    async def _load(self) -> Identity:
        """Load once for all who ask at the same time: they share its result or its failure."""
        seen = self._loads
        async with self._lock:
            if self._loads == seen:
                await self._load_alone()
            if self._failure or self._identity is None:
                raise CredentialError(self._failure)
            return self._identity

    async def _load_alone(self) -> None:
        try:
            loaded = await self._source.load()
            self._adopt(loaded)
        except CredentialError as exc:
            self._fail(str(exc))
        else:
            self._failure = ""
        self._loads += 1

    def _adopt(self, loaded: Loaded) -> None:
        self._token_file = TokenFile(loaded.token_file) if loaded.token_file else None
        identity = Identity(
            loaded.configuration, loaded.authorization, _fingerprint(loaded.configuration)
        )
        self._identity = self._with_token(identity)
        self._expires_at_s = self._renew_at_s = loaded.expires_at_s
        if loaded.expires_at_s is not None:
            life = loaded.expires_at_s - self._clock()
            self._renew_at_s = loaded.expires_at_s - min(RENEW_BEFORE_S, max(0.0, life / 10))

    def _fail(self, why: str) -> None:
        """Live on with what we have as long as it is good: a plugin may fail for a while."""
        now = self._clock()
        good_for_s = (self._expires_at_s or now) - now if self._identity else 0.0
        if good_for_s > 0:
            log.warning("credentials not renewed", error=why, good_for_s=round(good_for_s))
            self._renew_at_s = now + min(ASK_AGAIN_S, good_for_s)
            why = ""
        self._failure = why

    def _with_token(self, identity: Identity) -> Identity:
        if self._token_file is None:
            return identity
        authorization = f"Bearer {self._token_file.read()}"
        if authorization != identity.authorization:
            identity = dataclasses.replace(identity, authorization=authorization)
            self._identity = identity
        return identity


class TokenFile:
    """A token in a file that somebody else renews (the kubelet, an agent, a script)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> str:
        """The token in it; reads again only when the file changed (one stat per call).

        While the file is away or empty (being replaced) the last token stays.  Raises
        CredentialError when there never was one.
        """
        try:
            stat = self._path.stat()
            now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if now == self._seen:
                return self._token
            token = self._path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            return self._last_or_fail(str(exc))
        if not token:
            return self._last_or_fail("it is empty")
        self._token, self._seen = token, now
        return token

    def _last_or_fail(self, why: str) -> str:
        if not self._token:
            raise CredentialError(
                f"token file {self._path}: {why}; check who writes it and that we may read it"
            )
        return self._token


def _fingerprint(configuration: Configuration) -> str:
    """Changes when connections made with the old configuration should not be used any more."""
    digest = hashlib.sha256()
    for value in (
        configuration.host,
        configuration.verify_ssl,
        configuration.tls_server_name,
        configuration.proxy,
    ):
        digest.update(repr(value).encode() + b"\0")
    for name in (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file):
        content = _read(name) if name else b""
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as exc:
        raise CredentialError(f"{name}: {exc.strerror}; the kubeconfig names this file") from exc
