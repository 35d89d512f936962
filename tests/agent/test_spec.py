from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.catalog.channels import Wanted
from talm.agent.spec import KEYS, Flags, read_spec
from talm.errors import AgentError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A mounted ConfigMap with all keys, those that are unset empty."""
    for key in KEYS:
        (tmp_path / key).write_text("")
    return tmp_path


def test_the_config_maps_keys_are_read_from_files(config: Path) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10\n")
    (config / "additionalImages").write_text("quay.io/a:1\nquay.io/b:1")
    (config / "spaceRequired").write_text("35")
    (config / "operators.indexes").write_text("quay.io/index:v4.10\nquay.io/other:v4.10")
    (config / "operators.packagesAndChannels").write_text("ptp:stable\nptp:4.10")
    (config / "excludePrecachePatterns").write_text("aws\n\n^gcp")
    spec = read_spec(config, Flags())
    assert str(spec.release) == "quay.io/release:4.10"
    assert [str(image) for image in spec.additional] == ["quay.io/a:1", "quay.io/b:1"]
    assert [str(image) for image in spec.indexes] == ["quay.io/index:v4.10", "quay.io/other:v4.10"]
    assert spec.packages == (Wanted("ptp", "stable"), Wanted("ptp", "4.10"))
    assert spec.excludes == ("aws", "^gcp")
    assert spec.space_required_gib == 35


def test_a_flag_replaces_the_release_and_adds_to_the_rest(config: Path) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10")
    (config / "additionalImages").write_text("quay.io/a:1")
    (config / "spaceRequired").write_text("35")
    flags = Flags(
        platform_image="quay.io/release:4.11",
        additional=("quay.io/a:1", "quay.io/b:1"),
        indexes=("quay.io/index:v4.10",),
        packages=("ptp:stable",),
        excludes=("aws",),
        space_required="7",
    )
    spec = read_spec(config, flags)
    assert [str(image) for image in spec.indexes] == ["quay.io/index:v4.10"]
    assert (spec.packages, spec.excludes) == ((Wanted("ptp", "stable"),), ("aws",))
    assert spec.space_required_gib == 7
    assert str(spec.release) == "quay.io/release:4.11"
    assert [str(image) for image in spec.additional] == ["quay.io/a:1", "quay.io/b:1"]


def test_a_start_that_the_config_map_names_may_be_gone_and_one_of_a_flag_must_be_there(
    config: Path,
) -> None:
    (config / "operators.indexes").write_text("quay.io/index:v4.10")
    (config / "operators.packagesAndChannels").write_text("ptp:stable\nsriov:stable\nlso:stable")
    (config / "operators.startingCSVs").write_text("ptp:stable:ptp.v4.9.1")
    spec = read_spec(config, Flags(starts=("sriov:stable:sriov.v4.9.0",)))
    assert spec.packages == (
        Wanted("lso", "stable"),
        Wanted("ptp", "stable", "ptp.v4.9.1", if_there=True),
        Wanted("sriov", "stable", "sriov.v4.9.0"),
    )


def test_additional_images_alone_are_enough_and_the_last_line_counts(config: Path) -> None:
    (config / "additionalImages").write_text("quay.io/a:1")
    spec = read_spec(config, Flags())
    assert (spec.release, [str(image) for image in spec.additional]) == (None, ["quay.io/a:1"])


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        ("operators.indexes", "quay.io/index:v4.10", "no operators.packagesAndChannels"),
        ("operators.packagesAndChannels", "ptp:stable", "no operators.indexes"),
        ("operators.packagesAndChannels", "ptp", "'ptp' is not NAME:CHANNEL"),
        ("operators.startingCSVs", "ptp:stable", "is not NAME:CHANNEL:BUNDLE"),
        ("operators.packagesAndChannels", "ptp:", "is not NAME:CHANNEL"),
        ("operators.packagesAndChannels", "ptp:stable; touch /p", "is not NAME:CHANNEL"),
        ("operators.indexes", "index", "names no registry"),
    ],
)
def test_operators_that_cannot_be_meant_are_refused(
    config: Path, key: str, text: str, complaint: str
) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10")
    (config / key).write_text(text)
    with pytest.raises(AgentError, match=complaint):
        read_spec(config, Flags())


def test_a_start_takes_the_place_of_its_channels_head() -> None:
    flags = Flags(
        indexes=("quay.io/index:v4.10",),
        packages=("ptp:stable", "ptp:4.10"),
        starts=("ptp:stable:ptp.v4.10.1",),
    )
    assert read_spec(None, flags).packages == (
        Wanted("ptp", "4.10"),
        Wanted("ptp", "stable", "ptp.v4.10.1"),
    )


@pytest.mark.parametrize("start", ["ptp:stable", "ptp:stable:", "ptp:stable:a b"])
def test_a_start_that_names_no_bundle_is_refused(start: str) -> None:
    flags = Flags(indexes=("quay.io/index:v4.10",), packages=("ptp:stable",), starts=(start,))
    with pytest.raises(AgentError, match=r"--from.*is not NAME:CHANNEL:BUNDLE"):
        read_spec(None, flags)


EVIL = "x; touch /p"
LINES = {
    "platform.image": "quay.io/a:1",
    "additionalImages": "quay.io/a:1\nquay.io/b:1",
    "operators.indexes": "quay.io/index:1\nquay.io/other:1",
    "operators.packagesAndChannels": "ptp:stable\nptp:4.10",
    "operators.startingCSVs": "ptp:stable:ptp.v1\nptp:4.10:ptp.v1",
    "spaceRequired": "",
}


@pytest.mark.parametrize("key", LINES)
def test_a_command_in_any_key_is_refused_with_the_line_and_the_reason(
    config: Path, key: str
) -> None:
    for name, text in LINES.items():
        (config / name).write_text(text)
    lines = [*LINES[key].split("\n"), EVIL] if LINES[key] else [EVIL]
    (config / key).write_text("\n".join(lines))
    with pytest.raises(AgentError) as caught:
        read_spec(config, Flags())
    assert caught.value.kind == "InvalidSpec"
    where = key if key == "spaceRequired" else f"{key}, line {len(lines)}: "
    assert where in str(caught.value)
    assert repr(EVIL) in str(caught.value)


@pytest.mark.parametrize(
    "flags",
    [
        Flags(platform_image=EVIL),
        Flags(additional=("quay.io/a:1", EVIL)),
        Flags(indexes=(EVIL,), packages=("ptp:stable",)),
        Flags(indexes=("quay.io/index:1",), packages=("ptp:stable", EVIL)),
        Flags(indexes=("quay.io/index:1",), starts=(EVIL,)),
        Flags(platform_image="quay.io/a:1", space_required=EVIL),
    ],
    ids=str,
)
def test_a_command_in_any_flag_is_refused_with_the_reason(flags: Flags) -> None:
    with pytest.raises(AgentError, match=rf"^InvalidSpec: .*'{EVIL}' is not|not a whole") as caught:
        read_spec(None, flags)
    assert repr(EVIL) in str(caught.value)


@pytest.mark.parametrize("text", ["-1", "1.5", "35 GiB", "٣"])
def test_a_space_that_is_no_whole_number_is_refused(config: Path, text: str) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10")
    (config / "spaceRequired").write_text(text)
    with pytest.raises(AgentError, match="not a whole number of GiB"):
        read_spec(config, Flags())


def test_two_release_images_are_refused(config: Path) -> None:
    (config / "platform.image").write_text("quay.io/a:1\nquay.io/b:1")
    with pytest.raises(AgentError, match="names 2 images"):
        read_spec(config, Flags())


def test_nothing_to_pull_is_refused(config: Path) -> None:
    with pytest.raises(AgentError, match="no image to pull"):
        read_spec(config, Flags())


def test_a_missing_config_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="not a directory"):
        read_spec(tmp_path / "absent", Flags(platform_image="quay.io/a:1"))
