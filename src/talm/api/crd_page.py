"""The reference page of our kinds, drawn from their CRDs, so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

_INTRO: Final = """\
# ClusterGroupUpgrade and PreCachingConfig

<!-- Generated from src/talm/api (`make crds`); edits here are lost. -->

Every field of the two kinds, as `kubectl explain` shows them too. A default is what the API server
fills in; a field without one may be left out. `[]` in a name stands for every item of a list,
`{}` for every value of a map. A field marked *required* must be there when its parent is.
Objects that were stored before a rule came are left in peace: on Kubernetes 1.30 and later what an
update does not touch is not checked again.
"""

# Words of the schema that a reader has to know to write YAML.
_RULES: Final = {
    "enum": "one of",
    "minimum": "at least",
    "maximum": "at most",
}


def page(crds: Sequence[dict[str, Any]]) -> str:
    """Draw the page: a chapter per kind, in it a table for the spec and one for the status."""
    return _INTRO + "".join(_chapter(crd["spec"]) for crd in crds)


def _chapter(spec: dict[str, Any]) -> str:
    names, version = spec["names"], spec["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    facts = [f"`apiVersion: {spec['group']}/{version['name']}`", f"`kind: {names['kind']}`"]
    facts += [f"short name `{short}`" for short in names.get("shortNames", ())]
    lines = ["", f"## {names['kind']}", "", schema["description"], "", ", ".join(facts)]
    if columns := version.get("additionalPrinterColumns"):
        shown = ", ".join(f"{c['name'].upper()} (`{c['jsonPath']}`)" for c in columns)
        lines += ["", f"Columns of `kubectl get`, after the name: {shown}"]
    for part in ("spec", "status"):
        if part in schema["properties"]:
            lines += _table(part, schema["properties"][part])
    return "\n".join(lines) + "\n"


def _table(part: str, schema: dict[str, Any]) -> list[str]:
    head = ["", f"### {part}", "", schema["description"], ""]
    head += ["| field | type | default | meaning |", "|---|---|---|---|"]
    return head + list(_rows("", schema))


def _rows(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """Give a row for every field below `schema`, parents before children."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        here = f"{path}{name}"
        if "description" in field:
            yield _row(here, field, required=name in required)
        suffix, inner = _inner(field)
        yield from _rows(f"{here}{suffix}.", inner)


def _row(path: str, field: dict[str, Any], *, required: bool) -> str:
    default = f"`{_literal(field['default'])}`" if "default" in field else "*required*"
    if not required and "default" not in field:
        default = ""
    rules = [
        f" ({word} {', '.join(f'`{_literal(v)}`' for v in _several(field[key]))})"
        for key, word in _RULES.items()
        if key in field
    ]
    meaning = field["description"].replace("|", "\\|") + "".join(rules)
    return f"| `{path}` | {_type(field)} | {default} | {meaning} |"


def _inner(field: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Look through lists and maps: what to append to the path, and the schema inside."""
    suffix = ""
    while "items" in field or "additionalProperties" in field:
        suffix += "[]" if "items" in field else "{}"
        field = field.get("items") or field["additionalProperties"]
    return suffix, field


def _type(field: dict[str, Any]) -> str:
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}"
    if field.get("format") == "date-time":
        return "time"
    return str(field["type"])


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'
