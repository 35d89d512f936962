"""Selection: explicit names first, then what the selectors find."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.api.cgu import CguSpec, LabelSelector, LabelSelectorRequirement, RemediationStrategy
from talm.core.model import Cluster
from talm.core.selection import Selection, select

UNABLE = "Unable to select clusters: "
NO_DETAILS = UNABLE + "cannot obtain all the details about the clusters in the CR: "


def hub(**labels: Mapping[str, str]) -> dict[str, Cluster]:
    return {name: Cluster(name, labels=found) for name, found in labels.items()}


FLEET = hub(
    site3={"zone": "north", "sno": ""},
    site1={"zone": "south"},
    site2={"zone": "north"},
    bare={},
)


def by_labels(*selectors: LabelSelector) -> Selection:
    return select(spec(labels=selectors), FLEET)


def spec(
    *clusters: str,
    pairs: tuple[str, ...] | None = None,
    labels: tuple[LabelSelector, ...] | None = None,
    canaries: tuple[str, ...] | None = None,
) -> CguSpec:
    return CguSpec(
        clusters=clusters,
        cluster_selector=pairs,
        cluster_label_selectors=labels,
        remediation_strategy=RemediationStrategy(max_concurrency=2, canaries=canaries),
    )


def need(operator: str, *values: str, key: str = "zone") -> LabelSelector:
    requirement = LabelSelectorRequirement(key=key, operator=operator, values=values or None)
    return LabelSelector(match_expressions=(requirement,))


def test_explicit_names_keep_their_order_and_count_once() -> None:
    chosen = select(spec("site2", "site1", "site2"), FLEET)
    assert chosen == Selection(clusters=("site2", "site1"))


def test_what_selectors_find_comes_after_the_names_sorted_and_once() -> None:
    chosen = select(
        spec("site2", pairs=("sno", "zone=south"), labels=(need("Exists"),)),
        FLEET,
    )
    assert chosen.clusters == ("site2", "site1", "site3")


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("zone=north", ("site2", "site3")),
        ("sno", ("site3",)),  # a key alone wants an empty value ...
        ("zone", ()),  # ... and the label to be there
        ("other=", ()),
    ],
)
def test_an_entry_of_cluster_selector_is_a_label(entry: str, found: tuple[str, ...]) -> None:
    assert select(spec(pairs=(entry,)), FLEET) == Selection(clusters=found)


@pytest.mark.parametrize("entry", ["a=b=c", "=north", ""])
def test_a_malformed_entry_is_skipped_and_listed(entry: str) -> None:
    chosen = select(spec(pairs=(entry, "zone=south")), FLEET)
    assert chosen == Selection(clusters=("site1",), ignored=(entry,))


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (LabelSelector(), ("bare", "site1", "site2", "site3")),
        (LabelSelector(match_labels={"zone": "north"}), ("site2", "site3")),
        (LabelSelector(match_labels={"zone": "north", "sno": ""}), ("site3",)),
        (need("In", "south", "west"), ("site1",)),
        (need("NotIn", "north"), ("bare", "site1")),  # the label may be missing
        (need("Exists"), ("site1", "site2", "site3")),
        (need("DoesNotExist"), ("bare",)),
    ],
    ids=str,
)
def test_a_label_selector_means_what_it_means_in_kubernetes(
    selector: LabelSelector, found: tuple[str, ...]
) -> None:
    assert by_labels(selector).clusters == found


def test_labels_and_expressions_of_one_selector_must_all_hold() -> None:
    both = LabelSelector(
        match_labels={"zone": "north"},
        match_expressions=need("DoesNotExist", key="sno").match_expressions,
    )
    assert by_labels(both).clusters == ("site2",)


def test_one_match_of_several_selectors_is_enough() -> None:
    assert by_labels(need("In", "south"), need("Exists", key="sno")).clusters == ("site1", "site3")


def test_selectors_that_find_nothing_are_no_problem() -> None:
    assert by_labels(need("In", "west")) == Selection()


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        (need("Near", "north"), '"Near" is not a valid label selector operator'),
        (
            need("In"),
            "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            need("Exists", "a", "b"),
            'values: Invalid value: ["a","b"]: values set must be empty for exists and does not exist',
        ),
    ],
)
def test_a_selector_that_kubernetes_refuses_selects_nothing_and_says_why(
    selector: LabelSelector, why: str
) -> None:
    chosen = select(spec("site1", labels=(selector,)), {})
    assert chosen == Selection(problem=NO_DETAILS + why)


def test_nothing_given_is_a_problem() -> None:
    assert select(spec(), FLEET).problem == NO_DETAILS + "no cluster specified for remediation"


def test_unknown_clusters_are_all_listed_and_the_first_is_in_the_message() -> None:
    chosen = select(spec("site1", "gone2", "gone1", canaries=("nobody",)), FLEET)
    assert chosen == Selection(
        clusters=("site1",),
        missing=("gone2", "gone1"),
        problem=UNABLE + "cluster gone2 is not a ManagedCluster",
    )


def test_a_canary_must_be_selected() -> None:
    chosen = select(spec("site1", canaries=("site1", "site2")), FLEET)
    assert chosen.problem == UNABLE + "canary cluster site2 is not in the list of clusters"
    assert select(spec("site1", pairs=("zone=north",), canaries=("site2",)), FLEET).problem == ""


NAMES = st.sampled_from([f"c{n}" for n in range(12)])


@given(
    explicit=st.lists(NAMES),
    labelled=st.dictionaries(NAMES, st.sampled_from(["north", "south"])),
)
def test_every_selected_cluster_is_known_and_there_once_with_the_order_kept(
    explicit: list[str], labelled: dict[str, str]
) -> None:
    fleet = {name: Cluster(name, labels={"zone": zone}) for name, zone in labelled.items()}
    chosen = select(spec(*explicit, pairs=("zone=north",)), fleet)
    named = [name for name in dict.fromkeys(explicit) if name in fleet]
    found = [name for name in fleet if labelled[name] == "north" and name not in named]
    assert list(chosen.clusters) == named + sorted(found)
    assert set(chosen.missing) == set(explicit) - set(fleet)
    assert bool(chosen.problem) == bool(chosen.missing)
