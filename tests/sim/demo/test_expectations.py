"""The judge of the manual's walk-through: a good run's record holds, and one changed word does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from talm.api.words import Phase
from talm.sim.demo import expectations
from talm.sim.demo.expectations import CGU_FILE, Record, judge, read_manual

ROOT = Path(__file__).parents[3]
MANUAL = read_manual()
EVERY = (*MANUAL.expectations, *MANUAL.beyond)
BY_ID = {entry.id: entry for entry in EVERY}

Change = Callable[[Record], None]


def recorded() -> Record:
    """What a good walk has shown."""
    file = ROOT / "tests/data/walk-record.yaml"
    return msgspec.yaml.decode(file.read_bytes(), type=Record)


def printed(look: str, old: str, new: str) -> Change:
    """Change one word in what kubectl printed."""

    def change(record: Record) -> None:
        assert old in record.outputs[look]
        record.outputs[look] = record.outputs[look].replace(old, new, 1)

    return change


def fact(name: str, value: object) -> Change:
    def change(record: Record) -> None:
        assert record.facts[name] != value
        record.facts[name] = value

    return change


def resumed(**bytes_there: int) -> Change:
    def change(record: Record) -> None:
        record.facts["resumed"] |= bytes_there

    return change


def of_cnfdb2(name: str, value: object) -> Change:
    def change(record: Record) -> None:
        assert record.facts[name]["cnfdb2"] != value
        record.facts[name]["cnfdb2"] = value

    return change


FIRST = '"conditions": [\n    {'
ANOTHER = '"conditions": [\n    {"type": "Other", "lastTransitionTime": "2026-11-23T09:11:35Z"}, {'

# One change for each expectation, which makes it false.
FALSIFIED: dict[str, list[Change]] = {
    "columns": [
        printed("list", "NAMESPACE          NAME  ", "NAMESPACE          TITLE "),
        printed("list", "AGE   STATE", "STATE AGE  "),
    ],
    "listed": [
        printed("list", "du-upgrade-4918", "du-upgrade-4919"),
        printed("list", "ztp-group-du-sno", "ztp-group-du-mno"),
        printed("list", "0s ", "   "),
    ],
    "ready-while-running": [
        printed("running", '"status": "False"', '"status": "True"'),
        printed("running", "PrecachingRequired", "PrecachingIsRequired"),
        printed("running", "not completed (required)", "not completed"),
        printed("running", '"type": "Ready"', '"type": "ready"'),
    ],
    "precaching-not-done": [
        printed("running", "PrecachingNotDone", "PrecachingUndone"),
        printed("running", "Precaching is required and not done", "Precaching is not done"),
        printed("running", '"type": "PrecachingDone"', '"type": "PrecacheDone"'),
    ],
    "spec-valid": [
        printed("running", "PrecacheSpecIsWellFormed", "SpecIsWellFormed"),
        printed("running", "Pre-caching spec is valid", "Precaching spec is valid"),
        printed("running", '"type": "PrecacheSpecValid"', '"type": "SpecValid"'),
    ],
    "order-while-running": [printed("running", FIRST, ANOTHER)],
    "times-while-running": [
        printed("running", ':35Z"', ':35.123Z"'),
        printed("running", ':35Z"', ':35+00:00"'),
        printed("running", '"lastTransitionTime"', '"time"'),
    ],
    "clusters": [
        printed("running", '"clusters": ["cnfdb1", "cnfdb2"]', '"clusters": ["cnfdb1"]'),
        printed("running", '"clusters": [', '"members": ['),
    ],
    "platform-image": [
        printed("running", "release@sha256:1", "release@sha256:0"),
        printed("running", '"platformImage"', '"image"'),
    ],
    "active": [
        printed("running", '"cnfdb1": "Active"', '"cnfdb1": "Starting"'),
        printed("running", '{"cnfdb1": "Active", ', "{"),
    ],
    "job": [
        printed("spoke", "job.batch/pre-cache", "job.batch/precache"),
        printed("spoke", "0/1           6s", "1/1           6s"),
        printed("spoke", "COMPLETIONS", "COMPLETE   "),
        printed("spoke", "DURATION", "SINCE   "),
    ],
    "pod": [
        printed("spoke", "pod/pre-cache-q", "pod/precache-q"),
        printed("spoke", "1/1     Running", "0/1     Running"),
        printed("spoke", "1/1     Running", "1/1     Pending"),
        printed("spoke", "Running   0  ", "Running   1  "),
    ],
    "starts-at-once": [fact("precachedWhileDisabled", False)],
    "states": [
        of_cnfdb2("states", ["NotStarted", "PreparingToStart", "Active", "Succeeded"]),
        of_cnfdb2(
            "states", ["NotStarted", "PreparingToStart", "Starting", "Active", "PrecacheTimeout"]
        ),
        of_cnfdb2("states", ["PreparingToStart", "Starting", "Active", "Succeeded"]),
    ],
    "leftovers": [fact("leftovers", ["ConfigMap left-by-an-earlier-update on cnfdb2"])],
    "new-view": [of_cnfdb2("newViews", "")],
    "layout": [of_cnfdb2("layouts", "sha256:" + "0" * 64), of_cnfdb2("layouts", "")],
    "waits-for-enable": [fact("updatedWhileDisabled", True)],
    "ready-when-complete": [
        printed("complete", "UpgradeCompleted", "UpgradeComplete"),
        printed("complete", '"status": "True"', '"status": "False"'),
        printed("complete", "with all the managed policies", "with all managed policies"),
    ],
    "precaching-done": [
        printed("complete", "PrecachingCompleted", "PrecachingComplete"),
        printed("complete", '"Precaching is completed"', '"Precaching completed"'),
    ],
    "order-when-complete": [printed("complete", FIRST, ANOTHER)],
    "resumed": [resumed(fetched=28_500_000), resumed(held=100_000, fetched=28_400_000)],
    "times-when-complete": [printed("complete", ':50Z"', ':50.5Z"')],
}
CHANGES = [(name, change) for name, changes in FALSIFIED.items() for change in changes]


def test_a_good_walk_holds_in_every_line() -> None:
    verdicts = [judge(entry, recorded()) for entry in EVERY]
    assert [(v.expectation.id, v.seen) for v in verdicts if not v.holds] == []


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[name for name, _ in CHANGES])
def test_a_changed_word_is_noticed_and_shown(name: str, change: Change) -> None:
    record = recorded()
    change(record)
    verdict = judge(BY_ID[name], record)
    assert not verdict.holds
    assert verdict.seen


def test_every_expectation_is_falsified() -> None:
    assert FALSIFIED.keys() == BY_ID.keys()
    assert len(BY_ID) == len(EVERY), "ids are unique"


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.id)
def test_nothing_holds_of_a_walk_that_came_to_nothing(entry: expectations.Expectation) -> None:
    assert not judge(entry, Record(clusters=("cnfdb1",), sites=(), image="none")).holds


def test_an_output_that_is_no_json_is_shown() -> None:
    record = recorded()
    record.outputs["running"] = "Error from server (NotFound)"
    verdict = judge(BY_ID["active"], record)
    assert verdict.seen == "no JSON: Error from server (NotFound)"


def test_clusters_without_a_node_store_nothing() -> None:
    record = recorded()
    record.clusters = (*record.clusters, "cnfdb7")
    assert judge(BY_ID["layout"], record).holds
    assert not judge(BY_ID["states"], record).holds


def test_the_file_has_every_state() -> None:
    assert [state.stored for state in MANUAL.states] == [phase.value for phase in Phase]
    assert MANUAL.state("").name == "PrecacheNotStarted"
    assert MANUAL.state("Odd").name == "Odd"


def test_every_command_is_the_manuals_and_looked_at() -> None:
    status = "oc get cgu -n ztp-group-du-sno du-upgrade-4918 -o jsonpath='{.status}'"
    commands = {name: command.run for name, command in MANUAL.commands.items()}
    assert commands.pop("enable").endswith('\'{"spec":{"enable":true}}\'')
    assert commands == {
        "apply": "oc apply -f clustergroupupgrades-group-du.yaml",
        "list": "oc get cgu -A",
        "running": status,
        "spoke": "oc get jobs,pods -n openshift-talm-pre-cache",
        "complete": status,
    }
    assert MANUAL.commands["running"].arguments()[-1] == "jsonpath={.status}"
    assert MANUAL.commands["list"].with_kubectl() == "kubectl get cgu -A"
    assert {entry.look for entry in EVERY} <= {
        *MANUAL.commands,
        expectations.RUN,
        expectations.KILL,
    }


def test_the_cgu_that_is_applied_is_the_sample() -> None:
    assert CGU_FILE.read_bytes() == (ROOT / "deploy/samples" / CGU_FILE.name).read_bytes()
