"""Copies the foreign kinds' definitions (CRDs) out of the Go modules that publish them: a hub's, and
in the directory `spoke` what a managed cluster has beside Kubernetes' own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from controlplane.toolchain import HERE, BuildError, Go, go_environment

# Where the foreign kinds' definitions are inside their modules: (module, file).
_API: Final = "open-cluster-management.io/api"
_LIFECYCLE: Final = "github.com/stolostron/cluster-lifecycle-api"
_POLICY: Final = "open-cluster-management.io/governance-policy-propagator"
CRD_FILES: Final = (
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
# What the work agent keeps its books in, on the cluster that it works on.
SPOKE_CRD_FILES: Final = (
    (_API, "work/v1/0000_01_work.open-cluster-management.io_appliedmanifestworks.crd.yaml"),
)
SPOKE_FOLDER: Final = "spoke"


def copy_crds(go: Go, output: Path) -> None:
    """Download the modules of controlplane/crds and copy the definitions we use from them."""
    print("crds: downloading their Go modules", flush=True)
    command = [str(go.path), "mod", "download", "-json", *sorted({m for m, _ in CRD_FILES})]
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
    folders = {entry["Path"]: Path(entry["Dir"]) for entry in json_stream(done.stdout)}
    for module, file in CRD_FILES:
        shutil.copyfile(folders[module] / file, output / Path(file).name)
    spoke = output / SPOKE_FOLDER
    spoke.mkdir()
    for module, file in SPOKE_CRD_FILES:
        shutil.copyfile(folders[module] / file, spoke / Path(file).name)


def json_stream(text: str) -> Iterator[dict[str, Any]]:
    """Split what `go mod download -json` prints: objects one after the other."""
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        entry, end = decoder.raw_decode(rest)
        yield entry
        rest = rest[end:].lstrip()
