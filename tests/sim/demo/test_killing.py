"""What is fetched after an agent was killed, out of what one line has carried to all clusters."""

from __future__ import annotations

from talm.sim.demo.killing import Killed


def test_what_the_others_lacked_is_not_the_killed_ones() -> None:
    killed = Killed("cnfdb1", held={"cnfdb1": 30, "cnfdb2": 20}, carried=60)
    total = {"cnfdb1": 100, "cnfdb2": 100}
    assert killed.resumed(total, carried=60 + 70 + 80) == {"held": 30, "fetched": 70, "total": 100}


def test_beginning_anew_shows() -> None:
    killed = Killed("cnfdb1", held={"cnfdb1": 30, "cnfdb2": 20}, carried=60)
    total = {"cnfdb1": 100, "cnfdb2": 100}
    assert killed.resumed(total, carried=60 + 100 + 80)["fetched"] == 100
