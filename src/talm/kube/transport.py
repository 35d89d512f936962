"""One exchange with the API server: bytes there, bytes back, or one error of errors.py.

    Credentials -> Identity -> session (TLS, proxy) -> answer | ApiError | CredentialError

Decided here: what every request carries, how long it may take, and that no write is sent twice.
The one exception is a 401: nothing was done, so the request is repeated once when newer
credentials are found.  Before a write is sent `guard` is asked, twice: at the start, and when a
connection is there and the body leaves, because to connect can take seconds (and a process can be
frozen in them).  The API server does nothing about a request whose body never comes.
Not here: kinds (client.py), retries and back-off (the callers know what is safe to repeat).
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter

from talm.errors import ApiError, Unreachable
from talm.kube.credentials import Credentials, Identity
from talm.kube.library import RESTClientObject
from talm.kube.status import error_from_answer, error_from_transport

CONNECT_TIMEOUT_S: Final = 10.0
READ_BUFFER: Final = 2**21  # as in the library: a watch carries whole objects
MUTATING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Guard = Callable[[], None]
# verb, resource ("plural.group", "plural.group/status" or a path), HTTP status (0: no answer),
# seconds until the answer began
OnCall = Callable[[str, str, int, float], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One request as its caller means it; `body` is encoded already (b"": none)."""

    verb: str
    path: str
    timeout: aiohttp.ClientTimeout
    params: Mapping[str, str] | None = None
    body: bytes = b""
    content_type: str = "application/json"


class Transport:
    """Sends requests with the current identity; see the module's docstring for the rules."""

    def __init__(self, credentials: Credentials, *, server: str, user_agent: str) -> None:
        self.server = server
        self.guard: Guard | None = None
        self.on_call: OnCall | None = None
        self._credentials = credentials
        self._user_agent = user_agent
        self._connections: _Connections | None = None

    async def close(self) -> None:
        """Close all connections; requests that are under way fail."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def request(
        self,
        verb: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout_s: float = 30.0,
    ) -> bytes:
        """Send one request and return the answer's body.

        `body`: bytes as they are, anything else is encoded as JSON, None is no body.
        Raises ApiError (its subclass by status; Unreachable after `timeout_s` without an answer),
        CredentialError, and what `guard` raises.
        """
        data = body if isinstance(body, bytes) else b""
        if body is not None and not isinstance(body, bytes):
            data = msgspec.json.encode(body)
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(timeout_s, CONNECT_TIMEOUT_S)
        )
        async with self.open(Call(verb, path, timeout, params, data, content_type)) as response:
            return await response.read()

    @contextlib.asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and hand out its answer (status < 300) while its body arrives.

        Also what happens while the body is read is raised as Unreachable.
        """
        connections = None
        response = None
        try:
            connections, response = await self._answer(call)
            yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise error_from_transport(call.verb, call.path, self.server, exc) from exc
        finally:
            if response is not None:
                _hang_up(response)
            if connections is not None:
                await connections.leave()

    async def _answer(self, call: Call) -> tuple[_Connections, aiohttp.ClientResponse]:
        identity = await self._credentials.current()
        try:
            return await self._send(call, identity)
        except ApiError as refused:
            if refused.status != 401 or not await self._credentials.renew(identity):  # noqa: PLR2004
                raise
        return await self._send(call, await self._credentials.current())

    async def _send(
        self, call: Call, identity: Identity
    ) -> tuple[_Connections, aiohttp.ClientResponse]:
        connections = await self._connections_for(identity)
        connections.enter()
        try:
            response = await self._counted(call, identity, connections)
            if response.status < 300:  # noqa: PLR2004 - HTTP success
                return connections, response
            try:
                body = await response.read()
            finally:
                response.close()
        except BaseException:
            await connections.leave()
            raise
        await connections.leave()
        raise error_from_answer(call.verb, call.path, response.status, body, response.headers)

    async def _counted(
        self, call: Call, identity: Identity, connections: _Connections
    ) -> aiohttp.ClientResponse:
        status = 0
        began = time.monotonic()
        try:
            response = await self._put_on_wire(call, identity, connections)
            status = response.status
            return response
        finally:
            if self.on_call is not None:
                seconds = time.monotonic() - began
                self.on_call(call.verb, resource_of(call.path), status, seconds)

    async def _put_on_wire(
        self, call: Call, identity: Identity, connections: _Connections
    ) -> aiohttp.ClientResponse:
        headers = {
            "Accept": "application/json",
            # Lists of a fleet cost more to pack and unpack than to carry.
            "Accept-Encoding": "identity",
            "User-Agent": self._user_agent,
        }
        if identity.authorization:
            headers["Authorization"] = identity.authorization
        if call.body:
            headers["Content-Type"] = call.content_type
        guard = self.guard if call.verb in MUTATING else None
        if guard is not None:
            guard()
        body = _GuardedBody(call.body, guard) if call.body else None
        configuration = identity.configuration
        try:
            response: aiohttp.ClientResponse = await connections.session.request(
                call.verb,
                f"{configuration.host}{call.path}",
                params=call.params,
                data=body,
                headers=headers,
                timeout=call.timeout,
                allow_redirects=False,
                proxy=connections.proxy,
                proxy_headers=configuration.proxy_headers,
                server_hostname=configuration.tls_server_name,
            )
        except aiohttp.ClientError:
            if body is not None and body.refusal is not None:
                raise body.refusal from None
            raise
        return response

    async def _connections_for(self, identity: Identity) -> _Connections:
        """The connections made with this identity's TLS; older ones end with their requests."""
        old = self._connections
        if old is not None and old.tls == identity.tls:
            return old
        try:
            self._connections = _Connections(identity)
        except OSError as exc:  # ssl.SSLError is one: certificate and key do not fit, or are odd
            raise Unreachable(
                "CONNECT", self.server, 0, f"cannot use the certificates configured: {exc}"
            ) from exc
        if old is not None:
            await old.retire()
        return self._connections


