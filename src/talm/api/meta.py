"""What all objects share.  Structs are partial: only the fields that are read."""

from __future__ import annotations

import datetime as dt

import msgspec


class Wire(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, rename="camel"
):
    """Base of everything decoded from the API server: frozen, camelCase on the wire.

    `gc=False` is safe because wire data has no cycles; it makes 100,000 cached objects cheap.
    """


class OwnerReference(Wire, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""


class ObjectMeta(Wire, frozen=True, kw_only=True):
    """`metadata`; maps may be null on the wire."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: dt.datetime | None = None
    deletion_timestamp: dt.datetime | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name); the namespace is "" for cluster-scoped objects."""
        return (self.namespace, self.name)


class Condition(Wire, frozen=True, kw_only=True):
    """metav1.Condition."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: dt.datetime | None = None


class Object(Wire, frozen=True, kw_only=True):
    """Any object: metadata only."""

    metadata: ObjectMeta = ObjectMeta()
