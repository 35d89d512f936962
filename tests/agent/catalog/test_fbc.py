"""File-based catalogs as text: the two languages, packages over several files, and bad ones."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.catalog import fbc
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
            "entries": [{"reference": {"schema": "olm.channel", "name": "x"}, "message": "m"}],
        },
        {
            "schema": "vendor.own",
            "package": "ptp",
            "name": "stable",
            "entries": 7,
            "image": {"a": 1},
            "properties": "none",
            "relatedImages": {},
        },
    )
    assert read(stream(*others, PACKAGE, CHANNEL, BUNDLE)) == {"ptp": READ}


def test_a_file_without_a_wanted_package_is_not_even_parsed() -> None:
    assert read("{ no JSON at all") == {}


def test_files_that_the_catalog_ignores_are_not_read_wherever_it_says_so() -> None:
    collector = Collector(frozenset({"ptp"}))
    collector.add("README.md", b"ptp: [")
    collector.add("ptp/old.json", stream(BUNDLE | {"image": "r/old"}).encode())
    collector.add("ptp/catalog", stream(PACKAGE, CHANNEL, BUNDLE).encode())
    with pytest.raises(BadCatalog, match=r"README\.md: "):
        collector.packages()
    collector.add(".indexignore", b"*.md\n**/old.*")
    assert collector.packages() == {"ptp": READ}


@pytest.mark.parametrize("text", [stream(BUNDLE), YAML.rpartition("---")[2]], ids=["JSON", "YAML"])
def test_what_is_kept_of_a_catalog_is_bounded(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(fbc, "_MAX_KEPT", 10)
    files = [text.replace("ptp.v1", f"ptp.v{n}") for n in range(6)]
    assert read(*files[:3])
    with pytest.raises(BadCatalog, match="more than 10 entries and images"):
        read(*files)


VERSION = "schema: olm.bundle\npackage: ptp\nname: x\nproperties:\n- type: olm.package\n  value:"


def laughing(generations: int) -> str:
    """A version of a few hundred bytes that would be printed as 9^30 words."""
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, generations)]
    laughs = "\n".join(("a0: &a0 [ha]", *lines))
    return f"{laughs}\n{VERSION} {{version: *a{generations - 1}}}"


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
        "ptp: !!bool x",
        "ptp: !!timestamp x",
        "ptp: !!int ''",
        "ptp: !!float ''",
        "ptp: 2001-99-99",
        "{}" * 3 + "ptp",
        '{"schema": "olm.bundle", "package": "ptp", "name": "' + "x" * (9 << 20) + '"}',
        '{"ptp": ' + "[" * 99 + '"' * 5,
        '{"ptp": ["}"',
        '["ptp"]',
        "- &a [ptp]\n" * 40_000 + "- b\n" * 100_000,
        f"{VERSION} {{version: &a [*a]}}",
        f"{VERSION} {{version: {{a: 1}}}}",
        laughing(30),
        stream(BUNDLE, BUNDLE | {"image": "r/another"}),
        stream(CHANNEL, CHANNEL | {"entries": []}),
    ],
    ids=lambda content: content[:40],
)
def test_a_file_that_cannot_be_understood_is_named(content: str) -> None:
    with pytest.raises(BadCatalog, match=r"configs/[01]: "):
        read(content)


def test_a_blob_that_cannot_be_understood_is_named_too() -> None:
    bad = BUNDLE | {"relatedImages": [{"image": 7}]}
    with pytest.raises(BadCatalog, match=r"configs/0: olm\.bundle ptp\.v1: Expected `str.*image"):
        read(stream(PACKAGE, CHANNEL, bad))


def test_a_file_that_is_no_text_is_named() -> None:
    collector = Collector(frozenset({"ptp"}))
    collector.add("configs/x", b"ptp \xff\xfe")
    with pytest.raises(BadCatalog, match="configs/x: "):
        collector.packages()


@given(st.text(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_a_catalog_or_refused(text: str, raw: bytes) -> None:
    for content in (text.encode(), raw, b"{" + raw, stream(BUNDLE).encode() + raw):
        collector = Collector(frozenset({"ptp"}))
        collector.add("x", b"ptp " + content)
        collector.add("y", content + b" ptp")
        with contextlib.suppress(BadCatalog):
            collector.packages()
