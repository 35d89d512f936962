"""Routes: a change reaches exactly the CGUs that could decide otherwise because of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.ocm import Placement
from talm.hub.routes import Routes
from talm.hub.store import CHILD_POLICIES, Key
from tests.hub.given import cgu, cgu_wire, decoded

OVER = {"status": {"completedAt": "2022-01-27T20:00:00Z"}}


def know(*cgus: ClusterGroupUpgrade) -> Routes:
    routes = Routes()
    for one in cgus:
        routes.heard(kinds.CGU.plural, one.metadata.key, None, one)
    return routes


def heard(routes: Routes, kind: str, key: Key, new: Any = None, old: Any = None) -> list[str]:
    return sorted("/".join(found) for found in routes.heard(kind, key, old, new))


def placement(name: str, namespace: str) -> Placement:
    labels = {
        "openshift-cluster-group-upgrades/clusterGroupUpgrade": name,
        "openshift-cluster-group-upgrades/clusterGroupUpgradeNamespace": namespace,
    }
    body = {"metadata": {"name": "p", "namespace": "pol", "labels": labels}}
    return msgspec.json.decode(msgspec.json.encode(body), type=Placement)


NAMED = cgu("named", clusters=["c1", "c2"], managedPolicies=["upgrade"])
PLANNED = cgu("planned", status={"remediationPlan": [["c3"]]}, managedPolicies=["other"])
STORED = cgu("stored", "lab", phases={"c1": "Active", "c4": "NotStarted"})
CHOOSING = cgu("choosing", "lab", clusterLabelSelectors=[{"matchLabels": {"site": "a"}}])
BLOCKED = cgu("blocked", blockingCRs=[{"name": "stored", "namespace": "lab"}])
CONFIGURED = cgu("configured", "lab", preCachingConfigRef={"name": "cfg"})
ELSEWHERE = cgu("elsewhere", "lab", preCachingConfigRef={"name": "cfg", "namespace": "ztp"})
ALL = (NAMED, PLANNED, STORED, CHOOSING, BLOCKED, CONFIGURED, ELSEWHERE)


@pytest.mark.parametrize(
    ("kind", "key", "reached"),
    [
        (kinds.VIEW.plural, ("c1", "view-precache-job"), ["lab/stored", "ztp/named"]),
        (kinds.ACTION.plural, ("c3", "precache-job-create"), ["ztp/planned"]),
        (kinds.VIEW.plural, ("c9", "view-precache-job"), []),
        (kinds.ADD_ON.plural, ("c1", "work-manager"), ["lab/stored", "ztp/named"]),
        (kinds.MANAGED_CLUSTER.plural, ("", "c4"), ["lab/choosing", "lab/stored"]),
        (kinds.MANAGED_CLUSTER.plural, ("", "c9"), ["lab/choosing"]),
        (kinds.POLICY.plural, ("anywhere", "upgrade"), ["ztp/named"]),
        (kinds.POLICY.plural, ("anywhere", "nobodys"), []),
        (CHILD_POLICIES, ("c7", "pol.upgrade"), ["ztp/named"]),
        (CHILD_POLICIES, ("c7", "pol.up.grade"), []),
        (kinds.PRE_CACHING_CONFIG.plural, ("lab", "cfg"), ["lab/configured"]),
        (kinds.PRE_CACHING_CONFIG.plural, ("ztp", "cfg"), ["lab/elsewhere"]),
        (kinds.PRE_CACHING_CONFIG.plural, ("ztp", "other"), []),
        (
            kinds.CONFIG_MAP.plural,
            ("ztp", "cluster-group-upgrade-overrides"),
            ["ztp/blocked", "ztp/named", "ztp/planned"],
        ),
        (kinds.CONFIG_MAP.plural, ("default", "cluster-group-upgrade-overrides"), []),
        (kinds.CGU.plural, ("lab", "stored"), ["lab/stored", "ztp/blocked", "ztp/named"]),
        (kinds.SECRET.plural, ("lab", "stored"), []),
    ],
    ids=str,
)
def test_a_change_reaches_those_concerned(kind: str, key: Key, reached: list[str]) -> None:
    assert heard(know(*ALL), kind, key, STORED) == reached


@pytest.mark.parametrize("kind", [kinds.PLACEMENT.plural, kinds.PLACEMENT_BINDING.plural])
def test_a_placement_reaches_its_cgu_also_when_it_goes(kind: str) -> None:
    routes = know(*ALL)
    ours = placement("named", "ztp")
    assert heard(routes, kind, ("pol", "p"), new=ours) == ["ztp/named"]
    assert heard(routes, kind, ("pol", "p"), old=ours) == ["ztp/named"]
    nobodys = msgspec.json.decode(b"{}", type=Placement)
    assert heard(routes, kind, ("pol", "p"), new=nobodys) == []


def test_those_who_shared_a_cluster_that_was_given_up_are_told() -> None:
    other = cgu("other", clusters=["c4"])
    routes = know(STORED, other)
    without = cgu("stored", "lab", phases={"c1": "Active"})
    assert heard(routes, kinds.CGU.plural, ("lab", "stored"), without) == [
        "lab/stored",
        "ztp/other",
    ]
    assert heard(routes, kinds.CGU.plural, ("lab", "stored"), without) == ["lab/stored"]


def test_what_a_selector_chose_is_known_from_the_pass_and_until_the_spec_changes() -> None:
    routes = know(CHOOSING)
    key = CHOOSING.metadata.key
    routes.take_part(key, ["c5"])
    assert routes.sharing("c5") == {key}
    body = cgu_wire("choosing", "lab", clusterLabelSelectors=[{"matchLabels": {"site": "a"}}])
    routes.heard(kinds.CGU.plural, key, CHOOSING, decoded(body | {"status": {"conditions": []}}))
    assert routes.sharing("c5") == {key}, "its status says nothing of the cluster yet"
    body["spec"]["clusterLabelSelectors"] = [{"matchLabels": {"site": "b"}}]
    routes.heard(kinds.CGU.plural, key, CHOOSING, decoded(body))
    assert routes.sharing("c5") == set()


def test_a_cgu_that_is_over_hears_of_itself_alone() -> None:
    body = cgu_wire("named", clusters=["c1"], managedPolicies=["upgrade"], status=OVER)
    over = decoded(body)
    routes = know(NAMED, STORED)
    assert heard(routes, kinds.CGU.plural, ("ztp", "named"), over) == ["lab/stored", "ztp/named"]
    routes.take_part(("ztp", "named"), ["c1"])
    assert heard(routes, kinds.VIEW.plural, ("c1", "v")) == ["lab/stored"]
    assert heard(routes, kinds.POLICY.plural, ("pol", "upgrade")) == []
    assert heard(routes, kinds.CGU.plural, ("ztp", "named"), over) == ["ztp/named"]
    again = decoded(body | {"status": {}})  # somebody has taken its end away
    assert heard(routes, kinds.CGU.plural, ("ztp", "named"), again) == ["lab/stored", "ztp/named"]
    assert heard(routes, kinds.POLICY.plural, ("pol", "upgrade")) == ["ztp/named"]


def test_nothing_is_left_of_cgus_that_are_gone() -> None:
    routes = know(*ALL)
    routes.take_part(CHOOSING.metadata.key, ["c5"])
    for one in ALL:
        routes.heard(kinds.CGU.plural, one.metadata.key, one, None)
    routes.take_part(NAMED.metadata.key, ["c1"])  # a pass that was under way
    assert all(not index for index in vars(routes).values())


NAMES = st.sampled_from(["a", "b", "c"])
SETS = st.sets(NAMES)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    refs = st.lists(NAMES, max_size=2)
    more: dict[str, Any] = {
        "managedPolicies": draw(refs),
        "blockingCRs": [{"name": n, "namespace": draw(NAMES)} for n in draw(refs)],
    }
    if draw(st.booleans()):
        more["clusterSelector"] = ["site=a"]
    if draw(st.booleans()):
        more["preCachingConfigRef"] = {"name": draw(NAMES), "namespace": draw(st.just("") | NAMES)}
    status = {"remediationPlan": [sorted(draw(SETS))]} | (draw(st.sampled_from([{}, {}, OVER])))
    phases = dict.fromkeys(sorted(draw(SETS)), "Active")
    name, namespace = draw(NAMES), draw(NAMES)
    return cgu_wire(
        name, namespace, clusters=sorted(draw(SETS)), phases=phases, status=status, **more
    )


def concerned(known: dict[Key, dict[str, Any]], kind: str, key: Key) -> set[Key]:
    """The rule, asked of each CGU in turn."""

    def clusters(body: dict[str, Any]) -> set[str]:
        status = body["status"]
        planned = {c for batch in status["remediationPlan"] for c in batch}
        named: set[str] = {*body["spec"]["clusters"], *status["precaching"]["status"]}
        return named.union(planned, body["chosen"])

    def is_concerned(own: Key, body: dict[str, Any]) -> bool:
        spec = body["spec"]
        if kind == kinds.VIEW.plural:
            return key[0] in clusters(body)
        if kind == kinds.MANAGED_CLUSTER.plural:
            return key[1] in clusters(body) or "clusterSelector" in spec
        if kind == kinds.POLICY.plural:
            return key[1] in spec["managedPolicies"]
        if kind == CHILD_POLICIES:
            return key[1].split(".")[1] in spec["managedPolicies"]
        if kind == kinds.CONFIG_MAP.plural:
            return key[0] == own[0]
        ref = spec.get("preCachingConfigRef")
        return ref is not None and (ref["namespace"] or own[0], ref["name"]) == key

    running = {k: b for k, b in known.items() if "status" not in b["status"]}
    return {k for k, b in running.items() if is_concerned(k, b)}


@given(st.lists(bodies() | st.tuples(NAMES, NAMES, SETS), max_size=12), NAMES, NAMES)
def test_the_index_says_what_asking_everyone_would(
    steps: list[dict[str, Any] | tuple[str, str, set[str]]], first: str, second: str
) -> None:
    """A step is a CGU as it is now, a deletion (no clusters), or a pass that found clusters selected."""
    routes = Routes()
    known: dict[Key, dict[str, Any]] = {}
    for step in steps:
        if isinstance(step, dict):
            now = decoded(step)
            routes.heard(kinds.CGU.plural, now.metadata.key, None, now)
            before = known.get(now.metadata.key, {"spec": None, "chosen": set()})
            chosen = before["chosen"] if before["spec"] == step["spec"] else set()
            known[now.metadata.key] = step | {"chosen": chosen}
            continue
        key, found = step[:2], step[2]
        if not found:
            known.pop(key, None)
            routes.heard(kinds.CGU.plural, key, None, None)
            continue
        routes.take_part(key, found)
        if key in known:
            known[key]["chosen"] = found
    events = [
        (kinds.VIEW.plural, (first, second)),
        (kinds.MANAGED_CLUSTER.plural, ("", first)),
        (kinds.POLICY.plural, (first, second)),
        (CHILD_POLICIES, (first, f"{second}.{first}")),
        (kinds.CONFIG_MAP.plural, (first, second)),
        (kinds.PRE_CACHING_CONFIG.plural, (first, second)),
    ]
    for kind, key in events:
        assert set(routes.heard(kind, key, None, None)) == concerned(known, kind, key), kind


def test_a_cgu_that_is_over_hears_of_the_clusters_that_it_follows_and_of_no_others() -> None:
    routes, key = Routes(), ("ztp", "over")
    routes.follow(key, ("a",))
    assert set(routes.heard(kinds.ACTION.plural, ("a", "precache-ns-delete"), None, None)) == {key}
    assert not routes.heard(kinds.ACTION.plural, ("b", "precache-ns-delete"), None, None)
    routes.follow(key, ())
    assert not routes.heard(kinds.ACTION.plural, ("a", "precache-ns-delete"), None, None)
