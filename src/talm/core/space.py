"""How much space is asked for: a text such as `35 GiB` becomes whole GiB.

The grammar and the error texts are those of docker/go-units, which the existing operator uses.
"""

from __future__ import annotations

import re
from typing import Final

from talm.errors import BadSpec

_GIB: Final = 2**30
_LARGEST: Final = 2**63 - 1  # bytes; what Go's int64 holds
_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
# A number, perhaps one blank, perhaps a unit.
_SIZE: Final = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) ?(?P<unit>[^\d. ]*)", re.ASCII
)


def whole_gib(text: str) -> int:
    """Convert to GiB, rounded up; a bare number is in bytes.

    A letter `i` anywhere makes the unit binary (`GiB`), else it is decimal (`GB`).
    Raises BadSpec for everything else, negative sizes and Kubernetes' `Gi` included.
    """
    size = _SIZE.fullmatch(text.strip())
    if size is None:
        raise BadSpec(f"invalid size: '{text}'")
    bytes_wanted = float(size["number"]) * _multiplier(size["unit"].lower(), "i" in text)
    if bytes_wanted > _LARGEST:
        raise BadSpec(f"invalid size: '{text}'")
    return -(-int(bytes_wanted) // _GIB)


def _multiplier(unit: str, binary: bool) -> int:
    """Read `k`, `kb` or `kib` up to `p`, or `b`, or nothing."""
    if unit in {"", "b"}:
        return 1
    if unit[0] not in _POWERS or unit[1:] not in {"", "b", "ib"}:
        raise BadSpec(f"invalid suffix: '{unit}'")
    return int((1024 if binary else 1000) ** _POWERS[unit[0]])
