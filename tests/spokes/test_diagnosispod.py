"""The pod that tells why: like the Job's in all that may be in its way."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from click.testing import CliRunner

from talm.api.pod import Nodes, StoreKind
from talm.api.words import MANUAL_NAMESPACE, RUN_LABEL, Action
from talm.cli.main import cli
from talm.spokes.base import PodTerms
from talm.spokes.diagnosispod import COMMAND
from talm.spokes.own import TALM
from tests.spokes.world import ORDER


@pytest.mark.parametrize("nodes", list(Nodes))
@pytest.mark.parametrize("store", list(StoreKind))
def test_it_is_the_job_s_pod_in_all_but_name_and_command(store: StoreKind, nodes: Nodes) -> None:
    order = replace(ORDER, pod=PodTerms(store, ("pull-me",), nodes))
    job = TALM.kube(Action.JOB_CREATE, order, MANUAL_NAMESPACE)["template"]
    pod = TALM.kube(Action.DIAGNOSE_CREATE, order, MANUAL_NAMESPACE)["template"]
    wanted = copy.deepcopy(job["spec"]["template"]["spec"])
    wanted["containers"][0]["command"] = ["talm", "--version"]
    assert pod["spec"] == wanted
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    assert pod["metadata"]["name"] == "pre-cache-diagnose"
    assert pod["metadata"]["namespace"] == MANUAL_NAMESPACE
    assert pod["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert pod["metadata"]["annotations"] == job["spec"]["template"]["metadata"]["annotations"]


def test_no_job_takes_it_for_one_of_its_own() -> None:
    pod = TALM.kube(Action.DIAGNOSE_CREATE, ORDER, MANUAL_NAMESPACE)["template"]
    assert not {"job-name", "batch.kubernetes.io/job-name"} & pod["metadata"]["labels"].keys()
    assert pod["metadata"]["labels"][RUN_LABEL] == ORDER.run


def test_its_command_says_that_it_could_start_and_does_nothing_else() -> None:
    said = CliRunner().invoke(cli, list(COMMAND[1:]), prog_name="talm")
    assert (said.exit_code, said.output.split()[:2]) == (0, ["talm,", "version"])
