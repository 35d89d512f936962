"""A whole run by the files of its node."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from talm.agent.main import run_agent
from talm.agent.transfer.node import Node, read_node
from talm.api.progress import EXIT_CODES, FailureClass
from talm.sim.images import SyntheticImage

from ..conftest import SettingsFor
from ..faultyregistry import USER, FaultyRegistry


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_a_node_without_files_is_the_default_one(tmp_path: Path) -> None:
    assert read_node(tmp_path, None, {}) == Node()


async def test_a_run_takes_a_mirror_and_the_nodes_pull_secret(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    registry.add(release)
    registry.wants_tokens()
    root = tmp_path / "node"
    auth = base64.b64encode(USER.encode()).decode()
    auths = {"auths": {f"{registry.host}/openshift-release": {"auth": auth}}}
    write(root, "var/lib/kubelet/config.json", json.dumps(auths))
    text = f'[[registry]]\nprefix = "quay.invalid"\nlocation = "{registry.host}"'
    write(root, "etc/containers/registries.conf.d/10-mirrors.conf", text)
    spec = f"quay.invalid/{release.repository}@{release.digest}"
    assert await run_agent(settings_for(spec, host_root=root, bandwidth_mbit_s=800.0)) == 0
    index = json.loads((tmp_path / "images/index.json").read_text())
    assert list(index["manifests"][0]["annotations"].values()) == [spec], "its own name"


@pytest.mark.parametrize(
    ("text", "kind"),
    [("blocked = true", FailureClass.UNAUTHORIZED), ("blocked = 3", FailureClass.INVALID_SPEC)],
)
async def test_a_run_ends_where_the_node_forbids_or_garbles(
    registry: FaultyRegistry,
    release: SyntheticImage,
    settings_for: SettingsFor,
    tmp_path: Path,
    text: str,
    kind: FailureClass,
) -> None:
    root = tmp_path / "node"
    text = f'[[registry]]\nlocation = "{registry.host}"\n{text}'
    write(root, "etc/containers/registries.conf", text)
    code = await run_agent(settings_for(registry.add(release), host_root=root))
    assert code == EXIT_CODES[kind]
    assert registry.asked == []


async def test_a_refusal_names_the_credential_providers_of_the_kubelet(
    registry: FaultyRegistry, release: SyntheticImage, settings_for: SettingsFor, tmp_path: Path
) -> None:
    root = tmp_path / "node"
    providers = "etc/kubernetes/credential-providers/ecr-credential-provider.yaml"
    write(root, providers, "kind: CredentialProviderConfig")
    spec = registry.add(release)
    registry.wants_passwords()
    assert (
        await run_agent(settings_for(spec, host_root=root)) == EXIT_CODES[FailureClass.UNAUTHORIZED]
    )
    assert providers in (tmp_path / "termination-log").read_text()
