"""What a person may read of a hub, with that person's own rights and nothing else.

    name ─► the CGU, or one sentence why not          clusters ─► views, actions, or why they are unknown

Decided here: which requests are made, in which order of generosity: one list over the hub where that is
allowed, else one read in each cluster's namespace.  Whatever may not be read is `Unknown` with its reason.
Everything of a cluster is read by name, so that a role can be bound to the names (`deploy/rbac/users.yaml`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.kinds import Kind
from talm.api.meta import Object, ObjectMeta
from talm.api.ocm import ManagedCluster
from talm.errors import (
    ApiError,
    CredentialError,
    Forbidden,
    NoSuchObject,
    NotAllowed,
    NotFound,
    SeveralMatches,
    TalmError,
)
from talm.kube.client import Client

# Reads in single namespaces; more clusters than that are not asked one by one.
MOST_SINGLE_READS: Final = 200
_AT_ONCE: Final = 20
_SHOWN: Final = 5
_UNAUTHORIZED: Final = 401


class HasMetadata(Protocol):
    """Any object of the API server."""

    @property
    def metadata(self) -> ObjectMeta: ...


S = TypeVar("S", bound=HasMetadata)
Key = tuple[str, str]  # (namespace, name)


@dataclass(slots=True)
class Found(Generic[S]):
    """Objects by (namespace, name), and why those of a cluster are unknown ("" for all clusters)."""

    objects: dict[Key, S] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def why(self, cluster: str) -> str:
        """Why nothing is known of a cluster; "" when everything could be read."""
        return self.unknown.get(cluster) or self.unknown.get("", "")


class Reader:
    """Reads one hub; `namespace` is the context's, looked into when all may not be."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    # ---- ClusterGroupUpgrades ----------------------------------------------------------------------

    async def fleet(self, namespace: str = "") -> tuple[list[ClusterGroupUpgrade], str]:
        """All CGUs of a namespace ("": of all, or where that is forbidden of the context's).

        The second value says what is not shown.  Raises NotAllowed, NoSuchObject.
        """
        try:
            return await self._cgus(namespace), ""
        except Forbidden as exc:
            if namespace or not self.namespace:
                raise _not_allowed(exc) from exc
            note = f"only namespace {self.namespace} is shown: {_plain(exc)}"
        try:
            return await self._cgus(self.namespace), note
        except Forbidden as exc:
            raise _not_allowed(exc) from exc

    async def cgu(self, name: str, namespace: str = "") -> ClusterGroupUpgrade:
        """The CGU of this name; namespace "" looks everywhere.

        Raises NoSuchObject, SeveralMatches, NotAllowed.
        """
        where = namespace
        try:
            found = await self._named(name, where)
        except Forbidden as exc:
            if where or not self.namespace:
                raise _not_allowed(exc) from exc
            where = self.namespace
            try:
                found = await self._named(name, where)
            except Forbidden as again:
                raise _not_allowed(again) from again
        if len(found) > 1:
            there = ", ".join(sorted(cgu.metadata.namespace for cgu in found))
            raise SeveralMatches(
                f"{len(found)} ClusterGroupUpgrades are called {name}: in {there}; say which with -n"
            )
        if not found:
            raise NoSuchObject(await self._nothing(name, where))
        return found[0]

    async def names(self, namespace: str = "") -> list[Key]:
        """(namespace, name) of all CGUs.  Raises ApiError."""
        found: dict[Key, Object] = {}
        await self._take(kinds.CGU, Object, found, namespace)
        return sorted(found)

    async def _named(self, name: str, namespace: str) -> list[ClusterGroupUpgrade]:
        return await self._cgus(namespace, f"metadata.name={name}")

    async def _cgus(self, namespace: str, fields: str = "") -> list[ClusterGroupUpgrade]:
        found: dict[Key, ClusterGroupUpgrade] = {}
        try:
            await self._take(kinds.CGU, ClusterGroupUpgrade, found, namespace, fields)
        except NotFound as exc:
            raise NoSuchObject(
                f"{self.client.server} serves no {kinds.CGU}: this is no hub of talm, or its CRDs are"
                " not installed"
            ) from exc
        return [found[key] for key in sorted(found)]

    async def _nothing(self, name: str, namespace: str) -> str:
        """The sentence when nothing has this name; it names what there is."""
        place = f"namespace {namespace}" if namespace else "any namespace"
        sentence = f"no ClusterGroupUpgrade is called {name} in {place}"
        known = [n if namespace else f"{ns}/{n}" for ns, n in await self.names(namespace)]
        if not known:
            return f"{sentence}; there are none"
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        return f"{sentence}; there are {', '.join(known[:_SHOWN])}{more}"

    # ---- what is in the clusters' namespaces ---------------------------------------------------------

    async def of_clusters(
        self, kind: Kind, struct: type[S], names: Iterable[str], clusters: Collection[str]
    ) -> Found[S]:
        """Objects of these names in the namespaces of these clusters.

        Raises ApiError only for what is neither forbidden nor absent.
        """
        found: Found[S] = Found()
        if not clusters:
            return found
        await asyncio.gather(
            *(self._of_name(kind, struct, name, frozenset(clusters), found) for name in names)
        )
        return found

    async def may_list(self, kind: Kind, name: str) -> str:
        """Why objects of this name may not be listed over the hub; "" when they may."""
        params = {"fieldSelector": f"metadata.name={name}", "limit": "1"}
        try:
            await self.client.request("GET", kind.path(), params=params)
        except Forbidden as exc:
            return _plain(exc)
        except NotFound:
            return ""  # not served: an informer waits until it is
        return ""

    async def _of_name(
        self, kind: Kind, struct: type[S], name: str, clusters: frozenset[str], found: Found[S]
    ) -> None:
        if len(clusters) == 1:
            await self._one_by_one(kind, struct, name, sorted(clusters), found)
            return
        everywhere: dict[Key, S] = {}
        try:
            await self._take(kind, struct, everywhere, "", f"metadata.name={name}")
        except Forbidden as exc:
            await self._where_allowed(kind, struct, name, sorted(clusters), found, exc)
        except NotFound:
            found.unknown[""] = f"this hub serves no {kind}"
        found.objects.update({k: v for k, v in everywhere.items() if k[0] in clusters})

    async def _where_allowed(
        self,
        kind: Kind,
        struct: type[S],
        name: str,
        clusters: Sequence[str],
        found: Found[S],
        refused: Forbidden,
    ) -> None:
        if len(clusters) > MOST_SINGLE_READS:
            found.unknown[""] = _plain(refused)
        else:
            await self._one_by_one(kind, struct, name, clusters, found)

    async def _one_by_one(
        self, kind: Kind, struct: type[S], name: str, clusters: Iterable[str], found: Found[S]
    ) -> None:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def read(cluster: str) -> None:
            async with turn:
                try:
                    answer = await self.client.request("GET", kind.path(cluster, name))
                except NotFound as exc:
                    if not exc.reason:  # of a path that is not served at all
                        found.unknown[""] = f"this hub serves no {kind}"
                except Forbidden as exc:
                    found.unknown[cluster] = _plain(exc)
                else:
                    found.objects[cluster, name] = msgspec.json.decode(answer, type=struct)

        await asyncio.gather(*(read(cluster) for cluster in clusters))

    async def managed(self, clusters: Collection[str]) -> Found[ManagedCluster]:
        """The ManagedClusters of these names."""
        found: Found[ManagedCluster] = Found()
        try:
            if len(clusters) == 1:
                (name,) = clusters
                answer = await self.client.request("GET", kinds.MANAGED_CLUSTER.path(name=name))
                found.objects["", name] = msgspec.json.decode(answer, type=ManagedCluster)
            elif clusters:
                await self._take(kinds.MANAGED_CLUSTER, ManagedCluster, found.objects)
        except Forbidden as exc:
            found.unknown[""] = _plain(exc)
        except NotFound:
            found.unknown[""] = "it is not on this hub"
        return found

    async def _take(
        self, kind: Kind, struct: type[S], into: dict[Key, S], namespace: str = "", fields: str = ""
    ) -> None:
        """List into a dict; an object that cannot be read is passed over."""
        decoder = msgspec.json.Decoder(struct)
        async for page in self.client.pages(kind, namespace, field_selector=fields):
            for item in page.items:
                try:
                    decoded = decoder.decode(item)
                except ValueError:
                    continue
                into[decoded.metadata.key] = decoded


def _plain(exc: ApiError) -> str:
    """The API server's own words for why not; they name user, verb, resource and place."""
    return exc.message.partition(" is forbidden: ")[2] or exc.message


def _not_allowed(exc: ApiError) -> TalmError:
    if exc.status == _UNAUTHORIZED:
        return CredentialError(f"the API server does not accept these credentials: {exc.message}")
    return NotAllowed(f"{_plain(exc)}; the ClusterRole talm-viewer of deploy/rbac allows it")
