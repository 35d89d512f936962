"""File-based catalogs as text: the two languages, packages over several files, and bad ones."""

from __future__ import annotations

import json

import pytest

from talm.agent.catalog.channels import BadCatalog, Bundle, Channel, Entry, Package
from talm.agent.catalog.fbc import Collector

PACKAGE = {"schema": "olm.package", "name": "ptp", "defaultChannel": "stable"}
CHANNEL = {
    "schema": "olm.channel",
    "package": "ptp",
    "name": "stable",
    "entries": [{"name": "ptp.v1", "replaces": "ptp.v0", "skips": ["a"], "skipRange": "<1.0.0"}],
}
BUNDLE = {
    "schema": "olm.bundle",
    "package": "ptp",
    "name": "ptp.v1",
    "image": "r/own",
    "properties": [
        {"type": "olm.gvk", "value": {"version": "v1"}},
        {"type": "olm.package", "value": {"packageName": "ptp", "version": "1.0.0"}},
    ],
    "relatedImages": [{"name": "a", "image": "r/a"}, {"name": "b", "image": ""}, None],
}
READ = Package(
    "ptp",
    {"stable": Channel("stable", (Entry("ptp.v1", "ptp.v0", ("a",), "<1.0.0"),))},
    {"ptp.v1": Bundle("ptp.v1", "1.0.0", "r/own", ("r/a",))},
)
YAML = """
---
# a comment
schema: olm.package
name: ptp
---
---
schema: olm.channel
package: ptp
name: stable
entries:
- {name: ptp.v1, replaces: ptp.v0, skips: [a], skipRange: <1.0.0}
---
schema: olm.bundle
package: ptp
name: ptp.v1
image: r/own
properties:
- type: olm.package
  value: &value {packageName: ptp, version: 1.0.0}
- {type: other, value: *value}
relatedImages:
- image: r/a
- image: ~
"""


def read(*files: str) -> dict[str, Package]:
    collector = Collector(frozenset({"ptp"}))
    for number, content in enumerate(files):
        collector.add(f"configs/{number}", content.encode())
    return collector.packages()


def stream(*blobs: object, indent: int | None = None) -> str:
    return "\n".join(json.dumps(blob, indent=indent) for blob in blobs)


@pytest.mark.parametrize(
    "files",
    [
        [stream(PACKAGE, CHANNEL, BUNDLE)],
        [stream(PACKAGE, CHANNEL, BUNDLE, indent=4) + "\n\n"],
        [stream(PACKAGE, CHANNEL, BUNDLE).replace("\n", "")],
        ["\ufeff" + stream(BUNDLE), stream(CHANNEL), stream(PACKAGE)],
        [YAML],
        [stream(CHANNEL), YAML],
    ],
    ids=["lines", "indented", "without blanks", "split over files", "YAML", "both, and twice"],
)
def test_the_same_catalog_in_any_form_is_read_alike(files: list[str]) -> None:
    assert read(*files) == {"ptp": READ}


def test_other_packages_and_schemas_are_left_out() -> None:
    others = (
        {"schema": "olm.package", "name": "other"},
        {"schema": "olm.bundle", "package": "other", "name": "ptp.v9", "image": "r/x"},
        {
            "schema": "olm.deprecations",
            "package": "ptp",
            "entries": [{"name": "x", "message": "m"}],
        },
        {"schema": "vendor.own", "package": "ptp", "name": "stable"},
    )
    assert read(stream(*others, PACKAGE, CHANNEL, BUNDLE)) == {"ptp": READ}


def test_a_file_without_a_wanted_package_is_not_even_parsed() -> None:
    assert read("{ no JSON at all") == {}


@pytest.mark.parametrize(
    "content",
    [
        '{"schema": "olm.package", "name": "ptp"',
        '{"schema": "olm.package", "name": "ptp"}}',
        stream(PACKAGE) + "\nnonsense",
        '{"schema": "olm.package", "name": ["ptp"]}',
        stream(CHANNEL | {"entries": [{}]}),
        stream(BUNDLE | {"relatedImages": "r/a"}),
        stream(BUNDLE | {"relatedImages": [{"image": {"a": 1}}]}),
        "[" * 100_000 + "ptp",
        '{"ptp":' * 100_000,
        "ptp: [",
        "- ptp",
        "ptp: !!python/object/apply:os.system [exit]",
        "a: &a {ptp: 1}\nb:\n  <<: [*a, *a]\n",
        "schema: olm.package\nname: ptp\x00",
        stream(BUNDLE, BUNDLE | {"image": "r/another"}),
        stream(CHANNEL, CHANNEL | {"entries": []}),
    ],
    ids=lambda content: content[:40],
)
def test_a_file_that_cannot_be_understood_is_named(content: str) -> None:
    with pytest.raises(BadCatalog, match="configs/0: "):
        read(content)


def test_a_file_that_is_no_text_is_named() -> None:
    with pytest.raises(BadCatalog, match="configs/x: "):
        Collector(frozenset({"ptp"})).add("configs/x", b"ptp \xff\xfe")
