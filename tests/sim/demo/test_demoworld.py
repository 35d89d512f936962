"""What `talm demo` shows when nobody asks for anything else."""

from __future__ import annotations

from talm.sim.demo.demoworld import DemoSettings
from talm.spokes.bycluster import Way


def test_it_goes_the_way_that_the_manual_walks_through() -> None:
    assert Way(DemoSettings().transport) is Way.VIEW_ACTION
