"""Which CGU is meant: by name, wherever the person who asks may look; or one sentence why there is none.

Not here: what is in the namespaces of clusters (inclusters.py).
"""

from __future__ import annotations

from typing import Final

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.meta import Object
from talm.cli.inclusters import Key, S, Selected, plainly, take
from talm.core.phrases import first_few
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

_UNAUTHORIZED: Final = 401


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
            note = f"only namespace {self.namespace} is shown: {plainly(exc)}"
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
        return sorted(await self._take(Object, namespace))

    async def _named(self, name: str, namespace: str) -> list[ClusterGroupUpgrade]:
        return await self._cgus(namespace, f"metadata.name={name}")

    async def _cgus(self, namespace: str, fields: str = "") -> list[ClusterGroupUpgrade]:
        try:
            found = await self._take(ClusterGroupUpgrade, namespace, fields)
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
        return f"{sentence}; there are {first_few(known)}"

    async def _take(self, struct: type[S], namespace: str, fields: str = "") -> dict[Key, S]:
        found: dict[Key, S] = {}
        await take(self.client, Selected(kinds.CGU, struct, fields=fields), found, namespace)
        return found


def _not_allowed(exc: ApiError) -> TalmError:
    if exc.status == _UNAUTHORIZED:
        return CredentialError(f"the API server does not accept these credentials: {exc.message}")
    return NotAllowed(f"{plainly(exc)}; the ClusterRole talm-viewer of deploy/rbac allows it")
