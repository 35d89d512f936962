"""Who we are, for months: rotated token files, credential plugins, certificates, and bad days."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web

from talm.api.kinds import CONFIG_MAP
from talm.errors import CredentialError, Forbidden
from talm.kube.client import Client
from talm.kube.credentials import Credentials
from talm.kube.exec_plugin import run_plugin
from talm.kube.kubeconfig import InCluster, Kubeconfig, find_source
from tests.kube.apiserver import ApiServer, refuse, write_kubeconfig

V1 = "client.authentication.k8s.io/v1"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def stamp(self, offset_s: float) -> str:
        return dt.datetime.fromtimestamp(self.now + offset_s, dt.UTC).isoformat()


class Gate:
    """Lets in one bearer token and counts what it saw."""

    def __init__(self, api: ApiServer, token: str) -> None:
        self.opens_for = token
        self.seen: list[str] = []
        api.hook = self._check

    async def _check(self, request: web.Request) -> web.StreamResponse | None:
        authorization = request.headers.get("Authorization", "")
        self.seen.append(authorization)
        if authorization == f"Bearer {self.opens_for}":
            return None
        return refuse(401, "Unauthorized", "Unauthorized")


class Plugin:
    """A credential plugin whose next answer a test decides; it counts its runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command = directory / "plugin"
        self._answer = directory / "answer"
        self._runs = directory / "runs"
        self._runs.write_text("")
        self.command.write_text(
            f"#!{sys.executable} -S\n"
            "import os, sys\n"
            f"open({str(self._runs)!r}, 'a').write(os.environ['KUBERNETES_EXEC_INFO'] + '\\n')\n"
            f"text = open({str(self._answer)!r}).read()\n"
            "sys.exit(text[5:]) if text.startswith('FAIL ') else print(text)\n"
        )
        self.command.chmod(self.command.stat().st_mode | stat.S_IXUSR)

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._runs.read_text().splitlines()]

    def answers(self, token: str = "", **status: str) -> None:
        status |= {"token": token} if token else {}
        credential = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
        self._answer.write_text(json.dumps(credential))

    def says(self, text: str) -> None:
        self._answer.write_text(text)

    def config(self, **more: Any) -> dict[str, Any]:
        return {"apiVersion": V1, "command": str(self.command), **more}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


@pytest.fixture
async def plugged(
    api: ApiServer, plugin: Plugin, clock: Clock, tmp_path: Path
) -> AsyncIterator[Client]:
    path = write_kubeconfig(tmp_path / "config", api.url, {"exec": plugin.config()})
    found = Credentials(Kubeconfig((path,)), clock=clock)
    async with Client(found, server=api.url, user_agent="test") as client:
        yield client


# --- token files


async def test_a_rotated_token_file_is_used_from_the_next_request_on(
    api: ApiServer, tmp_path: Path
) -> None:
    gate = Gate(api, "one")
    token = tmp_path / "token"
    token.write_text("one\n")
    path = write_kubeconfig(tmp_path / "config", api.url, {"tokenFile": "token", "token": "old"})
    async with await Client.connect(path, user_agent="test") as client:
        await client.list(CONFIG_MAP)
        replacement = tmp_path / "new"
        replacement.write_text("two\n")
        replacement.rename(token)
        gate.opens_for = "two"
        await client.list(CONFIG_MAP)
        token.unlink()
        await client.list(CONFIG_MAP)  # being replaced: the last one stays
        token.write_text("")
        await client.list(CONFIG_MAP)
    assert gate.seen == ["Bearer one", "Bearer two", "Bearer two", "Bearer two"]


async def test_a_token_that_was_rewritten_in_place_unnoticed_is_found_after_a_401(
    api: ApiServer, tmp_path: Path
) -> None:
    gate = Gate(api, "one")
    token = tmp_path / "token"
    token.write_text("one")
    path = write_kubeconfig(tmp_path / "config", api.url, {"tokenFile": str(token)})
    async with await Client.connect(path, user_agent="test") as client:
        await client.list(CONFIG_MAP)
        before = token.stat()
        token.write_text("two")
        os.utime(token, ns=(before.st_atime_ns, before.st_mtime_ns))
        gate.opens_for = "two"
        await client.create(CONFIG_MAP, {"metadata": {"name": "x", "namespace": "ns"}})
    assert gate.seen == ["Bearer one", "Bearer one", "Bearer two"]
    assert len(api.objects) == 1


