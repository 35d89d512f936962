"""From the store to a snapshot: whose cluster, who is looked at, what holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import pytest

from talm.api import kinds
from talm.api.cacherecord import CACHE_RECORD
from talm.api.cgu import (
    ClusterGroupUpgrade,
    OtherSpecification,
    PolicyRef,
    PrecachingSpec,
)
from talm.api.meta import changed
from talm.api.pod import Nodes
from talm.api.words import ROOT_POLICY_LABEL
from talm.core.model import (
    Blocker,
    Effect,
    Fact,
    GraphAnswer,
    GraphQuery,
    Rules,
    Sight,
    Snapshot,
)
from talm.core.placements import run_id
from talm.core.removal import Removal, Standing
from talm.core.specifications import one_for_all
from talm.hub.graph import UpdateGraph
from talm.hub.observe import Observer
from talm.hub.routes import Routes
from talm.hub.store import Store
from talm.spokes.base import Order
from tests.hub.fakehub import FakeHub, followed
from tests.hub.given import Json, put_cgu, put_cluster, put_policy
from tests.kube.waiting import until_true

NOW = dt.datetime(2022, 1, 27, 19, 0, 0, 654321, tzinfo=dt.UTC)
OLDER, NEWER = "2022-01-27T18:00:00Z", "2022-01-27T19:30:00Z"
OVER = {"status": {"completedAt": "2022-01-27T20:00:00Z"}}
KEY = ("ztp", "du-upgrade")


class Spokes:
    """A transport that has been told what each cluster looks like, and who looked when."""

    def __init__(self) -> None:
        self.facts: dict[str, Fact] = {}
        self.looked: dict[str, dt.datetime] = {}
        self.looked_for: dict[str, str] = {}
        self.removing: dict[str, Removal] = {}

    def look(self, cluster: str, order: Order, now: dt.datetime) -> Sight:
        self.looked[cluster] = now
        self.looked_for[cluster] = order.spec.platform_image
        return Sight(self.facts.get(cluster, Fact.UNASKED))

    async def carry_out(self, cluster: str, effects: tuple[Effect, ...], order: Order) -> None: ...

    def removals(
        self, order: Order, now: dt.datetime, asks: Callable[[str], bool]
    ) -> Mapping[str, Removal]:
        return {c: r for c, r in self.removing.items() if asks(c)}

    def watch(self, on_change: Any) -> None: ...


class Graph:
    def __init__(self) -> None:
        self.asked: list[GraphQuery] = []

    def ask(self, query: GraphQuery) -> GraphAnswer:
        self.asked.append(query)
        return GraphAnswer(image="release@sha256:1")


FAILED = Removal(Standing.FAILED, "403: forbidden")


class World:
    """A hub, the store that follows it, and an observer."""

    def __init__(self) -> None:
        self.hub = FakeHub()
        self.spokes = Spokes()
        self.graph = Graph()
        self.routes = Routes()
        self.store = Store(self.hub.client, self.heard)
        self.observer = Observer(
            self.store,
            self.routes,
            cast(UpdateGraph, self.graph),
            self.spokes,
            rules=Rules(allowed_workload_images=("mirror/*",), verify_after=dt.timedelta(hours=24)),
            image="workload:1",
            now=lambda: NOW,
        )

    def heard(self, name: str, key: tuple[str, str], old: Any, new: Any) -> None:
        self.routes.heard(name, key, old, new)

    async def observe(self, key: tuple[str, str] = KEY) -> Snapshot:
        await self.hub.heard()
        found = self.observer.observe(key)
        assert found is not None
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with followed(made.hub, made.store):
        yield made


async def test_a_cgu_that_is_gone_has_no_snapshot(world: World) -> None:
    assert world.observer.observe(KEY) is None


async def test_times_have_whole_seconds_but_the_transport_knows_the_moment(world: World) -> None:
    put_cgu(world.hub, phases={"c1": "Active"})
    seen = await world.observe()
    assert seen.now == NOW.replace(microsecond=0)
    assert world.spokes.looked == {"c1": NOW}


async def test_a_snapshot_stays_as_it_is_while_the_hub_changes(world: World) -> None:
    put_cluster(world.hub, "c1")
    put_cgu(world.hub, clusters=["c1"])
    seen = await world.observe()
    put_cluster(world.hub, "c2")
    world.hub.remove(kinds.MANAGED_CLUSTER, "c1")
    await world.hub.heard()
    assert set(seen.clusters) == {"c1"}


async def test_only_clusters_under_way_are_looked_at(world: World) -> None:
    phases = {"a": "NotStarted", "b": "PreparingToStart", "c": "Succeeded", "d": "PrecacheTimeout"}
    put_cgu(world.hub, phases=phases)
    seen = await world.observe()
    assert set(seen.sights) == set(world.spokes.looked) == {"b"}


@pytest.mark.parametrize("leaving", ["succeeded", "deleted"])
async def test_at_the_end_also_those_not_started_that_something_asks_about(
    world: World, leaving: str
) -> None:
    world.spokes.facts["begun"] = Fact.CLEAN
    status: Json = {}
    if leaving == "succeeded":
        status = {"conditions": [{"type": "Succeeded", "status": "True"}]}
    body = put_cgu(
        world.hub, phases={"begun": "NotStarted", "untouched": "NotStarted"}, status=status
    )
    if leaving == "deleted":
        known = world.hub.truth(kinds.CGU, *reversed(KEY))
        meta = known["metadata"] | {"deletionTimestamp": "2022-01-27T20:00:00Z"}
        fields = {"spec": known["spec"], "status": known["status"]}
        world.hub.put(kinds.CGU, body.metadata.name, "ztp", metadata=meta, **fields)
    seen = await world.observe()
    assert set(seen.sights) == {"begun"}


@pytest.mark.parametrize(
    ("theirs", "status", "created", "owner"),
    [
        ("Active", {}, OLDER, "ztp/other"),
        ("NotStarted", {}, OLDER, "ztp/other"),
        ("Active", {}, NEWER, None),
        ("Succeeded", {}, OLDER, None),
        ("UnrecoverableError", {}, OLDER, None),
        ("Active", OVER, OLDER, None),
    ],
)
async def test_the_oldest_that_has_claimed_a_cluster_and_not_finished_there_has_it(
    world: World, theirs: str, status: Json, created: str, owner: str | None
) -> None:
    put_cgu(world.hub, phases={"c1": "NotStarted"})
    put_cgu(world.hub, "other", phases={"c1": theirs}, status=status, created=created)
    seen = await world.observe()
    assert seen.owners.get("c1") == owner


async def test_an_older_one_that_merely_names_a_cluster_has_not_claimed_it(world: World) -> None:
    put_cgu(world.hub, phases={"c1": "Active"})
    put_cgu(world.hub, "other", clusters=["c1"], created=OLDER)
    assert (await world.observe()).owners == {}


async def test_of_two_of_the_same_age_the_uid_decides(world: World) -> None:
    put_cgu(world.hub, "b", phases={"c1": "Active"})
    put_cgu(world.hub, "a", phases={"c1": "Active"})
    assert (await world.observe(("ztp", "a"))).owners == {}
    assert (await world.observe(("ztp", "b"))).owners == {"c1": "ztp/a"}


async def test_of_several_older_ones_the_oldest_has_it(world: World) -> None:
    put_cgu(world.hub, phases={"c1": "NotStarted"}, created=NEWER)
    put_cgu(world.hub, "old", phases={"c1": "NotStarted"}, created="2022-01-27T19:10:00Z")
    put_cgu(world.hub, "oldest", phases={"c1": "NotStarted"}, created=OLDER)
    assert (await world.observe()).owners == {"c1": "ztp/oldest"}


@pytest.mark.parametrize("ended", ["PrecacheTimeout", "UnrecoverableError"])
async def test_who_has_finished_badly_gives_the_cluster_to_whoever_claims_it(
    world: World, ended: str
) -> None:
    put_cgu(world.hub, phases={"c1": ended, "c2": "Succeeded"}, created=OLDER)
    put_cgu(world.hub, "newer", phases={"c1": "Active", "c2": "Active"}, created=NEWER)
    assert (await world.observe()).owners == {"c1": "ztp/newer"}


async def test_a_removal_is_seen_until_another_one_has_begun_with_the_cluster(world: World) -> None:
    phases = {"c1": "Succeeded", "c2": "Succeeded", "c3": "Active"}
    world.spokes.removing = dict.fromkeys(phases, FAILED)
    put_cgu(world.hub, phases=phases, created=OLDER)
    put_cgu(world.hub, "newer", clusters=["c1", "c2"], created=NEWER)
    assert (await world.observe()).removals == {"c1": FAILED, "c2": FAILED}
    put_cgu(world.hub, "newer", phases={"c1": "NotStarted"}, created=NEWER)
    assert (await world.observe()).removals == {"c2": FAILED}


async def test_a_claim_that_only_our_own_write_tells_of_counts(world: World) -> None:
    put_cgu(world.hub, phases={"c1": "NotStarted"})
    put_cgu(world.hub, "other", clusters=["c1"], created=OLDER)
    await world.hub.heard()
    world.hub.news_flow.clear()
    world.store.wrote(put_cgu(world.hub, "other", phases={"c1": "NotStarted"}, created=OLDER))
    found = world.observer.observe(KEY)
    assert found is not None
    assert found.owners == {"c1": "ztp/other"}


async def test_blockers_are_read_in_either_vocabulary(world: World) -> None:
    def condition(kind: str, status: str) -> Json:
        return {"conditions": [{"type": kind, "status": status}]}

    names = ["current", "failed", "manual", "not-over", "silent", "missing"]
    put_cgu(world.hub, blockingCRs=[{"name": n, "namespace": "lab"} for n in names])
    put_cgu(world.hub, "current", "lab", status=condition("Succeeded", "True"))
    put_cgu(world.hub, "failed", "lab", status=condition("Succeeded", "False"))
    put_cgu(world.hub, "manual", "lab", status=condition("Ready", "True") | OVER)
    put_cgu(world.hub, "not-over", "lab", status=condition("Ready", "True"))
    put_cgu(world.hub, "silent", "lab")
    assert (await world.observe()).blockers == (
        Blocker("current", True, "True"),
        Blocker("failed", True, "False"),
        Blocker("manual", True, "True"),
        Blocker("not-over", True, ""),
        Blocker("silent", True, ""),
        Blocker("missing", False, ""),
    )


async def test_the_policies_are_those_on_selected_or_planned_clusters(world: World) -> None:
    for name in ("c1", "c2", "c3"):
        put_cluster(world.hub, name)
    put_policy(world.hub, "upgrade", ["c1"], "a")
    put_policy(world.hub, "upgrade", ["c2"], "b")
    put_policy(world.hub, "upgrade", ["c3"], "c")
    put_cgu(
        world.hub,
        clusters=["c1"],
        managedPolicies=["upgrade", "missing"],
        status={"remediationPlan": [["c2"]]},
    )
    seen = await world.observe()
    assert sorted(p.namespace for p in seen.policies["upgrade"]) == ["a", "b"]
    assert seen.policies["missing"] == ()


async def test_what_a_selector_finds_takes_part_from_then_on(world: World) -> None:
    put_cluster(world.hub, "c1", site="a")
    put_cgu(world.hub, clusterLabelSelectors=[{"matchLabels": {"site": "a"}}])
    await world.observe()
    assert world.routes.sharing("c1") == {KEY}


def put_version_policy(hub: FakeHub) -> None:
    version = {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "spec": {
            "upstream": "https://graph",
            "channel": "stable-4.14",
            "desiredUpdate": {"version": "4.14.1"},
        },
    }
    templates = [{"complianceType": "musthave", "objectDefinition": version}]
    definition = {"kind": "ConfigurationPolicy", "spec": {"object-templates": templates}}
    put_policy(hub, "upgrade", ["c1"])
    hub.put(
        kinds.POLICY,
        "upgrade",
        "pol",
        spec={"policy-templates": [{"objectDefinition": definition}]},
    )


async def test_the_update_graph_is_asked_what_the_policies_leave_open(world: World) -> None:
    put_cluster(world.hub, "c1")
    put_version_policy(world.hub)
    put_cgu(world.hub, clusters=["c1"], managedPolicies=["upgrade"])
    seen = await world.observe()
    query = GraphQuery("https://graph", "stable-4.14", "4.14.1")
    assert seen.sources.graph == {query: GraphAnswer(image="release@sha256:1")}


def hub_templated(hub: FakeHub, **versions: str) -> None:
    """A policy whose version is a hub template, and what it has become on the clusters."""
    put_policy(hub, "upgrade", versions)
    roots = {"pol": "{{hub .ManagedClusterName hub}}"}
    for namespace, version in (roots | versions).items():
        update = {
            "upstream": "https://graph",
            "channel": "c",
            "desiredUpdate": {"version": version},
        }
        wanted = {"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion", "spec": update}
        templates = [{"complianceType": "musthave", "objectDefinition": wanted}]
        definition = {"kind": "ConfigurationPolicy", "spec": {"object-templates": templates}}
        child = {"labels": {ROOT_POLICY_LABEL: "pol.upgrade"}}
        hub.put(
            kinds.POLICY,
            "upgrade" if namespace == "pol" else "pol.upgrade",
            namespace,
            metadata={} if namespace == "pol" else child,
            spec={"policy-templates": [{"objectDefinition": definition}]},
        )


async def test_what_hub_templates_have_become_is_seen_and_asked_for(world: World) -> None:
    for cluster in ("c1", "c2"):
        put_cluster(world.hub, cluster)
    hub_templated(world.hub, c1="4.14.1", c2="4.14.2")
    put_cgu(world.hub, clusters=["c1", "c2"], managedPolicies=["upgrade"], preCaching=True)
    assert (await world.observe()).resolved == {}
    await until_true(lambda: world.store.resolved.of(("pol", "upgrade")) is not None)
    seen = await world.observe()
    assert set(seen.resolved[PolicyRef(name="upgrade", namespace="pol")]) == {"c1", "c2"}
    assert {query.version for query in seen.sources.graph} == {"4.14.1", "4.14.2"}


async def test_children_are_followed_for_pre_caching_alone(world: World) -> None:
    put_cluster(world.hub, "c1")
    hub_templated(world.hub, c1="4.14.1")
    put_cgu(world.hub, clusters=["c1"], managedPolicies=["upgrade"])
    assert ((await world.observe()).resolved, world.store.resolved._followed) == ({}, {})


async def test_for_a_cgu_that_is_over_nobody_is_asked(world: World) -> None:
    put_cluster(world.hub, "c1")
    put_version_policy(world.hub)
    put_cgu(world.hub, clusters=["c1"], managedPolicies=["upgrade"], status=OVER)
    seen = await world.observe()
    assert (seen.policies, world.graph.asked) == ({}, [])
    assert world.routes.sharing("c1") == set()


@pytest.mark.parametrize("namespace", ["", "lab"])
async def test_the_configuration_is_the_one_that_is_named(world: World, namespace: str) -> None:
    ref = {"name": "cfg"} | ({"namespace": namespace} if namespace else {})
    put_cgu(world.hub, preCachingConfigRef=ref)
    seen = await world.observe()
    assert (seen.sources.config_name, seen.sources.config) == ("cfg", None)
    put = world.hub.put
    put(kinds.PRE_CACHING_CONFIG, "cfg", namespace or "ztp", spec={"spaceRequired": "9 GiB"})
    put(kinds.CONFIG_MAP, "cluster-group-upgrade-overrides", "lab", data={"a": "not ours"})
    assert (await world.observe()).sources.overrides == {}
    put(kinds.CONFIG_MAP, "cluster-group-upgrade-overrides", "ztp", data={"a": "b"})
    sources = (await world.observe()).sources
    assert sources.config is not None
    assert sources.config.spec.space_required == "9 GiB"
    assert sources.overrides == {"a": "b"}


async def test_an_empty_reference_names_nothing(world: World) -> None:
    put_cgu(world.hub, preCachingConfigRef={})
    assert (await world.observe()).sources.config_name == ""


async def test_an_overrides_map_without_data_overrides_nothing(world: World) -> None:
    put_cgu(world.hub)
    world.hub.put(kinds.CONFIG_MAP, "cluster-group-upgrade-overrides", "ztp")
    assert (await world.observe()).sources.overrides == {}


@pytest.mark.parametrize(
    ("conditions", "is_problem"),
    [
        (None, False),
        ([], False),
        ([{"type": "PlacementSatisfied", "status": "False", "reason": "NoIntersection"}], False),
        ([{"type": "P", "status": "True", "reason": "NoManagedClusterSetBindings"}], False),
        ([{"type": "P", "status": "False", "reason": "NoManagedClusterSetBindings"}], True),
    ],
    ids=str,
)
async def test_only_an_explicit_refusal_of_a_placement_holds(
    world: World, conditions: list[Json] | None, is_problem: bool
) -> None:
    put_cgu(world.hub)
    labels = {
        "openshift-cluster-group-upgrades/clusterGroupUpgrade": "du-upgrade",
        "openshift-cluster-group-upgrades/clusterGroupUpgradeNamespace": "ztp",
    }
    more = {"status": {"conditions": conditions}} if conditions is not None else {}
    world.hub.put(kinds.PLACEMENT, "p", "pol", metadata={"labels": labels}, **more)
    world.hub.put(kinds.PLACEMENT, "others", "pol", **more)
    problems = (await world.observe()).placement_problems
    assert set(problems) == ({"p"} if is_problem else set())
    assert all('namespace "pol"' in text for text in problems.values())


async def test_an_order_says_what_this_run_wants(world: World) -> None:
    strategy = {"maxConcurrency": 1, "timeout": 3}
    put_cgu(world.hub, phases={"c1": "Active", "c2": "Active"}, remediationStrategy=strategy)
    found = (await world.observe()).cgu
    order = world.observer.order(found)
    assert order == Order(
        run=run_id(found.metadata),
        cgu="du-upgrade",
        cgu_namespace="ztp",
        spec=PrecachingSpec(),
        job_deadline_s=180,
        clusters=2,
        image="workload:1",
    )
    fresh = PrecachingSpec(platform_image="release@sha256:1")
    assert world.observer.order(found, one_for_all(fresh)).spec == fresh


async def test_an_order_takes_the_stored_specification_and_an_allowed_image(world: World) -> None:
    stored = {"precaching": {"spec": {"platformImage": "release@sha256:2"}}}
    put_cgu(world.hub, status=stored, preCachingConfigRef={"name": "cfg"})
    overrides = {"preCacheImage": "mirror/workload:2"}
    world.hub.put(kinds.PRE_CACHING_CONFIG, "cfg", "ztp", spec={"overrides": overrides})
    order = world.observer.order((await world.observe()).cgu)
    assert order.spec.platform_image == "release@sha256:2"
    assert order.image == "mirror/workload:2"
    overrides = {"preCacheImage": "elsewhere/workload:2"}
    world.hub.put(kinds.PRE_CACHING_CONFIG, "cfg", "ztp", spec={"overrides": overrides})
    assert world.observer.order((await world.observe()).cgu).image == "workload:1"


async def test_an_order_knows_with_what_each_cluster_has_begun(world: World) -> None:
    other = {"hash": "x", "spec": {"platformImage": "other"}, "begun": ["c1", "c2"]}
    states = {"c0": "Active", "c1": "Active", "c2": "NotStarted"}
    stored = {"spec": {"platformImage": "most"}, "specs": [other], "status": states}
    put_cgu(world.hub, status={"precaching": stored})
    order = world.observer.order((await world.observe()).cgu)
    images = [order.for_cluster(c).spec.platform_image for c in ("c0", "c1", "c2")]
    assert images == ["most", "other", "most"]


async def test_a_transport_looks_for_what_the_cluster_has_begun_with_also_if_it_was_pruned(
    world: World,
) -> None:
    stored = {"spec": {"platformImage": "most"}, "status": {"c0": "Starting", "c1": "Starting"}}
    put_cgu(world.hub, status={"precaching": stored})
    await world.observe()
    assert world.spokes.looked_for == {"c0": "most", "c1": "most"}
    other = OtherSpecification(spec=PrecachingSpec(platform_image="other"), begun=("c1",))

    def recall(found: ClusterGroupUpgrade) -> ClusterGroupUpgrade:
        assert found.status.precaching is not None
        whole = changed(found.status.precaching, specs=(other,))
        return changed(found, status=changed(found.status, precaching=whole))

    seen = world.observer.observe(KEY, recall)
    assert seen is not None and seen.cgu.status.precaching is not None
    assert seen.cgu.status.precaching.specs == (other,)
    assert world.spokes.looked_for == {"c0": "most", "c1": "other"}


@pytest.mark.parametrize(("said", "nodes"), [("", Nodes.ONE), ("all", Nodes.ALL)])
async def test_an_order_is_for_the_nodes_that_its_specification_says(
    world: World, said: str, nodes: Nodes
) -> None:
    stored = {"precaching": {"spec": {"nodes": said}}}
    put_cgu(world.hub, status=stored, preCachingConfigRef={"name": "cfg"})
    world.hub.put(kinds.PRE_CACHING_CONFIG, "cfg", "ztp", spec={"nodes": "all"})
    assert world.observer.order((await world.observe()).cgu).pod.nodes is nodes


RUNNING = {"startedAt": OLDER, "currentBatch": 1, "currentBatchStartedAt": OLDER}


@pytest.mark.parametrize(
    ("update", "spec", "known"),
    [
        ({}, {"enable": False}, ""),
        ({}, {"enable": True}, "c1 c2 c3"),
        (RUNNING, {"enable": True}, "c2"),
        ({"startedAt": OLDER, "currentBatch": 3}, {"enable": False}, "c3"),
        (RUNNING, {"enable": True, "preCaching": False}, ""),
    ],
    ids=["not enabled", "about to start", "next batch", "its turn has come", "no pre-caching"],
)
async def test_records_are_those_of_clusters_whose_update_or_batch_is_next(
    world: World, update: Json, spec: Json, known: str
) -> None:
    clusters = ["c1", "c2", "c3"]
    for cluster in clusters:
        world.hub.put(kinds.CONFIG_MAP, CACHE_RECORD, cluster, data={"result": "Succeeded"})
    status = {"status": update, "remediationPlan": [[cluster] for cluster in clusters]}
    phases = dict.fromkeys(clusters, "Succeeded")
    put_cgu(world.hub, phases=phases, status=status, **{"preCaching": True, **spec})
    assert " ".join((await world.observe()).records) == known
