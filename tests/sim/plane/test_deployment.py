"""The operator on a hub of our own: what is installed is what is shipped."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from talm.errors import SetupError
from talm.sim.plane import deployment

ROOT = Path(__file__).parents[3]


def test_the_repositorys_deploy_folder_is_used() -> None:
    assert deployment.deploy_folder() == ROOT / "deploy"


def test_an_installed_package_carries_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = configuration["tool"]["hatch"]["build"]["targets"]["wheel"]
    carried = wheel["force-include"]
    assert set(carried) == {"deploy/crds", "deploy/rbac"}
    package = tmp_path / "site-packages/talm"
    monkeypatch.setattr(deployment, "__file__", str(package / "sim/plane/deployment.py"))
    with pytest.raises(SetupError):
        deployment.deploy_folder()
    for target in carried.values():
        (package.parent / target).mkdir(parents=True)
    assert deployment.deploy_folder() == package / "deploy"


def test_the_images_of_deploy_are_built_with_it() -> None:
    for name in ("hub", "agent"):
        text = (ROOT / f"deploy/Containerfile.{name}").read_text()
        assert "COPY deploy/crds deploy/crds" in text and "COPY deploy/rbac deploy/rbac" in text


def test_every_kind_of_role_is_known() -> None:
    texts = [file.read_text() for file in (ROOT / "deploy/rbac").glob("*.yaml")]
    found = {line.split()[1] for t in texts for line in t.splitlines() if line.startswith("kind:")}
    assert found == set(deployment._KINDS)
