"""An edge link in user space: rate, delay, queue, loss and flapping between two network namespaces.

    our namespace (hub, 10.98.0.1) ══ TUN "edge" ══ this process ══ TUN "edge" ══ spoke, 10.98.0.2

Real packets of real TCP connections pass, so that slow start, retransmissions and time-outs are
the kernel's own; only IPv4 on these two devices.  It stands in for `tc netem`, which many kernels
of build machines lack.  The spoke's namespace has no name and goes with this process.

Run by `Edge`, which talks to it on standard input: `begin` starts the flapping, `stats` is answered
with one line of JSON.  Its end is the end of standard input.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from talm.errors import SetupError

HUB: Final = "10.98.0.1"
SPOKE: Final = "10.98.0.2"
DEVICE: Final = "edge"
MTU: Final = 1500

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
_CLONE_NEWNET: Final = 0x40000000
_TCP: Final = 6
_FIRST: Final = -20  # a wire does not wait for a processor, whatever is measured or runs beside it
_AT_ONCE: Final = 64  # packets from one side before the other one is looked at


@dataclass(frozen=True)
class Link:
    """One edge link.  `loss` is a share of the packets; `up_s` and `down_s` 0: it stays up.

    `queue_ms`: how much waits before the bottleneck; what does not fit is dropped, as in a modem.
    """

    rate_mbit: float
    rtt_ms: float
    loss: float = 0.0
    up_s: float = 0.0
    down_s: float = 0.0
    queue_ms: float = 100.0

    @property
    def bytes_per_s(self) -> float:
        """The rate of either direction."""
        return self.rate_mbit * 1e6 / 8

    @property
    def name(self) -> str:
        """`20 Mbit/s 60 ms`, for tables."""
        return f"{self.rate_mbit:g} Mbit/s {self.rtt_ms:g} ms"

    def is_up(self, since_s: float) -> bool:
        """Tell whether packets pass, so many seconds after the flapping began."""
        if not self.down_s:
            return True
        return since_s % (self.up_s + self.down_s) < self.up_s

    def ideal_s(self, size: int) -> float:
        """How long a transfer of `size` bytes takes that wastes no second of the link being up."""
        busy_s = size / self.bytes_per_s
        if not self.down_s:
            return busy_s
        pauses = max(0, -(-busy_s // self.up_s) - 1)
        return float(busy_s + pauses * self.down_s)


@dataclass
class Direction:
    """What happens to packets one way; times are seconds of any clock that does not jump."""

    link: Link
    seed: int = 7
    sent: int = 0
    payload: int = 0
    dropped: int = 0
    _free_at: float = 0.0
    _waiting: deque[tuple[float, bytes]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)  # noqa: S311

    def offer(self, packet: bytes, now: float, *, up: bool = True) -> None:
        """Take a packet in, or drop it: the link is down, the queue is full, or bad luck."""
        begins = max(now, self._free_at)
        if not up or begins - now > self.link.queue_ms / 1000:
            self.dropped += 1
            return
        self._free_at = begins + len(packet) / self.link.bytes_per_s
        if self.link.loss and self._dice.random() < self.link.loss:
            self.dropped += 1  # after the bottleneck: it has cost its time
            return
        self._waiting.append((self._free_at + self.link.rtt_ms / 2000, packet))

    def due(self, now: float) -> list[bytes]:
        """Take out what has arrived by now."""
        arrived: list[bytes] = []
        while self._waiting and self._waiting[0][0] <= now:
            packet = self._waiting.popleft()[1]
            self.sent += len(packet)
            self.payload += tcp_payload(packet)
            arrived.append(packet)
        return arrived

    def next_due(self) -> float | None:
        """When the next packet arrives; None: nothing is on its way."""
        return self._waiting[0][0] if self._waiting else None


def tcp_payload(packet: bytes) -> int:
    """Return how many bytes of a connection's content an IPv4 packet carries."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != _TCP:
        return 0
    header = (packet[0] & 0xF) * 4
    return int.from_bytes(packet[2:4], "big") - header - (packet[header + 12] >> 4) * 4


class Edge:
    """The link as a child process; raises SetupError with its words when it cannot be."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def __enter__(self) -> Edge:
        parameters = json.dumps(vars(self.link))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.edgelink", parameters],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is the parent's alone
        )
        if self._line() != "ready":
            raise SetupError(f"no edge link: {self._process.communicate()[1].strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @property
    def spoke(self) -> list[str]:
        """The first words of a command that is to run at the far end."""
        return ["nsenter", f"--net=/proc/{self._process.pid}/ns/net"]

    def begin(self) -> None:
        """From now on it flaps, if it is one that does."""
        self._say("begin")

    def received(self) -> int:
        """Return how many bytes of connections have reached the spoke so far."""
        self._say("stats")
        return int(json.loads(self._line())["payload"])

    def _say(self, word: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()

    def _line(self) -> str:
        return self._process.stdout.readline().strip() if self._process.stdout else ""


def _open_tun(address: str, peer: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN_NO_PI))
    for command in (
        ["link", "set", "lo", "up"],
        ["addr", "add", address, "peer", peer, "dev", DEVICE],
        ["link", "set", DEVICE, "up", "mtu", str(MTU), "txqueuelen", "1000"],
    ):
        subprocess.run(["ip", *command], check=True)
    return device


def _leave_for_a_new_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace of our own")


class _Forwarding:
    """The loop between two devices."""

    def __init__(self, link: Link, hub: int, spoke: int) -> None:
        self._link = link
        self._down, self._up = Direction(link), Direction(link, seed=8)
        self._ways = ((hub, spoke, self._down), (spoke, hub, self._up))
        self._began: float | None = None

    def run(self) -> None:
        """Forward until standard input ends."""
        while True:
            now = time.monotonic()
            self._deliver(now)
            dues = [due for _, _, way in self._ways if (due := way.next_due()) is not None]
            patience = max(0.0, min(dues) - time.monotonic()) if dues else None
            devices = [source for source, _, _ in self._ways]
            ready, _, _ = select.select([*devices, sys.stdin], [], [], patience)
            if sys.stdin in ready and not self._obey(sys.stdin.readline().strip()):
                return
            for source, _, way in self._ways:
                if source in ready:
                    self._take(source, way)

    def _deliver(self, now: float) -> None:
        for _, target, way in self._ways:
            for packet in way.due(now):
                try:
                    os.write(target, packet)
                except BlockingIOError:
                    way.dropped += 1

    def _take(self, source: int, way: Direction) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(source, 65536)
            except BlockingIOError:
                return
            now = time.monotonic()
            up = self._began is None or self._link.is_up(now - self._began)
            way.offer(packet, now, up=up)

    def _obey(self, word: str) -> bool:
        match word:
            case "begin":
                self._began = time.monotonic()
            case "stats":
                counted: dict[str, Any] = {
                    name: getattr(self._down, name) for name in ("sent", "payload", "dropped")
                }
                print(json.dumps(counted), flush=True)
        return bool(word)


def main() -> None:
    """Be the link that the first argument describes (JSON of `Link`)."""
    link = Link(**json.loads(sys.argv[1]))
    hub = _open_tun(HUB, SPOKE)
    _leave_for_a_new_namespace()
    spoke = _open_tun(SPOKE, HUB)
    os.nice(_FIRST)
    print("ready", flush=True)
    _Forwarding(link, hub, spoke).run()


if __name__ == "__main__":
    main()
