"""Programs of a few bytes for images that must run: static, for Linux on x86-64, without a compiler."""

from __future__ import annotations

import struct
from typing import Final

ELF: Final = b"\x7fELF"

_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56
_PAGE: Final = 0x1000


def says(text: str) -> bytes:
    """A program that writes `text` to its standard output and exits with 0."""
    said = text.encode()
    length = struct.pack("<I", len(said)).hex()
    # write(1, text, length); exit(0); the text follows the code
    return _program(
        f"b801000000 bf01000000 488d3510000000 ba{length} 0f05 b83c000000 31ff 0f05", said
    )


def sleeps() -> bytes:
    """A program that waits to be killed, as the one that holds a pod's namespaces does."""
    return _program("b822000000 0f05 ebf7")  # for ever: pause()


def _program(code: str, data: bytes = b"") -> bytes:
    """One segment with code (hexadecimal) and data, entered at its beginning."""
    body = bytes.fromhex(code) + data
    size = _HEADERS + len(body)
    ident = ELF + b"\x02\x01\x01" + bytes(9)
    file = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, 62, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, _PAGE)
    return file + segment + body
