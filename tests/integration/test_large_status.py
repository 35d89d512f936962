"""The CGU of a large fleet, as the operator stores it, fits into what an API server takes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest

from talm.api import kinds
from talm.api.cgu import ClusterGroupUpgrade
from talm.api.progress import FailedImage, ProgressRecord
from talm.api.words import FINALIZER, Phase
from talm.core.causes import LONGEST_MESSAGE, MAX_FAILURES
from talm.core.folding import unfold
from talm.core.model import Cluster, Fact, Json, Outcomes, ResolvedPolicy, Sight, Snapshot
from talm.core.specifications import MAX_BYTES, MAX_OTHERS
from talm.hub.persist import Persister
from talm.hub.store import Store
from talm.kube.client import Client
from talm.sim.plane.hubs import Hub

from ..core.given import later, one_pass, policy, snapshot

pytestmark = pytest.mark.integration

MIB: Final = 1024 * 1024
CLUSTERS: Final = tuple(f"region-1-site-{number:04}" for number in range(5000))
FAILED: Final = frozenset(CLUSTERS[::20])  # more of them than are named
LONG: Final = "\u00fc" * 5000  # two bytes each
IMAGE: Final = "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:" + "0123456789abcdef" * 4
RECORD: Final = ProgressRecord(
    images_done=123,
    images_total=183,
    bytes_done=12_345_678_901,
    bytes_total=16_345_678_901,
    bytes_per_s=12_345_678,
    eta_s=12_345,
    attempt=7,
    current_image=IMAGE,
    failed=(FailedImage(image=IMAGE, error_class="ImageNotFound", error_text=LONG),),
)
ACTIVE: Final = Sight(Fact.JOB_ACTIVE, record=RECORD)
LOST: Final = Sight(
    Fact.JOB_FAILED, f"BackoffLimitExceeded: Job has: ImageNotFound: {LONG}", record=RECORD
)


def applied(hub: Hub, namespace: str) -> None:
    """`kubectl apply`, which keeps the whole spec once more in an annotation."""
    body = {
        "apiVersion": kinds.CGU.api_version,
        "kind": kinds.CGU.kind,
        "metadata": {"name": "up", "namespace": namespace, "finalizers": [FINALIZER]},
        "spec": {
            "preCaching": True,
            "enable": False,
            "clusters": list(CLUSTERS),
            "managedPolicies": ["du-upgrade-platform-upgrade"],
            "remediationStrategy": {"maxConcurrency": 500, "canaries": list(CLUSTERS[:50])},
        },
    }
    command = [*hub.kubectl, "apply", "-f", "-"]
    done = subprocess.run(
        command, input=json.dumps(body), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def asked(clusters: Sequence[str]) -> dict[str, ResolvedPolicy]:
    """What hub templates have become: as many and as long specifications as a status holds."""
    number = MAX_OTHERS + 1
    tag = "x" * (MAX_BYTES // number - 100)
    releases: list[Mapping[str, Json]] = [
        {
            "apiVersion": "config.openshift.io/v1",
            "kind": "ClusterVersion",
            "spec": {"desiredUpdate": {"image": f"quay.io/release:{n:02}{tag}"}},
        }
        for n in range(number)
    ]
    found = [ResolvedPolicy((release,)) for release in releases]
    return {cluster: found[n % number] for n, cluster in enumerate(clusters)}


class Run:
    """Passes over the CGU on the API server; what is seen of the clusters is made up."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._path = kinds.CGU.path(namespace, "up")
        self._persister = Persister(client, Store(client, lambda *_: None))
        self._minutes = 0

    async def cgu(self) -> ClusterGroupUpgrade:
        return msgspec.json.decode(await self.body(), type=ClusterGroupUpgrade)

    async def body(self) -> bytes:
        return await self._client.request("GET", self._path)

    async def passes(self, seen: Snapshot, sights: Mapping[str, Sight], failed: Any = None) -> None:
        self._minutes += 1
        now = later(minutes=self._minutes)
        seen = replace(seen, cgu=await self.cgu(), sights=sights, now=now)
        settled = one_pass(seen, Outcomes(failed or {}))
        assert await self._persister.persist(seen.cgu, settled.status)


@pytest.mark.long
async def test_a_cgu_of_5000_clusters_with_everything_filled_stays_below_a_mebibyte(
    hub: Hub, hub_client: Client, namespace: str
) -> None:
    applied(hub, namespace)
    run = Run(hub_client, namespace)
    root = replace(policy(clusters=CLUSTERS), hub_templates=True)
    seen = snapshot(
        policies=[root],
        clusters={c: Cluster(c) for c in CLUSTERS},
        resolved={root.ref: asked(CLUSTERS)},
    )
    starting = dict.fromkeys(CLUSTERS, Sight(Fact.CLEAN))
    for sights in ({}, {}, starting, dict.fromkeys(CLUSTERS, ACTIVE)):
        await run.passes(seen, sights)
    # All are at work, with their clocks; some fail, and of others requests do.
    ends = {c: LOST if c in FAILED else ACTIVE for c in CLUSTERS}
    await run.passes(seen, ends)
    kept = {c: Sight(Fact.STALE, record=RECORD) for c in CLUSTERS if c not in FAILED}
    await run.passes(seen, kept, failed=dict.fromkeys(kept, LONG))

    stored = await run.body()
    block = (await run.cgu()).status.precaching
    assert block is not None
    assert len(block.status or {}) == 5000
    assert sum(len(wait.clusters) for wait in block.waits or ()) == 5000 - len(FAILED)
    assert block.failures is not None
    assert len(block.failures) == MAX_FAILURES
    assert {len(entry.message) for entry in block.failures} == {LONGEST_MESSAGE}
    assert block.failures_by_class == {
        "ImageNotFound": len(FAILED),
        "RequestFailed": 5000 - len(FAILED),
    }
    assert block.progress is not None
    assert block.progress.told == 5000
    assert block.progress.clusters == {
        Phase.ACTIVE.value: 5000 - len(FAILED),
        Phase.FAILED.value: len(FAILED),
    }
    assert block.progress.finished is not None
    assert block.specs is not None
    assert len(block.specs) == MAX_OTHERS
    assert sum(len(list(unfold(entry.begun or ()))) for entry in block.specs) > 4_800
    metadata = msgspec.json.decode(stored)["metadata"]
    assert "kubectl.kubernetes.io/last-applied-configuration" in metadata["annotations"]
    assert metadata["managedFields"]
    assert len(stored) < MIB