async def test_a_token_file_that_is_missing_is_named_and_tried_again(
    api: ApiServer, tmp_path: Path
) -> None:
    path = write_kubeconfig(tmp_path / "config", api.url, {"tokenFile": "token"})
    async with await Client.connect(path, user_agent="test") as client:
        with pytest.raises(CredentialError, match=str(tmp_path / "token")):
            await client.list(CONFIG_MAP)
        (tmp_path / "token").write_text(" \n")
        with pytest.raises(CredentialError, match="empty"):
            await client.list(CONFIG_MAP)
        (tmp_path / "token").write_text("late")
        await client.list(CONFIG_MAP)


async def test_a_token_that_stays_refused_is_sent_twice_at_most_and_then_believed(
    api: ApiServer, tmp_path: Path
) -> None:
    gate = Gate(api, "another")
    path = write_kubeconfig(tmp_path / "config", api.url, {"token": "mine"})
    async with await Client.connect(path, user_agent="test") as client:
        for _ in range(3):
            with pytest.raises(Forbidden):
                await client.list(CONFIG_MAP)
        assert gate.seen == ["Bearer mine"] * 3
        write_kubeconfig(path, api.url, {"token": "another"})  # somebody logs in anew
        client._credentials._believe_401_until_s = 0.0
        await client.list(CONFIG_MAP)


