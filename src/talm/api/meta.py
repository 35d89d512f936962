"""What all objects share.  Structs are partial: only the fields that are read."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, TypeVar

import msgspec


def about(text: str, **schema: object) -> msgspec.Meta:
    """Describe a wire field for the CRD, `kubectl explain` and the reference page.

    `schema` (OpenAPI words such as `minLength`) reaches the CRD only: decoding stays lenient,
    since an object that an older CRD let in must still be readable.
    """
    return msgspec.Meta(description=text, extra_json_schema=schema)


def schema_only(**schema: object) -> msgspec.Meta:
    """Add OpenAPI words to the CRD, for a type that its field describes; decoding ignores them."""
    return msgspec.Meta(extra_json_schema=schema)


class Wire(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, rename="camel"):
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

    type: Annotated[str, about("What the condition is about, in CamelCase.")] = ""
    status: Annotated[str, about("`True`, `False` or `Unknown`.")] = ""
    reason: Annotated[str, about("One CamelCase word for scripts: why the status is as it is.")] = (
        ""
    )
    message: Annotated[str, about("The reason in a sentence, for people.")] = ""
    last_transition_time: Annotated[
        dt.datetime | None,
        about("When `status` last changed its value; a new reason or message leaves it alone."),
    ] = None
    observed_generation: Annotated[
        int | None,
        about(
            "The `metadata.generation` that the condition was judged on, where its writer says so.",
            format="int64",
        ),
    ] = None


class Object(Wire, frozen=True, kw_only=True):
    """Any object: metadata only."""

    metadata: ObjectMeta = ObjectMeta()


S = TypeVar("S", bound=msgspec.Struct)


def changed(struct: S, **changes: object) -> S:
    """A copy with some fields replaced (attribute names, not wire names)."""
    return msgspec.structs.replace(struct, **changes)


def json_size(struct: msgspec.Struct) -> int:
    """How many bytes it takes on the wire."""
    return len(msgspec.json.encode(struct))
