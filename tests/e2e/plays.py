"""The whole script, in the order of its sections; importing the rows enters them."""

from __future__ import annotations

from typing import Final

from . import rows_acting, rows_collecting, rows_executing, rows_finding, rows_refreshing
from .script import ROWS, Row

_ENTERED: Final = (rows_acting, rows_collecting, rows_executing, rows_finding, rows_refreshing)
IN_ORDER: Final[tuple[Row, ...]] = tuple(sorted(ROWS.values(), key=lambda row: row.section))