class _Connections:
    """The library's session for one identity, kept until its last request has ended."""

    def __init__(self, identity: Identity) -> None:
        self.tls = identity.tls
        self.proxy = identity.configuration.proxy or _environment_proxy(identity.configuration.host)
        self._rest: Any = RESTClientObject(identity.configuration)
        # The library's connector in a session of ours: its own asks environment and netrc before every
        # request, in two threads (a tenth of a write's cost), for what one look at the start tells.
        self.session = aiohttp.ClientSession(
            connector=self._rest.pool_manager.connector,
            connector_owner=False,
            read_bufsize=READ_BUFFER,
        )
        self._users = 0
        self._retired = False

    def enter(self) -> None:
        self._users += 1

    async def leave(self) -> None:
        self._users -= 1
        if self._retired and not self._users:
            await self.close()

    async def retire(self) -> None:
        self._retired = True
        if not self._users:
            await self.close()

    async def close(self) -> None:
        await self.session.close()
        await self._rest.close()


def _environment_proxy(host: str | None) -> str | None:
    """What HTTPS_PROXY, HTTP_PROXY and NO_PROXY say of this server, as client-go honours them."""
    url = urllib.parse.urlsplit(host or "")
    if urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return urllib.request.getproxies().get(url.scheme)


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that was not read to its end (a watch), at once.

    Closing it alone says a TLS good-bye in the background; a server that is busy or gone answers
    late, and an event loop that has ended by then complains about a transport left open.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


class _GuardedBody(aiohttp.Payload):
    """A body that asks `guard` when it is about to leave; `refusal` is what the guard raised."""

    _autoclose = True  # bytes in memory hold nothing that must be closed

    def __init__(self, body: bytes, guard: Guard | None) -> None:
        super().__init__(body)
        self._size = len(body)
        self._guard = guard
        self.refusal: Exception | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        if self._guard is not None:
            try:
                self._guard()
            except Exception as exc:
                self.refusal = exc
                raise
        await writer.write(self._value)


def resource_of(path: str) -> str:
    """`plural.group` and subresource of an object's URL path; other paths as they are."""
    match path.split("/")[1:]:
        case ["api", _, "namespaces", _, plural, *rest]:
            group = ""
        case ["apis", group, _, "namespaces", _, plural, *rest]:
            pass
        case ["apis", group, _, plural, *rest]:
            pass
        case ["api", _, plural, *rest]:
            group = ""
        case _:
            return path
    name = f"{plural}.{group}" if group else plural
    return f"{name}/{rest[1]}" if len(rest) > 1 else name
