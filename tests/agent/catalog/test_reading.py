"""Index images whole: which catalog is read from which layer, what is chosen, what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from talm.agent.catalog import reading
from talm.agent.catalog.channels import Wanted
from talm.agent.catalog.reading import (
    CONFIGS_LABEL,
    DATABASE_LABEL,
    Catalog,
    choose_bundles,
    read_catalog,
    references_of,
    starts_passed_over,
)
from talm.agent.content.archive import Limits
from talm.agent.main import run_agent
from talm.api.progress import EXIT_CODES, FailureClass
from talm.errors import AgentError
from talm.sim.catalogs import CONFIGS_LABELS, as_database, as_json, build_catalog
from talm.sim.images import CONFIG, LAYER, MANIFEST, SyntheticImage, descriptor, digest_of

from ..archives import LINK, Content, tar
from ..conftest import Reader, SettingsFor
from ..faultyregistry import FaultyRegistry

F = FailureClass
SMALL = Limits(unpacked=1 << 20, entries=100, file=1 << 16)
Files = Mapping[str, Content]


def index(
    layers: Sequence[Files], labels: Mapping[str, str] | None = None, config: bytes = b""
) -> SyntheticImage:
    """An index image; its catalog is in /configs unless `labels` or a raw `config` say otherwise."""
    said = CONFIGS_LABELS if labels is None else labels
    config = config or json.dumps({"config": {"Labels": said}}).encode()
    blobs = [gzip.compress(tar(files), mtime=0) for files in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, blob) for blob in blobs],
    }
    every = {digest_of(blob): blob for blob in (config, *blobs)}
    return SyntheticImage("operators/index", json.dumps(manifest).encode(), every)


def package(
    name: str, channels: Mapping[str, Sequence[str]], **bundle: Any
) -> list[dict[str, Any]]:
    """A package whose versions replace each other in the order given."""
    blobs: list[dict[str, Any]] = [
        {"schema": "olm.package", "name": name, "defaultChannel": next(iter(channels))}
    ]
    for channel, versions in channels.items():
        names = [f"{name}.v{version}" for version in versions]
        entries = [
            {"name": one} | ({"replaces": names[n - 1]} if n else {}) for n, one in enumerate(names)
        ]
        words = {"schema": "olm.channel", "package": name, "name": channel, "entries": entries}
        blobs.append(words)
        blobs += [
            {
                "schema": "olm.bundle",
                "package": name,
                "name": one,
                "image": f"quay.io/{name}/bundle:{version}",
                "properties": [
                    {"type": "olm.package", "value": {"packageName": name, "version": version}}
                ],
                "relatedImages": [{"name": "", "image": f"quay.io/{name}/operator:{version}"}],
            }
            | bundle
            for one, version in zip(names, versions, strict=True)
        ]
    return blobs


PTP = package("ptp", {"stable": ["1.0.0", "1.0.1", "1.1.0"], "candidate": ["2.0.0"]})
FULL: Files = {"configs/ptp/catalog.json": as_json(PTP)}


async def catalog(
    reader: Reader, registry: FaultyRegistry, image: SyntheticImage, *names: str
) -> Catalog:
    found = await reader.image(registry.add(image))
    return await read_catalog(found, reader.files, frozenset(names or ("ptp",)), SMALL)


def images(catalogs: Sequence[Catalog], *wanted: Wanted) -> list[str]:
    return [str(reference) for reference in references_of(choose_bundles(catalogs, wanted))]


STABLE = ["quay.io/ptp/bundle:1.1.0", "quay.io/ptp/operator:1.1.0"]


@pytest.mark.parametrize(
    "layers",
    [
        [FULL],
        [{"bin/opm": b"x"}, FULL, {"etc/passwd": b""}],
        [{"configs/ptp/catalog.json": b"ptp: an older one"}, FULL],
        [{"configs/ptp/a.json": b"ptp: ["}, {"configs/ptp/.wh.a.json": b""}, FULL],
        [{"configs/ptp/a.json": b"ptp: ["}, {**FULL, "configs/.wh..wh..opq": b""}],
        [{"configs/ptp/a.json": b"ptp: ["}, {".wh.configs": b""}, FULL],
        [{f"configs/{n}.json": as_json([blob]) for n, blob in enumerate(PTP)}],
        [{f"configs/{n}.yaml": json.dumps(blob).encode()} for n, blob in enumerate(PTP)],
        [{"configs/ptp/catalog": as_json(PTP)}],
        [{**FULL, "configs/ptp.md": b"ptp: [", "configs/.indexignore": b"*.md"}],
        [{**FULL, "configs/.indexignore": b"*"}, {"configs/.wh..indexignore": b""}],
    ],
    ids=[
        "one layer", "other layers", "replaced", "removed", "opaque", "directory removed",
        "over files", "over layers", "without a suffix", "ignored", "no longer ignored",
    ],
)  # fmt: skip
async def test_a_catalog_is_what_its_layers_show_together(
    registry: FaultyRegistry, reader: Reader, layers: Sequence[Files]
) -> None:
    found = await catalog(reader, registry, index(layers))
    assert images([found], Wanted("ptp", "stable")) == STABLE


async def test_nothing_below_what_hides_it_is_fetched(
    registry: FaultyRegistry, reader: Reader
) -> None:
    image = index([{"configs/x": b"1"}, {**FULL, "configs/.wh..wh..opq": b""}])
    await catalog(reader, registry, image)
    below, _ = (layer["digest"] for layer in json.loads(image.manifest)["layers"])
    assert not any(below in path for path in registry.asked)


@pytest.mark.parametrize("database", [False, True], ids=["files", "database"])
async def test_both_kinds_of_catalogs_give_heads_ways_and_channels(
    registry: FaultyRegistry, reader: Reader, database: bool
) -> None:
    built = build_catalog(registry.host, database=database, image_kib=1)
    found = await catalog(reader, registry, built.index, "ptp-operator")
    assert set(found.packages) == {"ptp-operator"}
    wanted = {
        Wanted("ptp-operator", "stable"): ["4.10.2"],
        Wanted("ptp-operator", "candidate"): ["4.11.1"],
        Wanted("ptp-operator", "stable", "ptp-operator.v4.10.1"): ["4.10.1", "4.10.2"],
    }
    for one, versions in wanted.items():
        names = [f"ptp-operator.v{version}" for version in versions]
        expected = [
            f"{registry.host}/{image.repository}@{image.digest}"
            for name in names
            for image in built.bundles[name]
        ]
        assert [bundle.name for bundle in choose_bundles([found], [one])] == names
        assert images([found], one) == expected


async def test_several_channels_of_one_package_are_all_taken(
    registry: FaultyRegistry, reader: Reader
) -> None:
    found = await catalog(reader, registry, index([FULL]))
    taken = images([found], Wanted("ptp", "stable"), Wanted("ptp", "candidate"))
    assert taken == [*STABLE, "quay.io/ptp/bundle:2.0.0", "quay.io/ptp/operator:2.0.0"]


async def test_a_package_in_several_catalogs_is_taken_from_each_that_has_the_channel(
    registry: FaultyRegistry, reader: Reader
) -> None:
    newer = package("ptp", {"stable": ["1.1.0", "1.2.0"]})
    others = [package("ptp", {"4.10": ["0.1.0"]}), package("sriov", {"stable": ["1.0.0"]})]
    catalogs = [await catalog(reader, registry, index([FULL]))]
    for blobs in (newer, *others):
        image = index([{"configs/c.json": as_json(blobs)}])
        catalogs.append(await catalog(reader, registry, image))
    bundles = choose_bundles(catalogs, [Wanted("ptp", "stable")])
    assert [bundle.name for bundle in bundles] == ["ptp.v1.1.0", "ptp.v1.2.0"]


async def test_a_start_that_one_of_several_catalogs_has_is_enough(
    registry: FaultyRegistry, reader: Reader
) -> None:
    catalogs = [
        await catalog(reader, registry, index([{"configs/c.json": as_json(blobs)}]))
        for blobs in (PTP, package("ptp", {"stable": ["3.0.0"]}))
    ]
    bundles = choose_bundles(catalogs, [Wanted("ptp", "stable", "ptp.v1.0.1")])
    assert [bundle.name for bundle in bundles] == ["ptp.v1.0.1", "ptp.v1.1.0"]
    with pytest.raises(AgentError, match=r"^PackageNotFound: .*no entry 'ptp.v9.9.9'"):
        choose_bundles(catalogs, [Wanted("ptp", "stable", "ptp.v9.9.9")])
    gone = Wanted("ptp", "stable", "ptp.v9.9.9", if_there=True)
    assert len(choose_bundles(catalogs, [gone])) == 2
    assert starts_passed_over(catalogs, [gone])
    there = Wanted("ptp", "stable", "ptp.v1.0.1", if_there=True)
    assert starts_passed_over(catalogs, [there]) == ()


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (
            Wanted("ptp", "nightly"),
            "package 'ptp' has no channel 'nightly', only candidate, stable",
        ),
        (Wanted("sriov", "stable"), r"package 'sriov' is in none of .*operators/index@sha256"),
    ],
    ids=str,
)
async def test_what_no_catalog_has_is_named(
    registry: FaultyRegistry, reader: Reader, wanted: Wanted, complaint: str
) -> None:
    found = await catalog(reader, registry, index([FULL]), "ptp", "sriov")
    with pytest.raises(AgentError, match=f"^PackageNotFound: {complaint}"):
        choose_bundles([found], [wanted])


@pytest.mark.parametrize(
    ("bundle", "complaint"),
    [
        ({"relatedImages": []}, r"bundle ptp\.v1\.0\.0 names no related images"),
        ({"relatedImages": [{"name": "x", "image": ""}]}, r"bundle ptp\.v1\.0\.0 names no related"),
        ({"relatedImages": [{"image": "x; touch /p"}]}, r"bundle ptp\.v1\.0\.0: 'x; touch /p'"),
        (
            {"image": "../../etc/passwd"},
            r"bundle ptp\.v1\.0\.0: .*not a registry",
        ),
    ],
    ids=str,
)
async def test_a_bundle_without_images_to_pull_is_named(
    registry: FaultyRegistry, reader: Reader, bundle: dict[str, Any], complaint: str
) -> None:
    blobs = package("ptp", {"stable": ["1.0.0"]}, **bundle)
    found = await catalog(reader, registry, index([{"configs/c.json": as_json(blobs)}]))
    with pytest.raises(AgentError, match=f"^CatalogUnreadable: {complaint}"):
        images([found], Wanted("ptp", "stable"))


async def test_a_channel_that_contradicts_itself_is_named_with_its_catalog(
    registry: FaultyRegistry, reader: Reader
) -> None:
    blobs = package("ptp", {"stable": ["1.0.0", "1.0.1"]})
    blobs[1]["entries"][0]["replaces"] = "ptp.v1.0.1"
    found = await catalog(reader, registry, index([{"configs/c.json": as_json(blobs)}]))
    with pytest.raises(
        AgentError, match=r"^CatalogUnreadable: .*index@.*: channel stable.*no head"
    ):
        choose_bundles([found], [Wanted("ptp", "stable")])


PASSWD = {CONFIGS_LABEL: "/../etc/passwd"}
DATABASE = {DATABASE_LABEL: "/database/index.db"}


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (index([FULL], {}), "no label"),
        (index([FULL], {CONFIGS_LABEL: "/"}), "label .* is '/'"),
        (index([FULL], PASSWD), r"label .* is '/\.\./etc/passwd'"),
        (index([{"x": b""}]), "nothing in /configs"),
        (index([FULL], DATABASE), "there is no /database/index.db"),
        (index([{"configs": (LINK, "/etc")}]), "is a link"),
        (index([{"configs/ptp.json": (LINK, "../../etc/shadow")}]), "is a link"),
        (index([{"../ptp.json": b""}]), "leads out of the layer"),
        (index([{"x": bytes(2 << 20), **FULL}]), "too large when unpacked"),
        (index([{"configs/ptp.json": bytes(70_000)}]), "at most 65536 are read"),
        (index([{f"configs/{n}": b"" for n in range(101)}]), "more than 100 entries"),
        (index([{"configs/c.json": b'{"ptp": }'}]), r"c\.json: "),
        (index([FULL], config=b"\xff"), "its configuration: "),
        (index([FULL], config=b'{"config": {"Labels": {"a": "\xff"}}}'), "its configuration: "),
        (index([FULL], config=b'{"x": ' + b"[" * 100_000), "its configuration: "),
        (index([FULL], config=b'{"config": {"Labels": 7}}'), "its configuration: "),
        (index([FULL], config=b" " * (9 << 20)), "its configuration has 9437184 bytes"),
        (index([{"database/index.db": b"no database"}], DATABASE), "database cannot be read"),
    ],
)
async def test_a_catalog_that_cannot_be_read_says_why(
    registry: FaultyRegistry, reader: Reader, image: SyntheticImage, complaint: str
) -> None:
    with pytest.raises(AgentError, match=f"^CatalogUnreadable: .*operators/index@.*{complaint}"):
        await catalog(reader, registry, image)


async def test_all_files_of_a_catalog_together_are_bounded(
    registry: FaultyRegistry, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer by layer each may be within its bound."""
    monkeypatch.setattr(reading, "_MAX_FILES", 100_000)
    monkeypatch.setattr(reading, "_MAX_DATABASE", 10_000)
    layers: list[Files] = [{f"configs/{n}": bytes(40_000)} for n in range(3)]
    with pytest.raises(AgentError, match=r"^CatalogUnreadable: .*too large when unpacked"):
        await catalog(reader, registry, index(layers))
    large: Files = {"database/index.db": bytes(10_001)}
    with pytest.raises(AgentError, match=r"^CatalogUnreadable: .*the database has 10001 bytes"):
        await catalog(reader, registry, index([large], DATABASE))
    huge = index([FULL])
    size = huge.manifest.replace(b'"size": ', b'"size": 9000000')
    with pytest.raises(AgentError, match=r"^CatalogUnreadable: .*has 9000000\d+ bytes"):
        await catalog(reader, registry, SyntheticImage(huge.repository, size, huge.blobs))


