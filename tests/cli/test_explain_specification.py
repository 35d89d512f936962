"""What `talm explain --cluster` says of a cluster that caches something else than most."""

from __future__ import annotations

from talm.cli.explain import one_cluster
from talm.core.precache_spec import spec_hash
from tests.cli.fleets import MORE, SMALL, asked_for_more
from tests.cli.test_explain_page import lines_of, looked


def test_a_cluster_that_caches_something_else_than_most_says_what() -> None:
    of = looked(cgu=asked_for_more(SMALL, "spoke-0003"))
    (line,) = [text for text in lines_of([one_cluster(of, "spoke-0003")]) if "caches" in text]
    assert line.strip() == (
        f"caches     specification {spec_hash(MORE)}, which is not that of most clusters:"
        " quay.io/ocp-release:4.14.1, sriov:stable"
    )
    assert "caches" in one_cluster(of, "spoke-0003").document()
    assert "caches" not in one_cluster(of, "spoke-0004").document()
