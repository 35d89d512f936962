"""The command lines of a control plane's programs, with the reason of each flag that needs one.

All of them run with the control plane's directory as working directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from talm.sim.plane.binaries import Command
from talm.sim.plane.identities import Authority
from talm.sim.plane.listen import LOOPBACK

# etcd wants HOST:PORT even for a Unix socket; the file of that name is in its working directory,
# which keeps the path under the 108 bytes of a socket's address wherever the directory is.
ETCD_SOCKET: Final = "etcd:1"
PEER_SOCKET: Final = "peer:1"
AUDIT_POLICY: Final = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""


def etcd(program: Command, directory: Path, *, fsync: bool) -> list[str]:
    """etcd on Unix sockets in `directory`."""
    command = [
        *program,
        "--name=only",
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls=unix://{ETCD_SOCKET}",
        f"--advertise-client-urls=unix://{ETCD_SOCKET}",
        f"--listen-peer-urls=unix://{PEER_SOCKET}",
        f"--initial-advertise-peer-urls=unix://{PEER_SOCKET}",
        f"--initial-cluster=only=unix://{PEER_SOCKET}",
        "--quota-backend-bytes=4294967296",  # its default of 2 GiB ends a run with 1,000 clusters
        "--log-level=warn",
    ]
    return command if fsync else [*command, "--unsafe-no-fsync"]


def api_server(
    program: Command,
    pki: Authority,
    *,
    port: int,
    etcd_prefix: str,
    audit_log: Path | None,
    services: str,
) -> list[str]:
    """kube-apiserver on `port`, which a ReservedPort holds; `services`: the addresses of Services."""
    command = [
        *program,
        f"--etcd-servers=unix://{ETCD_SOCKET}",
        f"--etcd-prefix={etcd_prefix}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        "--permit-port-sharing=true",  # see ReservedPort
        f"--advertise-address={LOOPBACK}",
        "--endpoint-reconciler-type=none",  # no pod looks for it
        f"--cert-dir={pki.directory}",
        f"--tls-cert-file={pki.server_certificate}",
        f"--tls-private-key-file={pki.server_key}",
        f"--client-ca-file={pki.certificate}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.service_account_key}",
        f"--service-account-signing-key-file={pki.service_account_key}",
        f"--service-cluster-ip-range={services}",
        "--allow-privileged=true",
        "--profiling=false",
        "--shutdown-send-retry-after=true",  # ends 2 s after SIGTERM whoever watches, not 60 s
        "--max-requests-inflight=800",  # twice the defaults: a thousand clusters on one machine
        "--max-mutating-requests-inflight=400",
    ]
    if audit_log is not None:
        command += [
            f"--audit-policy-file={audit_policy(audit_log)}",
            f"--audit-log-path={audit_log}",
            "--audit-log-maxsize=4096",  # MB; rotating would lose calls that are counted
        ]
    return command


def audit_policy(audit_log: Path) -> Path:
    """Where the file with AUDIT_POLICY is expected."""
    return audit_log.with_name("audit-policy.yaml")


def controller_manager(
    program: Command, pki: Authority, *, kubeconfig: Path, controllers: str
) -> list[str]:
    """kube-controller-manager with the named controllers only, serving nothing."""
    return [
        *program,
        f"--kubeconfig={kubeconfig}",
        f"--controllers={controllers}",
        "--secure-port=0",
        "--leader-elect=false",
        "--use-service-account-credentials=true",  # else RBAC forbids Jobs their pods
        f"--service-account-private-key-file={pki.service_account_key}",
        f"--root-ca-file={pki.certificate}",
        "--kube-api-qps=200",  # its default, 20, holds back namespace deletion in a fleet
        "--kube-api-burst=400",
    ]


def scheduler(program: Command, *, kubeconfig: Path) -> list[str]:
    """kube-scheduler, serving nothing."""
    return [
        *program,
        f"--kubeconfig={kubeconfig}",
        "--secure-port=0",
        "--leader-elect=false",
    ]
