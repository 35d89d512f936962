"""The far side of an agent: what it may ask of a spoke's API server, and how that one refuses.

Two spokes stand behind this seam: `memoryspoke.MemorySpoke` (thousands in one process) and
`kubespoke.KubeSpoke` (a real API server).  Refusals are ApiErrors whose `message` is, to the
letter, what client-go's error would say: it ends up in conditions on the hub.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from talm.api import kinds
from talm.api.kinds import Kind
from talm.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound

NO_ROUTE: Final = "the server could not find the requested resource"
NO_METHOD: Final = "the server does not allow this method on the requested resource"


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """One resource of a spoke's discovery: its kind and its singular name."""

    kind: Kind
    singular: str


class SpokeApi(Protocol):
    """Requests to a spoke, with the agent's own credentials (it may do everything).

    `namespace` is put into the URL as it is: "" for a namespaced kind, or a namespace for a
    cluster-scoped one, is a URL that nobody serves, and answered so.
    """

    async def discover(self) -> Sequence[Served]:
        """Everything served: core first, each group's preferred version first."""
        ...

    async def discover_version(self, group: str, version: str) -> Sequence[Served]:
        """What one group version serves; empty when it is not served."""
        ...

    async def get(self, kind: Kind, namespace: str, name: str) -> Mapping[str, Any]:
        """The whole object; the caller must not change it."""
        ...

    async def create(self, kind: Kind, namespace: str, body: Mapping[str, Any]) -> None:
        """POST `body`."""
        ...

    async def merge_patch(
        self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> None:
        """Apply a JSON merge patch."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, propagation: str) -> None:
        """Ask for deletion; the object may stay for a while."""
        ...

    def follow(
        self, kind: Kind, namespace: str, on_change: Callable[[str], None]
    ) -> Callable[[], None]:
        """Watch: `on_change(name)` for each object that is there, is new or has changed.

        Returns what ends it.  A deletion is no news here: no agent does anything about one.
        """
        ...


def check_segments(namespace: str, name: str | None) -> None:
    """Refuse what cannot be a part of a URL, as client-go's dynamic client does.

    `name` None: none is needed (create).  Raises Invalid.
    """
    if name is not None and not name:
        raise Invalid("", "", 0, "name is required")
    for what, value in (("resource name", name or ""), ("namespace", namespace)):
        if value in (".", ".."):
            raise Invalid("", "", 0, f"invalid {what} \"{value}\": [may not be '{value}']")
        if bad := [f"may not contain '{char}'" for char in "/%" if char in value]:
            raise Invalid("", "", 0, f'invalid {what} "{value}": [{" ".join(bad)}]')


def no_route(verb: str, kind: Kind) -> NotFound:
    """Nothing is served at this URL."""
    return NotFound(verb, kind.resource, 404, NO_ROUTE, reason="NotFound")


def no_method(verb: str, kind: Kind) -> ApiError:
    """The URL is served, but not for this verb (a list of all namespaces takes no POST)."""
    return ApiError(verb, kind.resource, 405, NO_METHOD, reason="MethodNotAllowed")


def not_found(verb: str, kind: Kind, name: str) -> NotFound:
    """The object is not there."""
    return NotFound(verb, name, 404, f'{kind.resource} "{name}" not found', reason="NotFound")


def already_exists(kind: Kind, name: str, *, going: bool) -> AlreadyExists:
    """An object of this name is there, perhaps on its way out (`going`)."""
    text = f'{kind.resource} "{name}" already exists'
    if going:
        text = f"object is being deleted: {text}"
    return AlreadyExists("POST", name, 409, text, reason="AlreadyExists")


def namespace_ends(kind: Kind, namespace: str, name: str) -> Forbidden:
    """Nothing new is let into a terminating namespace."""
    text = (
        f'{kind.resource} "{name}" is forbidden: unable to create new content '
        f"in namespace {namespace} because it is being terminated"
    )
    return Forbidden("POST", name, 403, text, reason="Forbidden")


def changed_meanwhile(verb: str, kind: Kind, name: str) -> Conflict:
    """The resourceVersion that was sent is not the current one."""
    text = (
        f'Operation cannot be fulfilled on {kind.resource} "{name}": the object has been '
        "modified; please apply your changes to the latest version and try again"
    )
    return Conflict(verb, name, 409, text, reason="Conflict")


def other_namespace(verb: str, kind: Kind) -> ApiError:
    """The body names another namespace than the URL."""
    text = "the namespace of the provided object does not match the namespace sent on the request"
    return Invalid(verb, kind.resource, 400, text, reason="BadRequest")


def _served(group: str, version: str, *rows: tuple[str, str, bool]) -> tuple[Served, ...]:
    return tuple(
        Served(Kind(group, version, kind, plural, namespaced), kind.lower())
        for kind, plural, namespaced in rows
    )


def _known(*known: Kind) -> tuple[Served, ...]:
    return tuple(Served(kind, kind.kind.lower()) for kind in known)


BUILT_IN: Final[tuple[Served, ...]] = (
    *_known(kinds.NAMESPACE, kinds.CONFIG_MAP, kinds.SERVICE_ACCOUNT, kinds.SECRET, kinds.POD),
    *_known(kinds.NODE),
    *_served("", "v1", ("Event", "events", True), ("Service", "services", True)),
    *_known(kinds.EVENT),
    *_served(
        "apps",
        "v1",
        ("Deployment", "deployments", True),
        ("StatefulSet", "statefulsets", True),
    ),
    *_known(kinds.DAEMON_SET, kinds.JOB),
    *_served("batch", "v1", ("CronJob", "cronjobs", True)),
    *_known(kinds.LEASE, kinds.ROLE, kinds.ROLE_BINDING),
    *_known(kinds.CLUSTER_ROLE, kinds.CLUSTER_ROLE_BINDING, kinds.CRD),
)
"""What a simulated spoke serves; enough of Kubernetes for agents and workload."""
