"""Reads a root policy of the hub into the value that the core judges.  Never raises: what cannot be
read is said in `RootPolicy.broken`.

    spec.policy-templates[].objectDefinition          ConfigurationPolicy; other kinds are passed over
      .spec.object-templates[]                        or object-templates-raw, a text of Go templates
        .complianceType, .objectDefinition            mustnothave is not wanted on the cluster: dropped

Templates in `object-templates-raw` are not run, as the clusters they are about are elsewhere: control
(`{{ if … }}`) is dropped, so that all its branches count, and a value becomes the word `placeholder`,
by which the core knows that it is not known here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml

from talm.api import ocm
from talm.api.words import HUB_TEMPLATES_ERROR
from talm.core.model import Json, ResolvedPolicy, RootPolicy
from talm.core.objects import at
from talm.core.platform_image import PLACEHOLDER
from talm.core.precache_spec import is_cached_for
from talm.errors import BadSpec

# Templates that print nothing: control, comments and assignments.
_SILENT: Final = re.compile(
    r"(?:if|else|end|range|with|define|block|break|continue)\b|/\*|\$\w*\s*(?:,\s*\$\w+\s*)?:?=(?!=)"
)
_HUB_TEMPLATE: Final = b"{{hub"
_DEEPEST: Final = 64  # levels; aliases of YAML can make a text endless, no object is that deep
_MOST: Final = 100_000  # values in one text, for the same reason
_TOO_MUCH: Final = "object-templates-raw is nested too deeply or too large"
# YAMLError, and what PyYAML lets out when a tag does not fit its value (`!!bool x`, `!!timestamp x`).
_UNREADABLE: Final = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError)


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: what looks like a date is a text, and so is `=`."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith((":timestamp", ":value"))]
    for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_policy(policy: ocm.Policy) -> RootPolicy:
    """Read what a policy asks for and how the clusters stand to it."""
    objects: tuple[Mapping[str, Json], ...] = ()
    broken = ""
    try:
        objects = tuple(_objects(policy.spec.policy_templates or ()))
    except BadSpec as exc:
        broken = str(exc)
    status = policy.status.status if policy.status else None
    return RootPolicy(
        namespace=policy.metadata.namespace,
        name=policy.metadata.name,
        enforce=policy.spec.remediation_action.lower() == "enforce",
        compliance={entry.clustername: entry.compliant for entry in status or ()},
        objects=objects,
        broken=broken,
        carries_status=any(found.get("status") is not None for found in objects),
        depends_on=tuple(_dependencies(policy.spec.dependencies or ())),
        hub_templates=_HUB_TEMPLATE in msgspec.json.encode(policy.spec.policy_templates),
    )


def read_child(policy: ocm.Policy) -> ResolvedPolicy:
    """Read what a resolved policy asks of its cluster, as far as anything is cached for it."""
    templates = policy.spec.policy_templates or ()
    try:
        for template in templates:
            _refuse_unresolved(template)
        return ResolvedPolicy(tuple(filter(is_cached_for, _objects(templates))))
    except BadSpec as exc:
        return ResolvedPolicy(broken=str(exc))


def _refuse_unresolved(template: Mapping[str, Any]) -> None:
    """Raise BadSpec with the policy propagator's words when it could not resolve hub templates."""
    definition = template.get("objectDefinition")
    annotations = at(definition, "metadata", "annotations")
    if isinstance(annotations, Mapping) and (text := annotations.get(HUB_TEMPLATES_ERROR)):
        raise BadSpec(f"its hub templates cannot be resolved: {text}")


