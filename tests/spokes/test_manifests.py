"""The bodies of both profiles, to the byte.  `python -m tests.spokes.test_manifests` writes the
golden files anew; read the difference before it is committed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from talm.api.meta import changed
from talm.api.pod import NODE_JOB_ANNOTATION, Nodes, StoreKind
from talm.api.words import CGU_LABEL, EXISTING_NAMESPACE, MANUAL_NAMESPACE, Action, View
from talm.errors import BadSpec, Bug
from talm.spokes import existing, own
from talm.spokes.base import PodTerms
from talm.spokes.manifests import check_spoke_namespace, run_labels, spec_data
from talm.spokes.profile import CREATES, LEFTOVERS, NODE_DELETES, Profile, Try
from talm.spokes.profiles import PROFILES
from tests.spokes.world import ORDER, other

GOLDEN = Path(__file__).parent / "golden"


def render(profile: Profile) -> str:
    namespace = MANUAL_NAMESPACE if profile.labelled else EXISTING_NAMESPACE
    actions = (*LEFTOVERS, *profile.setup, *(() if profile.job_in_setup else (Action.JOB_CREATE,)))
    views = (View.NAMESPACE, *profile.setup_views, *profile.job_views)
    bodies = [profile.action(a, "spoke1", ORDER, namespace=namespace) for a in actions]
    bodies += [profile.view(v, "spoke1", ORDER, namespace=namespace) for v in views]
    return yaml.dump_all(bodies, Dumper=Plain, sort_keys=False, width=100)


def render_all_nodes() -> str:
    """What profile talm makes otherwise, or only, where every node pulls."""
    order, namespace = other(pod=PodTerms(nodes=Nodes.ALL)), MANUAL_NAMESPACE
    changed = [Action.ROLE_CREATE, *set_apart(own.TALM), Action.JOB_CREATE]
    bodies = [
        own.TALM.action(action, "spoke1", order, namespace=namespace)
        for action in (*NODE_DELETES, *changed)
    ]
    bodies.append(own.TALM.view(View.NODE_READER, "spoke1", order, namespace=namespace))
    return yaml.dump_all(bodies, Dumper=Plain, sort_keys=False, width=100)


def set_apart(profile: Profile) -> list[Action]:
    return [action for action in profile.setup_for_all if action not in profile.setup]


def render_pods() -> str:
    """The pod of profile talm for each kind of store."""
    terms = {kind.value: PodTerms(kind, ("registry-login",)) for kind in StoreKind}
    crio = terms[StoreKind.CONTAINERS_STORAGE]
    terms["containers-storage with PinnedImageSets"] = replace(crio, image_sets=True)
    pods = []
    for name, pod in terms.items():
        action = own.TALM.action(
            Action.JOB_CREATE, "spoke1", other(pod=pod), namespace=MANUAL_NAMESPACE
        )
        pods.append({name: action["spec"]["kube"]["template"]["spec"]["template"]["spec"]})
    return yaml.dump_all(pods, Dumper=Plain, sort_keys=False, width=100)


class Plain(yaml.SafeDumper):
    """No anchors: a reader wants each document whole."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def test_the_pod_for_each_store_is_as_in_the_golden_file() -> None:
    assert render_pods() == (GOLDEN / "pods.yaml").read_text(encoding="utf-8")


def test_what_all_nodes_need_is_as_in_the_golden_file() -> None:
    assert render_all_nodes() == (GOLDEN / "talm-all-nodes.yaml").read_text(encoding="utf-8")


def test_the_coordinator_carries_the_job_of_one_node_and_mounts_nothing() -> None:
    bodies = [
        own.TALM.action(
            Action.JOB_CREATE,
            "spoke1",
            other(pod=PodTerms(StoreKind.CONTAINERS_STORAGE, ("registry-login",), nodes)),
            namespace=MANUAL_NAMESPACE,
        )
        for nodes in Nodes
    ]
    one, all_ = (body["spec"]["kube"]["template"] for body in bodies)
    assert json.loads(all_["metadata"]["annotations"][NODE_JOB_ANNOTATION]) == one["spec"]
    pod = all_["spec"]["template"]["spec"]
    assert not {"volumes", "hostNetwork", "hostPID", "initContainers"} & pod.keys()
    (container,) = pod["containers"]
    assert "volumeMounts" not in container
    assert container["securityContext"]["runAsNonRoot"]
    assert not container["securityContext"].get("privileged")


def test_profile_existing_is_the_same_for_all_nodes() -> None:
    assert existing.EXISTING.for_nodes(Nodes.ALL) is existing.EXISTING


