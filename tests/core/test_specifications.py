"""Which specification is whose: the commonest is in front, the others beside it, and all is read again."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from talm.api.cgu import OtherSpecification, PrecachingSpec
from talm.api.meta import changed
from talm.api.words import Phase
from talm.core.precache import BEFORE_SETUP
from talm.core.precache_spec import spec_hash
from talm.core.specifications import (
    MAX_BYTES,
    MAX_OTHERS,
    Specifications,
    elect,
    one_for_all,
    stored_specifications,
    to_wire,
    too_many,
)

from .given import EMPTY, SPEC, both, status

P: Final = Phase


def spec(number: int, *, width: int = 0) -> PrecachingSpec:
    return PrecachingSpec(
        platform_image=f"quay.io/release:{number}{'x' * width}", space_required="35"
    )


def named(*specs: PrecachingSpec) -> dict[str, PrecachingSpec]:
    return {spec_hash(one): one for one in specs}


ONE, TWO, THREE = sorted(named(spec(1), spec(2), spec(3)))
BY_HASH: Final = named(spec(1), spec(2), spec(3))


def test_the_commonest_is_in_front() -> None:
    found = elect(BY_HASH, {"a": ONE, "b": THREE, "c": THREE, "d": TWO})
    assert (found.common, found.of) == (THREE, {"a": ONE, "d": TWO})
    assert found.spec == BY_HASH[THREE]
    assert found.of_cluster("d") == BY_HASH[TWO]
    assert found.others == {"a": BY_HASH[ONE], "d": BY_HASH[TWO]}


def test_on_a_tie_the_one_in_front_stays_there_and_else_the_hash_decides() -> None:
    own = {"a": ONE, "b": TWO, "c": THREE}
    assert elect(BY_HASH, own).common == ONE
    assert elect(BY_HASH, own, prefer=TWO).common == TWO
    assert elect(BY_HASH, own | {"d": THREE}, prefer=TWO).common == THREE
    assert elect(BY_HASH, dict(reversed(own.items()))).common == ONE


def test_where_all_agree_nothing_is_kept_by_cluster() -> None:
    assert elect(named(SPEC), {}) == one_for_all(SPEC)
    assert to_wire(one_for_all(SPEC), both(P.ACTIVE)) is None


def test_who_has_begun_is_named_and_the_rest_is_counted() -> None:
    found = elect(BY_HASH, {"a": TWO, "b": ONE, "c": ONE, "d": ONE, "e": TWO, "f": TWO, "g": TWO})
    phases = {"a": P.ACTIVE, "b": P.PREPARING, "c": P.STARTING, "d": P.SUCCEEDED}
    assert to_wire(found, phases) == (
        OtherSpecification(hash=ONE, spec=BY_HASH[ONE], clusters=3, begun=("c", "d")),
    )


def test_a_status_without_a_valid_specification_has_none() -> None:
    assert stored_specifications(EMPTY) is None
    assert stored_specifications(status(both(P.ACTIVE), spec=PrecachingSpec())) is None


def test_a_status_of_a_release_that_knew_one_specification_is_read() -> None:
    assert stored_specifications(status(both(P.ACTIVE))) == one_for_all(SPEC)


def test_an_entry_whose_specification_was_pruned_is_passed_over() -> None:
    of = status(both(P.ACTIVE))
    assert of.precaching is not None
    cut = (OtherSpecification(hash="0" * 16, clusters=1, begun=("cnfdb1",)),)
    of = changed(of, precaching=changed(of.precaching, specs=cut))
    assert stored_specifications(of) == one_for_all(SPEC)


@given(
    st.dictionaries(
        st.text("abcdefgh", min_size=1, max_size=4),
        st.tuples(st.sampled_from([ONE, TWO, THREE]), st.sampled_from(sorted(Phase))),
        min_size=1,
    )
)
def test_what_each_cluster_has_begun_with_is_read_as_it_was_stored(
    clusters: dict[str, tuple[str, Phase]],
) -> None:
    own = {cluster: name for cluster, (name, _) in clusters.items()}
    phases = {cluster: phase for cluster, (_, phase) in clusters.items()}
    found = elect(BY_HASH, own)
    entries = to_wire(found, phases)
    of = status(phases, spec=found.spec)
    assert of.precaching is not None
    of = changed(of, precaching=changed(of.precaching, specs=entries))
    again = stored_specifications(msgspec.json.decode(msgspec.json.encode(of), type=type(of)))
    assert again is not None
    begun = {cluster for cluster, phase in phases.items() if phase not in BEFORE_SETUP}
    assert {c: again.of_cluster(c) for c in begun} == {c: BY_HASH[own[c]] for c in begun}
    assert again.of.keys() <= begun, "whoever has not begun may yet get another one"
    assert sum(entry.clusters for entry in entries or ()) == len(found.of)


def full(clusters: int) -> tuple[Specifications, dict[str, Phase]]:
    """As many clusters with as many and as long specifications as a status holds."""
    width = (MAX_BYTES // (MAX_OTHERS + 1)) - 100
    by_hash = named(*(spec(n, width=width) for n in range(100, 101 + MAX_OTHERS)))
    assert not too_many(by_hash)
    names = [f"edge-site-{n:05}" for n in range(clusters)]
    hashes = list(by_hash)
    own = {name: hashes[n % len(hashes)] for n, name in enumerate(names)}
    return elect(by_hash, own), dict.fromkeys(names, P.ACTIVE)


def test_the_most_that_is_kept_leaves_room_in_a_cgu_of_5_000_clusters() -> None:
    specs, phases = full(5_000)
    entries = to_wire(specs, phases)
    assert len(msgspec.json.encode(entries)) < 64 * 1024


def test_too_many_are_refused_by_number_and_by_size() -> None:
    assert not too_many(named(spec(1, width=MAX_BYTES)))
    assert f"for more than {MAX_OTHERS + 1} different things" in too_many(
        named(*map(spec, range(102)))
    )
    assert "more than 32 KiB" in too_many(named(spec(1, width=MAX_BYTES), spec(2)))


def test_specifications_of_nobody_are_not_stored() -> None:
    found = replace(elect(BY_HASH, {"a": TWO, "b": ONE, "c": ONE}), of={"gone": TWO})
    assert to_wire(found, both(P.ACTIVE)) is None
