"""The record in a ConfigMap of a real API server, written with the account that the Job gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from talm.agent import attempts
from talm.agent.failures import failure
from talm.agent.progress import Progress
from talm.agent.sinks import ConfigMapSink, connect
from talm.api import kinds
from talm.api.kinds import Kind
from talm.api.progress import PROGRESS_CONFIG_MAP, RECORD_KEY, FailureClass, ProgressRecord
from talm.api.words import Action
from talm.errors import TalmError
from talm.kube.client import Client
from talm.sim.plane.hubs import Hub
from talm.spokes.manifests import ACCOUNT
from talm.spokes.own import TALM
from tests.spokes.world import ORDER

from .conftest import until

MADE: Mapping[Action, Kind] = {
    Action.SA_CREATE: kinds.SERVICE_ACCOUNT,
    Action.ROLE_CREATE: kinds.ROLE,
    Action.ROLE_BINDING_CREATE: kinds.ROLE_BINDING,
    Action.PROGRESS_CREATE: kinds.CONFIG_MAP,
}


class Spoke:
    """A namespace as the operator makes it, and the token that the pod has in a file."""

    def __init__(self, client: Client, namespace: str, token_file: Path) -> None:
        self._client = client
        self._token_file = token_file
        self.namespace = namespace

    async def make(self, *actions: Action) -> None:
        for action in actions:
            body = TALM.action(action, "spoke1", ORDER, namespace=self.namespace)
            await self._client.create(MADE[action], body["spec"]["kube"]["template"])

    async def give_token(self) -> None:
        path = kinds.SERVICE_ACCOUNT.path(self.namespace, ACCOUNT, "token")
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = json.loads(await self._client.request("POST", path, body=request))
        self.take_token(answer["status"]["token"])

    def take_token(self, token: str) -> None:
        fresh = self._token_file.with_suffix(".new")
        fresh.write_text(token)
        fresh.replace(self._token_file)

    async def data(self) -> dict[str, str]:
        found = await self._client.get(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, self.namespace)
        data: dict[str, str] = found.get("data") or {}
        return data

    async def record(self) -> ProgressRecord:
        return msgspec.json.decode((await self.data())[RECORD_KEY], type=ProgressRecord)

    def sink(self, interval_s: float = 0.05) -> ConfigMapSink:
        sink = ConfigMapSink(self.namespace, PROGRESS_CONFIG_MAP)
        sink.interval_s = interval_s
        return sink


@pytest.fixture
async def spoke(
    hub: Hub, hub_client: Client, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Spoke:
    """The account's rights are there, its ConfigMap is not; $KUBECONFIG has its token file."""
    config: dict[str, Any] = yaml.safe_load(hub.kubeconfig.read_text())
    token_file = tmp_path / "token"
    for user in config["users"]:
        user["user"] = {"tokenFile": str(token_file)}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    spoke = Spoke(hub_client, namespace, token_file)
    await spoke.make(Action.SA_CREATE, Action.ROLE_CREATE, Action.ROLE_BINDING_CREATE)
    await spoke.give_token()
    return spoke


async def until_logged(capsys: pytest.CaptureFixture[str], words: str) -> str:
    said: list[str] = []

    def is_said() -> bool:
        said.append(capsys.readouterr().out)
        return words in "".join(said)

    await until(is_said)
    return "".join(said)


async def test_every_phase_is_in_the_config_map_and_nothing_else_changes(
    spoke: Spoke, hub_client: Client
) -> None:
    await spoke.make(Action.PROGRESS_CREATE)
    other = {"data": {"other": "stays"}}
    await hub_client.merge_patch(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, other, spoke.namespace)
    progress = Progress("run-1")
    async with progress.told_to([spoke.sink(3600.0)]):
        progress.planned(images=3, total=100, held=0, names=["a"])
        progress.finish(failure(FailureClass.UNAUTHORIZED, "401"))
    found = await spoke.record()
    assert (found.run, found.phase, found.error_class) == ("run-1", "Failed", "Unauthorized")
    assert found.missing == ("a",)
    assert (await spoke.data())["other"] == "stays"


async def test_a_config_map_that_comes_late_gets_the_record(
    spoke: Spoke, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("run-1")
    async with progress.told_to([spoke.sink()]):
        await until_logged(capsys, "not found")
        await spoke.make(Action.PROGRESS_CREATE)
        progress.finish(None)
    assert (await spoke.record()).phase == "Succeeded"


async def test_a_token_that_was_renewed_counts_at_the_next_turn(
    spoke: Spoke, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talm.kube.credentials.BELIEVE_401_S", 0.0)
    await spoke.make(Action.PROGRESS_CREATE)
    spoke.take_token("expired")
    progress = Progress("run-1")
    async with progress.told_to([spoke.sink()]):
        said = await until_logged(capsys, "Unauthorized")
        await spoke.give_token()
        progress.finish(None)
    assert (await spoke.record()).phase == "Succeeded"
    assert "expired" not in said


async def test_the_account_may_list_pods_of_its_namespace_and_hardly_anything_else(
    spoke: Spoke,
) -> None:
    await spoke.make(Action.PROGRESS_CREATE)
    assert await attempts._pods(spoke.namespace) == []
    async with await connect() as client:
        for kind, name in ((kinds.CONFIG_MAP, "pre-cache-spec"), (kinds.SECRET, "any")):
            with pytest.raises(TalmError, match="forbidden"):
                await client.get(kind, name, spoke.namespace)
        with pytest.raises(TalmError, match="forbidden"):
            await client.list(kinds.POD, "kube-system")
        with pytest.raises(TalmError, match="forbidden"):
            await client.delete(kinds.CONFIG_MAP, PROGRESS_CONFIG_MAP, spoke.namespace)