def test_where_operators_start_is_told_to_the_workload_that_knows_the_key() -> None:
    spec = changed(ORDER.spec, operators_starting_csvs=("ptp:stable:ptp.v1", "sriov:4:sriov.v2"))
    for profile, told in (
        (own.TALM, "ptp:stable:ptp.v1\nsriov:4:sriov.v2"),
        (existing.EXISTING, None),
    ):
        for order, key in ((other(spec=spec), told), (ORDER, None)):
            body = profile.action(Action.SPEC_CREATE, "spoke1", order, namespace=EXISTING_NAMESPACE)
            data = body["spec"]["kube"]["template"]["data"]
            assert data.get("operators.startingCSVs") == key


@pytest.mark.parametrize("name", PROFILES)
def test_every_body_is_as_in_the_golden_file(name: str) -> None:
    assert render(PROFILES[name]) == (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")


def test_profile_existing_writes_no_label_and_no_annotation_of_ours() -> None:
    body = existing.EXISTING.action(
        Action.JOB_CREATE, "spoke1", ORDER, namespace=EXISTING_NAMESPACE, attempt=Try(3)
    )
    assert body["metadata"] == {"name": "precache-job-create", "namespace": "spoke1"}


def test_profile_talm_notes_the_attempt_from_the_second_on() -> None:
    bodies = [
        own.TALM.action(
            Action.SA_CREATE, "spoke1", ORDER, namespace=MANUAL_NAMESPACE, attempt=Try(attempt)
        )
        for attempt in (1, 2)
    ]
    assert "annotations" not in bodies[0]["metadata"]
    assert bodies[1]["metadata"]["annotations"] == {"talm.ran.openshift.io/attempt": "2"}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_profile_refuses_an_action_that_it_does_not_know(profile: Profile) -> None:
    ours = {*profile.setup, *profile.setup_for_all, Action.JOB_CREATE}
    later = {Action.DIAGNOSE_CREATE} if profile.diagnoses else set()
    for action in CREATES:
        if action not in ours | later and action is not Action.DIAGNOSE_DELETE:
            with pytest.raises(Bug):
                profile.action(action, "spoke1", ORDER, namespace=MANUAL_NAMESPACE)


def test_all_six_keys_are_written_and_lists_end_without_a_newline() -> None:
    assert spec_data(ORDER.spec)["additionalImages"] == (
        "registry.example/one:1\nregistry.example/two:2"
    )
    empty = spec_data(type(ORDER.spec)())
    assert len(empty) == 6
    assert set(empty.values()) == {""}


@pytest.mark.parametrize(
    "name", [MANUAL_NAMESPACE, EXISTING_NAMESPACE, "talm-x", "talm-" + "y" * 58]
)
def test_a_namespace_that_can_be_nobody_else_s_may_be_used(name: str) -> None:
    assert check_spoke_namespace(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "default", "kube-system", "talm", "talm-", "talm-A", "talm-x/y", "talm-" + "y" * 59],
)
def test_a_namespace_that_could_be_somebody_s_is_refused(name: str) -> None:
    with pytest.raises(BadSpec, match="deleted on every spoke"):
        check_spoke_namespace(name)


def test_a_long_cgu_name_is_cut_to_a_valid_label() -> None:
    label = run_labels(other(cgu="a" * 62 + ".b"))[CGU_LABEL]
    assert label == "a" * 62


@pytest.mark.parametrize(
    "clusters, seconds", [(1, 2), (100, 2), (101, 3), (1000, 20), (3500, 70), (20_000, 300)]
)
def test_profile_talm_reads_at_most_50_views_of_a_name_a_second(
    clusters: int, seconds: int
) -> None:
    assert own.view_interval(View.JOB, clusters) == seconds


@pytest.mark.parametrize("clusters, seconds", [(1, 30), (5, 30), (6, 36), (50, 300), (3500, 300)])
def test_profile_existing_paces_its_views_as_the_existing_operator(
    clusters: int, seconds: int
) -> None:
    assert existing.view_interval(View.JOB, clusters) == seconds
    assert existing.view_interval(View.NAMESPACE, clusters) == 0


if __name__ == "__main__":
    for name, profile in PROFILES.items():
        (GOLDEN / f"{name}.yaml").write_text(render(profile), encoding="utf-8")
    (GOLDEN / "pods.yaml").write_text(render_pods(), encoding="utf-8")
    (GOLDEN / "talm-all-nodes.yaml").write_text(render_all_nodes(), encoding="utf-8")
