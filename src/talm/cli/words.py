"""Numbers as people read them: spans, sizes, rates, moments."""

from __future__ import annotations

import datetime as dt
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024


def span(time: dt.timedelta | float) -> str:
    """`45s`, `3m12s`, `18m`, `1h58m`, `3d4h`: two places at most, as kubectl has them."""
    seconds = round(time.total_seconds() if isinstance(time, dt.timedelta) else time)
    seconds = max(seconds, 0)
    if seconds < _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _two(seconds, _MINUTE, "m", 1, "s")
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < _DAY:
        return _two(seconds, _HOUR, "h", _MINUTE, "m")
    return _two(seconds, _DAY, "d", _HOUR, "h")


def _two(seconds: int, big: int, unit: str, small: int, part: str) -> str:
    rest = seconds % big // small
    return f"{seconds // big}{unit}" + (f"{rest}{part}" if rest else "")


def size(count: float) -> str:
    """`512 B`, `1.5 GiB`."""
    return _in_unit(count, _unit(count))


def part(done: float, total: float) -> str:
    """`1.2/16.0 GiB`: both in the unit of the whole."""
    power = _unit(total)
    whole = _in_unit(total, power)
    return f"{_number(done, power)}/{whole}"


def _unit(count: float) -> int:
    power = 0
    while count >= _STEP ** (power + 1) and power < len(_UNITS) - 1:
        power += 1
    return power


def _number(count: float, power: int) -> str:
    return f"{count / _STEP**power:.1f}" if power else f"{count:.0f}"


def _in_unit(count: float, power: int) -> str:
    return f"{_number(count, power)} {_UNITS[power]}"


def percent(done: float, total: float) -> str:
    """`42 %`; never 100 before all is there."""
    return f"{int(100 * done / total)} %" if total > 0 else ""


def moment(at: dt.datetime) -> str:
    """RFC 3339 with seconds, in UTC."""
    return f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