async def test_the_token_of_the_pod_is_followed(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("one\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    source = InCluster(tmp_path)
    assert source.server() == "https://10.0.0.1:443"
    found = Credentials(source)
    assert (await found.current()).authorization == "Bearer one"
    (tmp_path / "token").write_text("second")
    assert (await found.current()).authorization == "Bearer second"
    assert (await found.current()).configuration.host == "https://10.0.0.1:443"


async def test_a_pod_without_its_service_account_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert InCluster(tmp_path).server() == "https://[fd00::1]:443"
    with pytest.raises(CredentialError, match="give a kubeconfig"):
        await InCluster(tmp_path).load()


# --- credential plugins


async def test_a_plugin_runs_again_shortly_before_its_token_expires(
    api: ApiServer, plugin: Plugin, plugged: Client, clock: Clock
) -> None:
    gate = Gate(api, "one")
    plugin.answers("one", expirationTimestamp=clock.stamp(3600))
    await plugged.list(CONFIG_MAP)
    clock.now += 3500
    await plugged.list(CONFIG_MAP)
    assert len(plugin.runs) == 1
    clock.now += 50
    plugin.answers("two", expirationTimestamp=clock.stamp(3600))
    gate.opens_for = "two"
    await plugged.list(CONFIG_MAP)
    assert len(plugin.runs) == 2
    assert gate.seen == ["Bearer one", "Bearer one", "Bearer two"]


async def test_a_plugin_runs_again_after_a_401_and_the_request_is_repeated_once(
    api: ApiServer, plugin: Plugin, plugged: Client
) -> None:
    gate = Gate(api, "one")
    plugin.answers("one")
    await plugged.list(CONFIG_MAP)
    gate.opens_for = "two"
    plugin.answers("two")
    await plugged.create(CONFIG_MAP, {"metadata": {"name": "x", "namespace": "ns"}})
    assert gate.seen == ["Bearer one", "Bearer one", "Bearer two"]
    assert len(plugin.runs) == 2


async def test_many_who_ask_at_once_run_the_plugin_once(
    api: ApiServer, plugin: Plugin, plugged: Client
) -> None:
    gate = Gate(api, "one")
    plugin.answers("one")
    await asyncio.gather(*(plugged.list(CONFIG_MAP) for _ in range(20)))
    assert len(plugin.runs) == 1
    gate.opens_for = "two"
    plugin.answers("two")
    await asyncio.gather(*(plugged.list(CONFIG_MAP) for _ in range(20)))
    assert len(plugin.runs) == 2


async def test_a_failing_plugin_fails_this_call_and_the_next_one_tries_again(
    api: ApiServer, plugin: Plugin, plugged: Client
) -> None:
    Gate(api, "one")
    plugin.says("FAIL please log in first")
    failures = await asyncio.gather(
        *(plugged.list(CONFIG_MAP) for _ in range(5)), return_exceptions=True
    )
    assert {type(failure) for failure in failures} == {CredentialError}
    assert "please log in first" in str(failures[0])
    assert str(plugin.command) in str(failures[0])
    assert len(plugin.runs) == 1
    plugin.answers("one")
    await plugged.list(CONFIG_MAP)


async def test_a_plugin_may_fail_as_long_as_its_last_token_is_good(
    api: ApiServer, plugin: Plugin, plugged: Client, clock: Clock
) -> None:
    Gate(api, "one")
    plugin.answers("one", expirationTimestamp=clock.stamp(3600))
    await plugged.list(CONFIG_MAP)
    plugin.says("FAIL the identity provider is down")
    clock.now += 3590
    await plugged.list(CONFIG_MAP)
    await plugged.list(CONFIG_MAP)
    assert len(plugin.runs) == 2, "not once per call"
    clock.now += 11
    with pytest.raises(CredentialError, match="identity provider"):
        await plugged.list(CONFIG_MAP)
    plugin.answers("one")
    await plugged.list(CONFIG_MAP)


async def test_a_plugin_learns_which_cluster_it_is_for_when_it_asks(
    api: ApiServer, plugin: Plugin, tmp_path: Path
) -> None:
    Gate(api, "one")
    plugin.answers("one")
    hint = {"audience": "hub"}
    extension = {"name": "client.authentication.k8s.io/exec", "extension": hint}
    options: dict[str, Any] = {"certificate-authority": "ca.pem", "extensions": [extension]}
    user = {"exec": plugin.config(command="./plugin", provideClusterInfo=True, args=["x"])}
    path = write_kubeconfig(tmp_path / "config", api.url, user, **options)
    async with await Client.connect(path, user_agent="test") as client:
        await client.list(CONFIG_MAP)
    assert plugin.runs[0]["spec"] == {
        "interactive": False,
        "cluster": {
            "server": api.url,
            "certificate-authority": str(tmp_path / "ca.pem"),
            "config": hint,
        },
    }


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("no json", "no ExecCredential"),
        ({"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {}}, "v1beta1"),
        ({"apiVersion": V1, "status": {}}, "neither a token nor a certificate"),
        ({"apiVersion": V1, "status": {"clientCertificateData": "x"}}, "only one of them"),
    ],
)
async def test_an_answer_that_is_no_credential_is_explained_without_showing_it(
    plugin: Plugin, answer: object, complaint: str
) -> None:
    plugin.says(answer if isinstance(answer, str) else json.dumps(answer))
    with pytest.raises(CredentialError, match=complaint):
        await run_plugin(plugin.config(), {}, plugin.directory)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"apiVersion": V1}, "malformed"),
        ({"apiVersion": V1, "command": "/no/such/plugin"}, "cannot be started"),
        (
            {"apiVersion": V1, "command": "/no/such/plugin", "installHint": "install it"},
            "install it",
        ),
        ({"apiVersion": V1, "command": "x", "interactiveMode": "Always"}, "wants a terminal"),
    ],
)
async def test_a_plugin_that_cannot_run_is_explained(
    config: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CredentialError, match=complaint):
        await run_plugin(config, {}, tmp_path)


async def test_a_plugin_that_hangs_is_ended(tmp_path: Path) -> None:
    config = {"apiVersion": V1, "command": "sleep", "args": ["3600"], "env": [{"name": "A"}]}
    with pytest.raises(CredentialError, match="no answer in 0 s"):
        await run_plugin(config, {}, tmp_path, timeout_s=0.05)


async def test_the_plugins_environment_is_ours_and_what_the_kubeconfig_adds(
    tmp_path: Path,
) -> None:
    answer = json.dumps({"apiVersion": V1, "status": {"token": "$GREETING"}})
    config = {
        "apiVersion": V1,
        "command": "sh",
        "args": ["-c", f"cat <<END\n{answer}\nEND"],
        "env": [{"name": "GREETING", "value": "hello"}],
    }
    assert "hello" in repr(await run_plugin(config, {}, tmp_path))


