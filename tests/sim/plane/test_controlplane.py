"""A real control plane: who gets in, what is kept, what is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from talm.api.kinds import CONFIG_MAP, NAMESPACE
from talm.errors import Forbidden, NotFound, SetupError
from talm.kube.client import Client
from talm.sim.plane import controlplane
from talm.sim.plane.controlplane import SPOKE_CONTROLLERS, ControlPlane, is_running
from talm.sim.plane.identities import ADMIN, Authority, Identity
from tests.conftest import StartControlPlane, skip_without

pytestmark = pytest.mark.integration
AGENT = "talm-tests"
LIVES_ALONE = """
import asyncio, sys
from pathlib import Path
from talm.sim.plane.controlplane import ControlPlane

async def main():
    async with ControlPlane(Path(sys.argv[1]), fsync=False) as plane:
        print(*(child.pid for child in plane.children), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def config_map(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"kept": "yes"},
    }


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - another process ends: nothing here to await
            await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def _programs() -> None:
    skip_without(own=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """One for the tests that break nothing."""
    skip_without(own=True)
    directory = tmp_path_factory.mktemp("plane")
    started = ControlPlane(directory, controllers="", fsync=False, audit=True)
    await started.start()
    yield started
    await started.stop(kill=True)
    shutil.rmtree(directory / "etcd")


async def test_rbac_refuses_a_user_without_a_role(plane: ControlPlane) -> None:
    kubeconfig = plane.kubeconfig_for("talm-operator")
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    async with await Client.connect(kubeconfig, user_agent=AGENT) as client:
        with pytest.raises(Forbidden, match="talm-operator"):
            await client.list(CONFIG_MAP, "default")


async def test_a_user_in_the_group_of_masters_may_do_everything(
    plane: ControlPlane,
) -> None:
    kubeconfig = plane.kubeconfig_for("agent", "system:masters")
    async with await Client.connect(kubeconfig, user_agent=AGENT) as client:
        await client.create(CONFIG_MAP, config_map("by-agent"))


async def test_another_ca_does_not_vouch_for_the_server_nor_for_a_client(
    plane: ControlPlane, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    wrong_ca = ssl.create_default_context(cafile=str(stranger.certificate))
    right_ca = ssl.create_default_context(cafile=str(plane.directory / "pki" / "ca.pem"))
    right_ca.load_cert_chain(*stranger.client_pair(ADMIN))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{plane.server}/readyz", ssl=wrong_ca)
        async with session.get(f"{plane.server}/api/v1/namespaces", ssl=right_ca) as answer:
            assert answer.status == 401


async def test_a_second_start_keeps_data_users_and_port(tmp_path: Path) -> None:
    first = await controlplane.start(tmp_path, name="hub", identities=[Identity("viewer")])
    server, viewer = first.server, first.kubeconfig_for("viewer").read_bytes()
    async with await Client.connect(first.kubeconfig, user_agent=AGENT) as client:
        await client.create(CONFIG_MAP, config_map("kept"))
        await first.stop()
        async with ControlPlane(tmp_path, fsync=False) as second:
            assert second.server == server
            assert second.kubeconfig_for("viewer").read_bytes() == viewer
            kept = await client.get(CONFIG_MAP, "kept", "default")  # the old credentials still do
            assert kept["data"] == {"kept": "yes"}


async def test_a_port_that_is_taken_is_replaced_and_the_kubeconfigs_follow(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        (tmp_path / "port").write_text(str(taken))
        async with ControlPlane(tmp_path, controllers="", fsync=False) as plane:
            assert not plane.server.endswith(f":{taken}")
            async with await Client.connect(plane.kubeconfig, user_agent=AGENT) as client:
                assert await client.get(NAMESPACE, "default")


async def test_one_directory_has_one_control_plane(plane: ControlPlane) -> None:
    assert is_running(plane.directory)
    with pytest.raises(SetupError, match=r"running in .* already"):
        await ControlPlane(plane.directory).start()


async def test_the_api_server_comes_back_on_its_port_after_a_crash(
    start_control_plane: StartControlPlane,
) -> None:
    plane = await start_control_plane("hub", controllers="")
    server = plane.server
    async with await Client.connect(plane.kubeconfig, user_agent=AGENT) as client:
        await client.create(CONFIG_MAP, config_map("survives"))
        await plane.restart_api_server(kill=True)
        assert plane.server == server
        assert await client.get(CONFIG_MAP, "survives", "default")


async def test_two_control_planes_share_an_etcd_and_no_data(
    start_control_plane: StartControlPlane, plane: ControlPlane
) -> None:
    spoke = await start_control_plane("spoke", controllers=SPOKE_CONTROLLERS, etcd=plane)
    assert len(spoke.children) == 2
    async with (
        await Client.connect(plane.kubeconfig, user_agent=AGENT) as on_hub,
        await Client.connect(spoke.kubeconfig, user_agent=AGENT) as on_spoke,
    ):
        await on_hub.create(CONFIG_MAP, config_map("on-the-hub"))
        with pytest.raises(NotFound):
            await on_spoke.get(CONFIG_MAP, "on-the-hub", "default")


async def test_every_call_is_in_the_audit_log_with_its_user_agent(
    plane: ControlPlane,
) -> None:
    async with await Client.connect(plane.kubeconfig, user_agent="counted") as client:
        await client.get(NAMESPACE, "default")
    assert plane.audit_log is not None
    log = plane.audit_log
    await until(lambda: '"userAgent":"counted"' in log.read_text())


async def test_stop_leaves_no_process_and_frees_the_directory(tmp_path: Path) -> None:
    plane = await ControlPlane(tmp_path, fsync=False).start()
    pids = [child.pid for child in plane.children]
    assert len(pids) == 3
    await plane.stop()
    assert not any(map(is_alive, pids))
    assert not is_running(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
async def test_the_programs_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LIVES_ALONE, str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert len(pids) == 3
    assert all(map(is_alive, pids))
    parent.send_signal(how)
    await parent.wait()
    await until(lambda: not any(map(is_alive, pids)))


async def test_a_program_that_ends_is_named_with_its_log_and_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    broken = programs / "kubernetes"
    broken.write_text("#!/bin/sh\necho this is why >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("TALM_CONTROLPLANE", str(programs))
    with pytest.raises(SetupError, match=r"exit code 3; its log is .*\.log") as raised:
        await ControlPlane(tmp_path / "hub").start()
    assert "this is why" in str(raised.value)
    assert not is_running(tmp_path / "hub")


async def test_a_program_that_dies_later_is_noticed(start_control_plane: StartControlPlane) -> None:
    plane = await start_control_plane("hub", controllers="")
    plane.check()
    os.kill(plane.children[-1].pid, signal.SIGKILL)
    await until(lambda: not plane.children[-1].runs)
    with pytest.raises(SetupError, match="etcd ended with signal 9"):
        plane.check()
