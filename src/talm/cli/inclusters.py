"""What is in the namespaces of clusters, as far as the person who asks may read it.

Decided here: one list over the hub where that is allowed, else one in each cluster's namespace as long as
they are few; a kind that the hub does not serve is empty.  What may not be read is unknown, with the API
server's words.  Objects are selected by name or label, so that a role can be bound to the names
(`deploy/rbac/users.yaml`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.meta import ObjectMeta
from talm.api.ocm import ManagedCluster
from talm.errors import ApiError, Forbidden, NotFound
from talm.kube.client import Client

# More clusters than that are not asked one by one.
MOST_SINGLE_READS: Final = 200
_AT_ONCE: Final = 20


class HasMetadata(Protocol):
    """Any object of the API server."""

    @property
    def metadata(self) -> ObjectMeta: ...


S = TypeVar("S", bound=HasMetadata)
Key = tuple[str, str]  # (namespace, name)


@dataclass(frozen=True, slots=True)
class Selected(Generic[S]):
    """Some objects of a kind, and what they are read as."""

    kind: Kind
    struct: type[S]
    fields: str = ""
    labels: str = ""

    @classmethod
    def named(cls, kind: Kind, struct: type[S], name: str) -> Selected[S]:
        """Those of one name."""
        return cls(kind, struct, fields=f"metadata.name={name}")


@dataclass(slots=True)
class Found(Generic[S]):
    """Objects by (namespace, name), and why those of a cluster are unknown ("" for all clusters)."""

    objects: dict[Key, S] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def why(self, cluster: str) -> str:
        """Why not everything of a cluster is known; "" when it could be read."""
        return self.unknown.get(cluster) or self.unknown.get("", "")


async def read(client: Client, clusters: Collection[str], *wanted: Selected[S]) -> Found[S]:
    """Read what is selected in the namespaces of these clusters.

    Raises ApiError only for what is neither forbidden nor absent.
    """
    found: Found[S] = Found()
    if clusters:
        members = frozenset(clusters)
        await asyncio.gather(*(_read(client, members, one, found) for one in wanted))
    return found


async def _read(
    client: Client, clusters: frozenset[str], wanted: Selected[S], found: Found[S]
) -> None:
    if len(clusters) > 1:
        why = ""
        everywhere: dict[Key, S] = {}
        try:
            await take(client, wanted, everywhere)
        except Forbidden as exc:
            why = plainly(exc)
        found.objects.update({k: v for k, v in everywhere.items() if k[0] in clusters})
        if why and len(clusters) > MOST_SINGLE_READS:
            found.unknown[""] = why
        if not why or len(clusters) > MOST_SINGLE_READS:
            return
    turn = asyncio.Semaphore(_AT_ONCE)
    await asyncio.gather(*(_read_one(client, c, wanted, found, turn) for c in clusters))


async def _read_one(
    client: Client, cluster: str, wanted: Selected[S], found: Found[S], turn: asyncio.Semaphore
) -> None:
    async with turn:
        try:
            await take(client, wanted, found.objects, cluster)
        except Forbidden as exc:
            found.unknown[cluster] = plainly(exc)


async def may_list(client: Client, wanted: Selected[S]) -> str:
    """Why this may not be listed over the hub; "" when it may."""
    params = {"limit": "1", "fieldSelector": wanted.fields, "labelSelector": wanted.labels}
    try:
        await client.request("GET", wanted.kind.path(), params=params)
    except Forbidden as exc:
        return plainly(exc)
    except NotFound:
        return ""  # not served: an informer waits until it is
    return ""


async def read_managed(client: Client, clusters: Collection[str]) -> Found[ManagedCluster]:
    """The ManagedClusters of these names."""
    found: Found[ManagedCluster] = Found()
    try:
        if len(clusters) == 1:
            (name,) = clusters
            answer = await client.request("GET", kinds.MANAGED_CLUSTER.path(name=name))
            found.objects["", name] = msgspec.json.decode(answer, type=ManagedCluster)
        elif clusters:
            await take(client, Selected(kinds.MANAGED_CLUSTER, ManagedCluster), found.objects)
    except Forbidden as exc:
        found.unknown[""] = plainly(exc)
    except NotFound:
        found.unknown[""] = "it is not on this hub"
    return found


async def take(
    client: Client, wanted: Selected[S], into: dict[Key, S], namespace: str = ""
) -> None:
    """List into a dict; an object that cannot be decoded is passed over.

    Raises ApiError; NotFound of a kind that is not served only for CGUs, without which nothing makes sense.
    """
    decoder = msgspec.json.Decoder(wanted.struct)
    pages = client.pages(
        wanted.kind, namespace, field_selector=wanted.fields, label_selector=wanted.labels
    )
    try:
        async for page in pages:
            for item in page.items:
                try:
                    decoded = decoder.decode(item)
                except ValueError:
                    continue
                into[decoded.metadata.key] = decoded
    except NotFound:
        if wanted.kind == kinds.CGU:
            raise


def plainly(exc: ApiError) -> str:
    """The API server's own words for why not; they name user, verb, resource and place."""
    return exc.message.partition(" is forbidden: ")[2] or exc.message