def strip_templates(text: str) -> str:
    """Take Go templates out of a text, so that what is left can be read as YAML.

    `channel: stable-{{ $x }}` becomes `channel: stable-placeholder`.  A template that has its line
    to itself goes away: as a rule it includes further YAML, which is not known here.  Linear.
    """
    parts: list[str] = []
    done = 0
    fresh = True  # nothing but blanks and dropped templates on this line so far
    while (start := text.find("{{", done)) >= 0 and (end := text.find("}}", start + 2)) >= 0:
        before = text[done:start]
        parts.append(before)
        _, newline, tail = before.rpartition("\n")
        fresh = (fresh or bool(newline)) and not tail.strip()
        expression = text[start + 2 : end].strip("- \t\r\n")
        done = end + 2
        if not _SILENT.match(expression) and not (fresh and _ends_line(text, done)):
            parts.append(PLACEHOLDER)
            fresh = False
    parts.append(text[done:])
    return "".join(parts)


def _ends_line(text: str, at: int) -> bool:
    while at < len(text) and text[at] in " \t\r":
        at += 1
    return at == len(text) or text[at] == "\n"


def _objects(templates: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Json]]:
    """Walk all templates.  Raises BadSpec that says where a policy has not its due shape."""
    for template in templates:
        definition = template.get("objectDefinition")
        if not isinstance(definition, Mapping):
            raise BadSpec("a policy template has no objectDefinition")
        if definition.get("kind") == "ConfigurationPolicy":
            yield from _wanted(_object_templates(definition))


def _object_templates(definition: Mapping[str, Any]) -> Iterable[Any]:
    spec = definition.get("spec")
    if not isinstance(spec, Mapping):
        raise BadSpec("a ConfigurationPolicy has no spec")
    plain, raw = spec.get("object-templates"), spec.get("object-templates-raw")
    if (plain is None) == (raw is None):
        raise BadSpec(
            "a ConfigurationPolicy must have either object-templates or object-templates-raw"
        )
    if raw is not None:
        if not isinstance(raw, str):
            raise BadSpec("object-templates-raw is not a text")
        return _parse_raw(raw)
    if not isinstance(plain, list):
        raise BadSpec("object-templates is not a list")
    return plain


def _wanted(entries: Iterable[Any]) -> Iterator[Mapping[str, Json]]:
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise BadSpec("an object template is not an object")
        if str(entry.get("complianceType")).lower() == "mustnothave":
            continue
        definition = entry.get("objectDefinition")
        if not isinstance(definition, Mapping):
            raise BadSpec("an object template has no objectDefinition")
        yield definition


def _dependencies(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Name the policies that must be complied with first, `NAMESPACE/NAME` where it is given."""
    for entry in entries:
        name, namespace = entry.get("name"), entry.get("namespace")
        if entry.get("kind") == "Policy" and isinstance(name, str):
            yield f"{namespace}/{name}" if namespace and isinstance(namespace, str) else name


# A policy is read again with every change of its status, mostly with the same text.
@functools.lru_cache(maxsize=256)
def _parse_raw(text: str) -> tuple[Json, ...]:
    try:
        stripped = strip_templates(text)
        _refuse_deep(stripped)
        found = yaml.load(stripped, Loader=_Loader)  # noqa: S506 - it is a CSafeLoader
        plain = _Plain().value(found, _DEEPEST)
    except _UNREADABLE as exc:
        raise BadSpec(f"object-templates-raw cannot be read: {_one_line(exc)}") from exc
    if plain is None:
        return ()
    if not isinstance(plain, list):
        raise BadSpec("object-templates-raw is not a list")
    return tuple(plain)


def _refuse_deep(text: str) -> None:
    """Look at the nesting before it is loaded: libyaml's loader recurses, and dies of `[[[[…`."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise BadSpec(_TOO_MUCH)


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200]


class _Plain:
    """Copies what YAML yields to what JSON can say; refuses what grows beyond reason."""

    def __init__(self) -> None:
        self._left = _MOST

    def value(self, found: object, depth: int) -> Json:
        self._left -= 1
        if depth < 0 or self._left < 0:
            raise BadSpec(_TOO_MUCH)
        match found:
            case None | bool() | int() | float() | str():
                return found
            case dict():
                return {str(key): self.value(item, depth - 1) for key, item in found.items()}
            case list():
                return [self.value(item, depth - 1) for item in found]
            case _:  # by an explicit tag a set, bytes, a date: no such thing in JSON
                return str(found)
