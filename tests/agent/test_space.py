"""The arithmetic of space, on file systems that are only described."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.agent.content.manifests import Blob, Image
from talm.agent.content.references import parse
from talm.agent.plan import Plan, make_plan
from talm.agent.space import (
    NO_KUBELET,
    FileSystem,
    Limit,
    Needs,
    Role,
    Rules,
    needs_of,
    shortages,
    warnings,
)
from talm.agent.transfer.registry import Document, digest_of

GIB = 1 << 30
ALL = frozenset(Role) - {Role.IMPORTS}
ONE = FileSystem("/var", ALL, 100 * GIB, 50 * GIB)
STORE = FileSystem("/var/lib/containers", frozenset({Role.IMAGES}), 100 * GIB, 50 * GIB)
SPOOL = FileSystem("/spool", frozenset({Role.SPOOL}), 100 * GIB, 50 * GIB)


def image(name: str, **layers: int) -> Image:
    """An image with layers of so many GiB."""
    reference = parse(f"quay.io/a/{name}@{digest_of(name.encode())}")
    blobs = tuple(Blob(digest_of(layer.encode()), size * GIB) for layer, size in layers.items())
    return Image(reference, (Document(digest_of(name.encode()), "", b""),), blobs)


def plan_of(*images: Image, cached: str = "", spooled: int = 0) -> Plan:
    """A plan; `cached` names the layers that the store has, `spooled` GiB of each other are here."""
    held = {digest_of(layer.encode()) for layer in cached.split()}
    missing = {i.digest: [b for b in i.blobs if b.digest not in held] for i in images}
    here = {b.digest: spooled * GIB for blobs in missing.values() for b in blobs}
    return make_plan(images, missing, here)


TWO = (image("a", base=4, top=1), image("b", base=4, other=3))


def test_a_layer_that_two_images_share_counts_once() -> None:
    needs = needs_of(plan_of(*TWO), "containers-storage", 0)
    assert (needs.spool, needs.store) == (8 * GIB, 16 * GIB)
    assert needs.bytes_on(ONE) == 24 * GIB


@pytest.mark.parametrize(
    ("kind", "store", "on_one"),
    [
        ("oci-layout", 8, 8),  # blobs are moved, not copied
        ("containers-storage", 16, 24),
        ("containerd", 24, 32),  # keeps the layers as they came, too
        ("something-new", 24, 32),
    ],
)
def test_what_a_store_takes_depends_on_what_it_keeps(kind: str, store: int, on_one: int) -> None:
    needs = needs_of(plan_of(*TWO), kind, 0)
    assert needs.bytes_on(STORE) == store * GIB
    assert needs.bytes_on(SPOOL) == 8 * GIB
    assert needs.bytes_on(ONE) == on_one * GIB


def test_copies_of_the_largest_images_at_once_count_where_they_are_made() -> None:
    many = (image("a", a=4), image("b", b=3), image("c", c=2, shared=3), image("d", shared=3))
    needs = needs_of(plan_of(*many), "containers-storage", 0)
    assert needs.imports == (2 + 3 + 4) * GIB
    assert needs_of(plan_of(*many, cached="a shared"), "containers-storage", 0).imports == 5 * GIB
    copies = FileSystem("/copies", frozenset({Role.IMPORTS}), 100 * GIB, 9 * GIB)
    assert needs.bytes_on(copies) == 9 * GIB
    assert needs.bytes_on(dataclasses.replace(SPOOL, roles=frozenset({Role.SPOOL}))) == 12 * GIB
    together = dataclasses.replace(
        SPOOL, roles=frozenset({Role.SPOOL, Role.IMPORTS}), free=20 * GIB
    )
    (said,) = shortages(needs, [copies, together], Rules())
    assert said == "/spool (spool and imports): 21.00 GiB needed, 20.00 GiB free"


def test_what_the_spool_holds_need_not_be_found_again() -> None:
    needs = needs_of(plan_of(*TWO, spooled=1), "containers-storage", 0)
    assert (needs.spool, needs.store) == (5 * GIB, 16 * GIB)


def test_nothing_missing_needs_nothing_whatever_is_required() -> None:
    needs = needs_of(plan_of(*TWO, cached="base top other"), "containerd", 10_000)
    assert needs == Needs()
    full = dataclasses.replace(ONE, free=0)
    assert shortages(needs, [full], Rules()) == ()


def test_what_is_required_is_insisted_on_beyond_the_estimate() -> None:
    (said,) = shortages(needs_of(plan_of(*TWO), "oci-layout", 60), [ONE], NO_KUBELET)
    assert said == "/var (image store and spool and kubelet): 60.00 GiB needed, 50.00 GiB free"


def test_an_attempt_that_goes_on_is_not_asked_for_what_the_first_one_has_used() -> None:
    first = needs_of(plan_of(*TWO), "containers-storage", 35)
    second = needs_of(plan_of(*TWO, cached="base", spooled=1), "containers-storage", 35)
    assert first.required == 35 * GIB
    assert second.required == (35 - 8 - 2) * GIB


def test_free_is_what_is_free_under_the_image_gc_threshold() -> None:
    needs = Needs(store=36 * GIB)
    (said,) = shortages(needs, [STORE], Rules(85, source="/etc/kubernetes/kubelet.conf"))
    assert said == (
        "/var/lib/containers (image store): 36.00 GiB needed, 35.00 GiB free under the kubelet's"
        " threshold of 85 % (15.00 GiB of 100.00 GiB stay free; /etc/kubernetes/kubelet.conf)"
    )
    assert shortages(Needs(store=35 * GIB), [STORE], Rules(85)) == ()
    assert shortages(needs, [STORE], Rules(90, imagefs=Limit(0.10))) == ()
    assert shortages(needs, [STORE], Rules(90, imagefs=Limit(amount=20 * GIB))) != ()


def test_each_limit_counts_on_its_own_file_system() -> None:
    kubelet = FileSystem("/var/lib/kubelet", frozenset({Role.KUBELET}), 100 * GIB, 1)
    spool = dataclasses.replace(SPOOL, free=8 * GIB)
    needs = needs_of(plan_of(*TWO), "containers-storage", 0)
    assert shortages(needs, [STORE, spool, kubelet], Rules()) == ()
    (said,) = shortages(needs, [STORE, dataclasses.replace(spool, free=1), kubelet], Rules())
    assert said == "/spool (spool): 8.00 GiB needed, 0.00 GiB free"
    shared = FileSystem("/v", frozenset({Role.KUBELET, Role.SPOOL}), 100 * GIB, 17 * GIB)
    assert shortages(needs, [STORE, shared], Rules()) != (), "10 % stay free for the pods"


def test_inodes_run_out_before_bytes_do() -> None:
    needs = needs_of(plan_of(*TWO), "containers-storage", 0)
    poor = dataclasses.replace(ONE, inodes=2_000_000, inodes_free=1_000_000)
    (said,) = shortages(needs, [poor], Rules())
    assert said.endswith(
        "about 1048579 inodes needed, 900000 free above the eviction limit of 100000"
        " (the kubelet's defaults)"
    )
    endless = dataclasses.replace(ONE, inodes=0, inodes_free=0)
    assert shortages(needs, [endless], Rules()) == ()


def test_a_file_system_beyond_a_limit_is_a_warning() -> None:
    assert warnings([ONE, SPOOL], Rules()) == ()
    (said,) = warnings([dataclasses.replace(ONE, free=12 * GIB)], Rules())
    assert said.startswith("/var (image store and spool and kubelet): 88 % full, 12.00 GiB free")
    assert "threshold of 85 %" in said
    (said,) = warnings([dataclasses.replace(ONE, inodes=100, inodes_free=4)], Rules())
    assert "4 inodes free, the eviction limit is 5" in said
    assert warnings([dataclasses.replace(ONE, free=0)], NO_KUBELET) == ()


SIZES = st.integers(0, 1 << 45)


@given(SIZES, SIZES, SIZES, st.integers(0, 100), st.floats(0, 1))
def test_what_is_let_through_stays_under_every_limit(
    size: int, free: int, needed: int, percent: int, share: float
) -> None:
    system = FileSystem("/", frozenset(Role), size, min(size, free))
    rules = Rules(percent, Limit(share), imagefs=Limit(share))
    if not shortages(Needs(store=needed), [system], rules) and needed:
        after = dataclasses.replace(system, free=system.free - needed)
        assert warnings([after], rules) == ()
