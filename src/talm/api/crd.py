"""Writes what is derived from the wire structs: `deploy/crds/*.yaml` and the reference page.

    python -m talm.api.crd           writes both
    python -m talm.api.crd --docs    writes the page alone
    python -m talm.api.crd --check   writes nothing; exit code 1 and a diff when a file is not
                                     what it would be

Run it in the repository's root (`make crds`).  Names and columns of the two kinds are decided
here, their fields in the structs, how a field becomes schema in `schema.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml

from . import kinds
from .cgu import ClusterGroupUpgrade
from .crd_page import page
from .kinds import Kind
from .precaching import PreCachingConfig
from .schema import Schema, object_schema

CRD_FOLDER: Final = Path("deploy/crds")
_LONG: Final = 60  # characters: longer text gets lines of its own
PAGE: Final = Path("docs/reference/crds.md")


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """One of our kinds: `columns` are (name, type, JSON path) and follow NAMESPACE and NAME."""

    kind: Kind
    struct: type[msgspec.Struct]
    short_names: tuple[str, ...] = ()
    has_status: bool = False
    columns: tuple[tuple[str, str, str], ...] = ()


DEFINITIONS: Final = (
    Definition(
        kinds.CGU,
        ClusterGroupUpgrade,
        short_names=("cgu",),
        has_status=True,
        # The manual's `kubectl get cgu -A` begins NAMESPACE NAME AGE: Age comes first.
        columns=(
            ("Age", "date", ".metadata.creationTimestamp"),
            ("State", "string", ".status.conditions[-1:].reason"),
            ("Details", "string", ".status.conditions[-1:].message"),
        ),
    ),
    Definition(kinds.PRE_CACHING_CONFIG, PreCachingConfig),
)


def custom_resource_definition(of: Definition) -> Schema:
    """Build the CustomResourceDefinition, ready to be sent or written."""
    kind = of.kind
    names: Schema = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
    }
    if of.short_names:
        names["shortNames"] = list(of.short_names)
    version: Schema = {"name": kind.version, "served": True, "storage": True}
    if of.has_status:
        version["subresources"] = {"status": {}}
    if of.columns:
        version["additionalPrinterColumns"] = [
            {"name": name, "type": type_, "jsonPath": path} for name, type_, path in of.columns
        ]
    version["schema"] = {"openAPIV3Schema": object_schema(of.struct)}
    return {
        "apiVersion": kinds.CRD.api_version,
        "kind": kinds.CRD.kind,
        "metadata": {"name": kind.resource, "labels": {"app.kubernetes.io/name": "talm"}},
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes every object out in full, without anchors, and lists indented below their key."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = ">" if len(data) > _LONG else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _to_yaml(made: Schema) -> str:
    head = "# Generated from src/talm/api (`make crds`); edits here are lost.\n"
    return head + yaml.dump(made, Dumper=_Dumper, sort_keys=False, width=96, allow_unicode=True)


def generated() -> dict[Path, str]:
    """Map every generated file (relative to the repository's root) to what it should hold."""
    made = {of.kind: custom_resource_definition(of) for of in DEFINITIONS}
    files = {
        CRD_FOLDER / f"{kind.group}_{kind.plural}.yaml": _to_yaml(crd) for kind, crd in made.items()
    }
    return files | {PAGE: page(list(made.values()))}


def _diff(files: Mapping[Path, str], root: Path) -> str:
    """Show what writing the files would change; "" when they are up to date."""
    lines: list[str] = []
    for path, wanted in files.items():
        there = (root / path).read_text() if (root / path).exists() else ""
        lines += difflib.unified_diff(
            there.splitlines(keepends=True),
            wanted.splitlines(keepends=True),
            str(path),
            f"{path} (generated)",
        )
    return "".join(lines)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a file is out of date.")
@click.option("--docs", is_flag=True, help="Write the reference page alone.")
@click.option("--root", default=".", type=click.Path(path_type=Path, file_okay=False, exists=True))
def main(check: bool, docs: bool, root: Path) -> None:
    """Write the CRDs and their reference page, or check that they are up to date."""
    files = generated()
    if check:
        if changes := _diff(files, root):
            click.echo(changes, nl=False)
            click.echo("out of date: run `make crds` and commit the result", err=True)
            sys.exit(1)
        return
    for path, text in files.items():
        if docs and path != PAGE:
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        click.echo(f"wrote {path}")


if __name__ == "__main__":
    main()
