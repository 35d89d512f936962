"""The workload profiles by name, as the operator's setting names them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from talm.spokes.existing import EXISTING
from talm.spokes.own import TALM

PROFILES: Final = MappingProxyType({profile.name: profile for profile in (TALM, EXISTING)})
