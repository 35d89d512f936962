from __future__ import annotations

from pathlib import Path

import pytest

from talm.agent.spec import UNSUPPORTED, read_spec
from talm.errors import AgentError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A mounted ConfigMap with all six keys, those that are unset empty."""
    for key in ("platform.image", "additionalImages", "spaceRequired", *UNSUPPORTED):
        (tmp_path / key).write_text("")
    return tmp_path


def test_the_config_maps_keys_are_read_from_files(config: Path) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10\n")
    (config / "additionalImages").write_text("quay.io/a:1\nquay.io/b:1")
    (config / "spaceRequired").write_text("35")
    spec = read_spec(config, "", ())
    assert [str(image) for image in spec.images] == [
        "quay.io/release:4.10",
        "quay.io/a:1",
        "quay.io/b:1",
    ]
    assert spec.space_required_gib == 35


def test_a_flag_replaces_the_release_and_adds_to_the_rest(config: Path) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10")
    (config / "additionalImages").write_text("quay.io/a:1")
    spec = read_spec(config, "quay.io/release:4.11", ("quay.io/a:1", "quay.io/b:1"))
    assert str(spec.release) == "quay.io/release:4.11"
    assert [str(image) for image in spec.additional] == ["quay.io/a:1", "quay.io/b:1"]


def test_additional_images_alone_are_enough_and_the_last_line_counts(config: Path) -> None:
    (config / "additionalImages").write_text("quay.io/a:1")
    assert [str(image) for image in read_spec(config, "", ()).images] == ["quay.io/a:1"]


@pytest.mark.parametrize("key", UNSUPPORTED)
def test_a_key_that_is_not_carried_out_is_refused_when_it_is_set(config: Path, key: str) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10")
    (config / key).write_text("anything")
    with pytest.raises(AgentError, match=f"{key} is set, but this version does not support"):
        read_spec(config, "", ())


@pytest.mark.parametrize("text", ["-1", "1.5", "35 GiB", "٣"])
def test_a_space_that_is_no_whole_number_is_refused(config: Path, text: str) -> None:
    (config / "platform.image").write_text("quay.io/release:4.10")
    (config / "spaceRequired").write_text(text)
    with pytest.raises(AgentError, match="not a whole number of GiB"):
        read_spec(config, "", ())


def test_two_release_images_are_refused(config: Path) -> None:
    (config / "platform.image").write_text("quay.io/a:1\nquay.io/b:1")
    with pytest.raises(AgentError, match="names 2 images"):
        read_spec(config, "", ())


def test_nothing_to_pull_is_refused(config: Path) -> None:
    with pytest.raises(AgentError, match="no image to pull"):
        read_spec(config, "", ())


def test_a_missing_config_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="not a directory"):
        read_spec(tmp_path / "absent", "quay.io/a:1", ())