async def test_files_come_before_a_database_and_the_database_by_the_top_layer(
    registry: FaultyRegistry, reader: Reader
) -> None:
    older = as_database(package("ptp", {"stable": ["0.9.0"]}))
    place = "database/index.db"
    layers: list[Files] = [{place: older}, {place: as_database(PTP)}, {"x": b""}]
    found = await catalog(reader, registry, index(layers, DATABASE))
    assert images([found], Wanted("ptp", "stable")) == STABLE
    both = index([{place: older}, FULL], DATABASE | CONFIGS_LABELS)
    found = await catalog(reader, registry, both)
    assert images([found], Wanted("ptp", "stable")) == STABLE


async def test_a_run_pulls_what_the_catalog_names_and_the_catalog(
    registry: FaultyRegistry, settings_for: SettingsFor
) -> None:
    built = build_catalog(registry.host, image_kib=1)
    for bundle in built.bundles.values():
        for image in bundle:
            registry.add(image)
    spec = registry.add(built.index)
    settings = settings_for(operator_indexes=(spec,), packages=("ptp-operator:stable",))
    assert await run_agent(settings) == 0
    head = built.bundles["ptp-operator.v4.10.2"]
    unique = {d: blob for image in (built.index, *head) for d, blob in image.blobs.items()}
    assert registry.blob_bytes == sum(len(blob) for blob in unique.values())


async def test_a_catalog_whose_image_does_not_exist_fails_the_run(
    registry: FaultyRegistry, settings_for: SettingsFor
) -> None:
    missing = f"{registry.host}/operators/index@sha256:{'0' * 64}"
    settings = settings_for(operator_indexes=(missing,), packages=("ptp:stable",))
    assert await run_agent(settings) == EXIT_CODES[F.IMAGE_NOT_FOUND]


async def test_a_catalog_with_a_layer_that_cannot_be_had_fails_the_run_in_its_class(
    registry: FaultyRegistry, settings_for: SettingsFor
) -> None:
    image = index([FULL])
    spec = registry.add(image)
    missing = json.loads(image.manifest)["config"]["digest"]
    del registry.blobs[missing]
    settings = settings_for(operator_indexes=(spec,), packages=("ptp:stable",))
    assert await run_agent(settings) == EXIT_CODES[F.IMAGE_NOT_FOUND]
    assert settings.termination_log
    assert missing in settings.termination_log.read_text()
