"""Copies what others publish for a cluster's API server out of their Go modules: the kinds'
definitions (CRDs), and the roles that their agents ship.

    crds/                  a hub's
    crds/hub-policies/     what its policy propagator watches besides, and its role
    crds/spoke/            what the work agent keeps its books in, on the cluster that it works on
    crds/spoke-policies/   what the policy controllers of a cluster need there, and their roles
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from controlplane.toolchain import HERE, BuildError, Go, go_environment

_API: Final = "open-cluster-management.io/api"
_LIFECYCLE: Final = "github.com/stolostron/cluster-lifecycle-api"
_POLICY: Final = "open-cluster-management.io/governance-policy-propagator"
_FRAMEWORK: Final = "open-cluster-management.io/governance-policy-framework-addon"
_CONFIGURATION: Final = "open-cluster-management.io/config-policy-controller"
_HUB: Final = (
    (_API, "cluster/v1/0000_00_clusters.open-cluster-management.io_managedclusters.crd.yaml"),
    (
        _API,
        "cluster/v1beta2/0000_00_clusters.open-cluster-management.io_managedclustersets.crd.yaml",
    ),
    (
        _API,
        "cluster/v1beta2/"
        "0000_01_clusters.open-cluster-management.io_managedclustersetbindings.crd.yaml",
    ),
    (_API, "cluster/v1beta1/0000_02_clusters.open-cluster-management.io_placements.crd.yaml"),
    (
        _API,
        "cluster/v1beta1/0000_03_clusters.open-cluster-management.io_placementdecisions.crd.yaml",
    ),
    (
        _API,
        "cluster/v1alpha1/0000_05_clusters.open-cluster-management.io_addonplacementscores.crd.yaml",
    ),
    (_API, "addon/v1alpha1/0000_01_addon.open-cluster-management.io_managedclusteraddons.crd.yaml"),
    (_API, "work/v1/0000_00_work.open-cluster-management.io_manifestworks.crd.yaml"),
    (_LIFECYCLE, "view/v1beta1/view.open-cluster-management.io_managedclusterviews.crd.yaml"),
    (_LIFECYCLE, "action/v1beta1/action.open-cluster-management.io_managedclusteractions.crd.yaml"),
    (_POLICY, "deploy/crds/policy.open-cluster-management.io_policies.yaml"),
    (_POLICY, "deploy/crds/policy.open-cluster-management.io_placementbindings.yaml"),
)
_ROLE: Final = "deploy/rbac/role.yaml"
FOLDERS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "": _HUB,
    "hub-policies": (
        (_POLICY, "deploy/crds/policy.open-cluster-management.io_policyautomations.yaml"),
        (_POLICY, "deploy/crds/policy.open-cluster-management.io_policysets.yaml"),
        (_POLICY, _ROLE),
    ),
    "spoke": (
        (_API, "work/v1/0000_01_work.open-cluster-management.io_appliedmanifestworks.crd.yaml"),
    ),
    "spoke-policies": (
        (_POLICY, "deploy/crds/policy.open-cluster-management.io_policies.yaml"),
        (
            _CONFIGURATION,
            "deploy/crds/policy.open-cluster-management.io_configurationpolicies.yaml",
        ),
        (_CONFIGURATION, _ROLE),
        (_FRAMEWORK, _ROLE),
    ),
}
"""Directory below crds/ -> (module, file inside it)."""


def copy_crds(go: Go, output: Path) -> None:
    """Download the modules of controlplane/crds and copy what we use from them."""
    print("crds: downloading their Go modules", flush=True)
    modules = sorted({module for files in FOLDERS.values() for module, _ in files})
    command = [str(go.path), "mod", "download", "-json", *modules]
    done = subprocess.run(
        command,
        cwd=HERE / "crds",
        env=go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"could not download the modules of the CRDs:\n{done.stderr}{done.stdout}")
    places = {entry["Path"]: Path(entry["Dir"]) for entry in json_stream(done.stdout)}
    for folder, files in FOLDERS.items():
        (output / folder).mkdir(exist_ok=True)
        for module, file in files:
            shutil.copyfile(places[module] / file, output / folder / _name(module, file))


def _name(module: str, file: str) -> str:
    """What the copy is called: every module calls its role `role.yaml`."""
    return f"{module.rpartition('/')[2]}.yaml" if file == _ROLE else Path(file).name


def json_stream(text: str) -> Iterator[dict[str, Any]]:
    """Split what `go mod download -json` prints: objects one after the other."""
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        entry, end = decoder.raw_decode(rest)
        yield entry
        rest = rest[end:].lstrip()
