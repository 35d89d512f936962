"""The real registry: pushes by digest come back, also after a restart."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import aiohttp
import pytest

from talm.errors import SetupError
from talm.sim.plane.registry import Registry
from tests.conftest import skip_without_program

pytestmark = pytest.mark.integration


async def push_blob(session: aiohttp.ClientSession, registry: Registry, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    async with session.post(f"{registry.url}/v2/release/blobs/uploads/") as answer:
        location = answer.headers["Location"]
    async with session.put(location, params={"digest": digest}, data=content) as answer:
        assert answer.status == 201
    return digest


async def test_content_survives_a_restart_under_the_same_address(tmp_path: Path) -> None:
    skip_without_program("registry")
    registry = Registry(tmp_path)
    async with registry, aiohttp.ClientSession() as session:
        address = registry.address
        digest = await push_blob(session, registry, b"a layer")
    async with registry, aiohttp.ClientSession() as session:
        assert registry.address == address
        async with session.get(f"{registry.url}/v2/release/blobs/{digest}") as answer:
            assert await answer.read() == b"a layer"


async def test_content_can_be_deleted(tmp_path: Path) -> None:
    skip_without_program("registry")
    async with Registry(tmp_path) as registry, aiohttp.ClientSession() as session:
        digest = await push_blob(session, registry, b"a layer")
        blob = f"{registry.url}/v2/release/blobs/{digest}"
        async with session.delete(blob) as answer:
            assert answer.status == 202
        async with session.get(blob) as answer:
            assert answer.status == 404


async def test_it_listens_on_the_loopback_interface_only(tmp_path: Path) -> None:
    skip_without_program("registry")
    async with Registry(tmp_path) as registry:
        listening = re.findall(r"^ *\d+: (\w+):(\w+) \w+:\w+ 0A", read_sockets(), re.MULTILINE)
        assert ("0100007F", f"{registry.port:04X}") in listening
        assert all(host == "0100007F" for host, port in listening if int(port, 16) == registry.port)


def read_sockets() -> str:
    """Every TCP socket of this machine, as the kernel lists them (IPv6 is a table of its own)."""
    return "".join(Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6"))


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    skip_without_program("registry")
    async with Registry(tmp_path / "one") as one:
        with pytest.raises(SetupError, match="address already in use"):
            await Registry(tmp_path / "two", port=one.port).start()


async def test_without_the_program_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALM_CONTROLPLANE", os.fspath(tmp_path))
    with pytest.raises(SetupError, match="'make controlplane' builds it"):
        await Registry(tmp_path).start()