# --- certificates


async def test_a_new_client_certificate_of_a_plugin_means_new_connections(
    plugin: Plugin, clock: Clock, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    peers: list[int] = []

    async def note(request: web.Request) -> None:
        peers.append(request.get_extra_info("peercert")["serialNumber"])

    def hand_out(offset_s: float) -> None:
        issued = authority.issue_cert("client@hub.example")
        plugin.answers(
            clientCertificateData=b"".join(p.bytes() for p in issued.cert_chain_pems).decode(),
            clientKeyData=issued.private_key_pem.bytes().decode(),
            expirationTimestamp=clock.stamp(offset_s),
        )

    async with ApiServer().running(ssl_context=context) as api:
        api.hook = note
        options = {"certificate-authority": "ca.pem"}
        user = {"exec": plugin.config()}
        path = write_kubeconfig(tmp_path / "config", api.url, user, **options)
        found = Credentials(Kubeconfig((path,)), clock=clock)
        hand_out(3600)
        async with Client(found, server=api.url, user_agent="test") as client:
            watch = client.watch(CONFIG_MAP, "100")
            assert await anext(watch) == []
            first = asyncio.ensure_future(anext(watch))
            await client.list(CONFIG_MAP)
            clock.now += 3600
            hand_out(3600)
            await client.list(CONFIG_MAP)
            await client.list(CONFIG_MAP)
            api.put(CONFIG_MAP, "late")
            assert len(await first) == 1, "what is under way goes on with the old one"
            await watch.aclose()
    assert len(set(peers)) == 2
    assert peers[-1] == peers[-2]


# --- where it is looked for


async def test_a_kubeconfig_is_looked_for_where_kubectl_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CredentialError, match="--kubeconfig"):
        find_source(None)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert find_source(None) == InCluster()
    (tmp_path / ".kube").mkdir()
    home = write_kubeconfig(tmp_path / ".kube/config", "http://home", {})
    assert find_source(None) == Kubeconfig((home,))
    named = write_kubeconfig(tmp_path / "named", "http://named", {})
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}{os.pathsep}{named}")
    found = find_source(None)
    assert found.server() == "http://named"
    assert find_source(home).server() == "http://home"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(CredentialError, match="missing"):
        find_source(None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "kubectl config view"),
        ("[1, 2", "kubectl config view"),
        ("current-context: nowhere\ncontexts: []\nclusters: []\nusers: []\n", "nowhere"),
    ],
)
def test_an_unusable_kubeconfig_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(CredentialError, match=f"{path}.*{complaint}"):
        Kubeconfig((path,)).server()


async def test_identities_that_would_not_be_what_they_say_are_refused(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", "https://hub", {"as": "admin", "token": "t"})
    with pytest.raises(CredentialError, match="impersonates admin"):
        await Kubeconfig((path,)).load()
    text = path.read_text().replace("user: me", "user: nobody")
    path.write_text(text)
    with pytest.raises(CredentialError, match="names no user"):
        await Kubeconfig((path,)).load()


async def test_a_certificate_file_that_is_missing_is_named(tmp_path: Path) -> None:
    options = {"certificate-authority": "ca.pem"}
    path = write_kubeconfig(tmp_path / "config", "https://hub", {"token": "t"}, **options)
    with pytest.raises(CredentialError, match=r"ca\.pem"):
        await Credentials(Kubeconfig((path,))).current()


def test_the_namespace_is_that_of_the_context_or_of_the_pod(tmp_path: Path) -> None:
    file = tmp_path / "config"
    write_kubeconfig(file, "http://hub", {})
    assert find_source(file).namespace() == "default"
    text = yaml.safe_load(file.read_text())
    text["contexts"][0]["context"]["namespace"] = "ztp"
    file.write_text(yaml.safe_dump(text))
    assert find_source(file).namespace() == "ztp"
    assert InCluster(tmp_path).namespace() == "default"
    (tmp_path / "namespace").write_text("talm-system\n")
    assert InCluster(tmp_path).namespace() == "talm-system"
