"""A server that answers with the very bytes that a test gives it, well-formed or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator


class RawServer:
    """`answers` are sent one per request; `requests` are kept, heads only."""

    def __init__(self, *answers: bytes) -> None:
        self.host = ""
        self.answers = deque(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.hangs_up = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client is gone, or once when this server `hangs_up`."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.popleft() if self.answers else b"HTTP/1.1 500 Empty\r\n\r\n"
                writer.write(answer)
                await writer.drain()
                if self.hangs_up or not self.answers:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def serve_raw(*answers: bytes, address: str = "127.0.0.1") -> AsyncIterator[RawServer]:
    """Serve on loopback; `host` is how a reference names it."""
    server = RawServer(*answers)
    listening = await asyncio.start_server(server.serve, address, 0)
    port = listening.sockets[0].getsockname()[1]
    server.host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        yield server
    finally:
        listening.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(listening.wait_closed(), 5)


def answer(body: bytes, *headers: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    """An HTTP answer without a length: its end is the connection's."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/{version} {status}", *headers))
    return f"{head}\r\n".encode() + body


def chunked(*pieces: bytes, ended: bool = True) -> bytes:
    """The body of an answer with `Transfer-Encoding: chunked`."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return body + b"0\r\n\r\n" if ended else body
