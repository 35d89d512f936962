from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from bench.edgelink import HUB, Direction, Link, tcp_payload

LINK = Link(rate_mbit=8, rtt_ms=100)  # a byte each microsecond
ROOT = Path(__file__).parents[2]


def packet(size: int) -> bytes:
    """An IPv4 packet with TCP inside, `size` bytes in all, no options in either header."""
    inside = bytearray(size)
    inside[0], inside[9], inside[32] = 0x45, socket.IPPROTO_TCP, 5 << 4
    inside[2:4] = size.to_bytes(2, "big")
    return bytes(inside)


def test_a_packet_takes_its_time_at_the_bottleneck_and_half_the_round_trip() -> None:
    way = Direction(LINK)
    way.offer(packet(1000), now=5.0)
    assert way.next_due() == pytest.approx(5.051)
    assert way.due(5.050) == []
    assert way.due(5.052) == [packet(1000)]
    assert way.next_due() is None


def test_packets_wait_for_each_other() -> None:
    way = Direction(LINK)
    for _ in range(3):
        way.offer(packet(1000), now=0.0)
    assert len(way.due(0.0525)) == 2
    assert way.next_due() == pytest.approx(0.053)


def test_a_rate_is_kept_over_time() -> None:
    way = Direction(LINK)
    for millisecond in range(2000):  # twice what passes
        for _ in range(2):
            way.offer(packet(1000), now=millisecond / 1000)
    way.due(2.05)
    assert way.sent == pytest.approx(2_000_000, rel=0.01)


def test_what_does_not_fit_into_the_queue_is_dropped() -> None:
    way = Direction(LINK)
    for _ in range(200):
        way.offer(packet(1000), now=0.0)
    passed = len(way.due(10.0))
    assert passed in (100, 101)  # 100 ms of them, and the one at work if rounding is kind
    assert way.dropped == 200 - passed


def test_nothing_passes_a_link_that_is_down() -> None:
    way = Direction(LINK)
    way.offer(packet(1000), now=0.0, up=False)
    assert (way.due(10.0), way.dropped) == ([], 1)


def test_a_share_of_the_packets_is_lost() -> None:
    way = Direction(Link(rate_mbit=8, rtt_ms=0, loss=0.1))
    for number in range(5000):
        way.offer(packet(100), now=number / 1000)
    way.due(10.0)
    assert way.dropped == pytest.approx(500, rel=0.2)


def test_flapping_follows_its_schedule() -> None:
    link = Link(50, 40, up_s=15, down_s=30)
    assert [link.is_up(second) for second in (0, 14, 16, 44, 46, 59, 61)] == [
        True, True, False, False, True, True, False,
    ]  # fmt: skip
    assert Link(50, 40).is_up(1e6)


@pytest.mark.parametrize(
    "megabytes, seconds",
    [(10, 10), (15, 15), (20, 50), (30, 60), (31, 91)],  # 1 MB/s, 15 s up and 30 s down
)
def test_the_ideal_transfer_wastes_no_second_of_the_link_being_up(
    megabytes: int, seconds: int
) -> None:
    assert Link(8, 40, up_s=15, down_s=30).ideal_s(megabytes * 1_000_000) == seconds
    assert Link(8, 40).ideal_s(megabytes * 1_000_000) == megabytes


def test_only_the_content_of_connections_is_counted() -> None:
    assert tcp_payload(packet(1500)) == 1460
    udp = bytearray(packet(1500))
    udp[9] = socket.IPPROTO_UDP
    assert tcp_payload(bytes(udp)) == 0
    assert tcp_payload(b"\x60" + bytes(60)) == 0  # IPv6
    way = Direction(LINK)
    way.offer(packet(140), now=0.0)
    way.due(1.0)
    assert (way.sent, way.payload) == (140, 100)


_THROUGH_IT = f"""
import socket, subprocess, sys
from bench.edgelink import Edge, Link

with Edge(Link(rate_mbit=50, rtt_ms=10)) as edge, socket.create_server(("{HUB}", 0)) as server:
    port = server.getsockname()[1]
    read = f"import socket; s = socket.create_connection(('{HUB}', {{port}})); " + (
        "print(sum(len(part) for part in iter(lambda: s.recv(65536), b'')))"
    )
    far = subprocess.Popen([*edge.spoke, sys.executable, "-c", read])
    connection, peer = server.accept()
    with connection:
        connection.sendall(bytes(300_000))
    far.wait()
    print(peer[0], 300_000 <= edge.received() < 330_000)
"""


def test_a_connection_crosses_the_real_link() -> None:
    if os.geteuid() or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces and TUN devices need root's rights")
    done = subprocess.run(
        ["unshare", "--net", "--kill-child", sys.executable, "-c", _THROUGH_IT],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert done.stdout.split() == ["300000", "10.98.0.2", "True"], done.stderr
