"""Wire structs -> the structural OpenAPI schema of a CustomResourceDefinition.

What is decided here, once for all fields:

- a field is required when its struct has no default for it (`metadata` is the API server's);
- in a spec, booleans and numbers other than 0 that have a default are defaulted by the API server;
- `X | None` is X: the API server drops a null of a field that is not `nullable`, so none is needed;
- lists are atomic; maps are atomic in a status, where the operator writes them whole (thousands of
  keys would each have an entry in managedFields) and granular in a spec, which people share.

What is particular to one field stands beside it in the struct, in `about` or `schema_only`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from ..errors import Bug

Schema = dict[str, Any]

_ORDER: Final = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxItems",
    "required",
    "properties",
    "additionalProperties",
    "items",
)
_METADATA: Final = "metadata"
_HEAD: Final[Mapping[str, Schema]] = {
    "apiVersion": {
        "description": "Group and version of this object's form, `ran.openshift.io/v1alpha1`.",
        "type": "string",
    },
    "kind": {"description": "Kind of this object.", "type": "string"},
    _METADATA: {"type": "object"},
}


def object_schema(struct: type[msgspec.Struct]) -> Schema:
    """Give the schema of a whole object; its struct has `metadata` and `spec`, maybe `status`."""
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise Bug(f"{struct} is no struct")
    made = _struct(info, in_status=False)
    made["description"] = (struct.__doc__ or "").strip()
    made["properties"] = {**_HEAD, **made["properties"], _METADATA: _HEAD[_METADATA]}
    return _ordered(made)


def _schema(of: inspect.Type, *, in_status: bool) -> Schema:
    match of:
        case inspect.Metadata():
            inner = _schema(of.type, in_status=in_status)
            return _ordered(_merged(inner, of.extra_json_schema or {}))
        case inspect.UnionType():
            (only,) = (t for t in of.types if not isinstance(t, inspect.NoneType))
            return _schema(only, in_status=in_status)
        case inspect.StructType():
            return _struct(of, in_status=in_status)
        case inspect.VarTupleType():
            items = _schema(of.item_type, in_status=in_status)
            return {"type": "array", "items": items, "x-kubernetes-list-type": "atomic"}
        case inspect.DictType():
            return _map(of, in_status=in_status)
        case _:
            return _scalar(of)


def _scalar(of: inspect.Type) -> Schema:
    match of:
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", "format": "int32"}
        case inspect.StrType():
            return {"type": "string"}
        case inspect.DateTimeType():
            return {"type": "string", "format": "date-time"}
        case _:
            raise Bug(f"no rule how to write {of} into a CRD")


def _map(of: inspect.DictType, *, in_status: bool) -> Schema:
    if isinstance(of.value_type, inspect.AnyType | inspect.CustomType):
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    values = _schema(of.value_type, in_status=in_status)
    made: Schema = {"type": "object", "additionalProperties": values}
    if in_status:
        made["x-kubernetes-map-type"] = "atomic"
    return made


def _struct(of: inspect.StructType, *, in_status: bool) -> Schema:
    made: Schema = {"type": "object", "properties": {}}
    required = [f.encode_name for f in of.fields if f.required and f.encode_name != _METADATA]
    if required:
        made["required"] = required
    for field in of.fields:
        inside = in_status or field.encode_name == "status"
        of_field = _schema(field.type, in_status=inside)
        if not inside and isinstance(field.default, int) and (field.default or _is_bool(field)):
            of_field["default"] = field.default
        made["properties"][field.encode_name] = _ordered(of_field)
    return made


def _is_bool(field: inspect.Field) -> bool:
    return isinstance(field.default, bool)


def _merged(made: Schema, more: Mapping[str, Any]) -> Schema:
    """Add `more`, key by key inside of objects that both have."""
    out = dict(made)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out


def _ordered(made: Schema) -> Schema:
    """Bring the keys into one order for readers: what it is, then what is inside."""
    first = {key: made[key] for key in _ORDER if key in made}
    return first | {key: made[key] for key in sorted(made.keys() - first.keys())}
