"""What `talm status` asks the hub for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from talm.cli.reading import Reader
from talm.cli.status import rows_of
from talm.kube.client import Client
from tests.cli.fleets import SMALL, summed


class Closed:
    """A client of a hub of which nothing may be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("the hub was asked")


async def test_a_list_of_cgus_that_have_sums_asks_nothing_of_their_clusters() -> None:
    reader = Reader(cast(Client, Closed()), "")
    (row,) = await rows_of(reader, [summed(SMALL)], clusters=False)
    assert row.tally.records == 4
    for cgu, clusters in ((summed(SMALL), True), (SMALL, False)):
        with pytest.raises(AssertionError, match="the hub was asked"):
            await rows_of(reader, [cgu], clusters=clusters)
