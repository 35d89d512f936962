"""Every setting of the operator: name, unit, default and why.  Flags, environment and file, and the
reference page, all come from this table (`talm run --help`, `docs/reference/settings.md`).

Precedence: flag, then environment (`TALM_` + name), then the file given by `--config` (YAML, keys with
dashes), then the default.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from typing import Any, Final

from talm.api.pod import NODES_AT_ONCE, StoreKind
from talm.core.model import Rules, Vocabulary
from talm.errors import BadSpec, SetupError
from talm.spokes.manifests import check_spoke_namespace
from talm.spokes.ownstore import AUTO, STORE_LABEL
from talm.spokes.patience import AGENT_S, LONGEST_POLL_S, WORKLOAD_S, Patience


def setting(default: Any, why: str, *, unit: str = "", choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field that knows its unit, its choices and its reason."""
    return dataclasses.field(
        default=default, metadata={"why": why, "unit": unit, "choices": choices}
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The operator's settings, checked by `check`."""

    workload_image: str = setting(
        "", "Image of the pre-caching workload. There is no default: the operator refuses to start "
        "without one.",
    )  # fmt: skip
    kubeconfig: str = setting(
        "", "Kubeconfig of the hub. Empty: $KUBECONFIG, ~/.kube/config, else the pod's own account."
    )
    namespace: str = setting(
        "talm-system", "Namespace of the operator's Lease; in a pod, the pod's own namespace."
    )
    transport: str = setting(
        "auto", "How spokes are reached: by ManagedClusterViews and -Actions, or by one ManifestWork for "
        "each cluster. auto: cluster by cluster when its run begins, a work where the hub serves works "
        "and the cluster's klusterlet has joined and is available, which writes far less on the hub, else "
        "views and actions. Profile existing knows views and actions alone.",
        choices=("auto", "view-action", "manifest-work"),
    )  # fmt: skip
    profile: str = setting(
        "talm", "What is put on a spoke: our own workload, or the existing operator's to the byte.",
        choices=("talm", "existing"),
    )  # fmt: skip
    spoke_namespace: str = setting(
        "openshift-talm-pre-cache",
        "Namespace of the workload on every spoke; it is deleted there. openshift-talo-pre-cache "
        "for drop-in use, else only names that begin with talm-.",
    )
    conditions: str = setting(
        "all", "Vocabulary of the conditions: the manual's, the existing operator's current one, or "
        "both.", choices=("all", "manual", "current"),
    )  # fmt: skip
    allowed_workload_images: str = setting(
        "", "Images that a PreCachingConfig may name as preCacheImage, comma separated; a name that "
        "ends with * is a prefix. Empty: none, since the workload has root's reach on spokes.",
    )  # fmt: skip
    image_store: str = setting(
        StoreKind.OCI_LAYOUT.value, "Where profile talm puts images on a node. auto: by the ManagedCluster's "
        f"label {STORE_LABEL}, else by its claims: containers-storage on OpenShift, containerd "
        "elsewhere, which k3s and RKE2 have in a place of their own. oci-layout: a directory that no "
        "runtime looks into.", choices=(AUTO, *(kind.value for kind in StoreKind)),
    )  # fmt: skip
    pull_secrets: str = setting(
        "", "Secrets for the workload's own image, comma separated. They must come to be in the spoke's "
        "namespace, which each run makes anew; the kubelet's own pull secret needs no name.",
    )  # fmt: skip
    nodes_at_once: int = setting(
        NODES_AT_ONCE, "How many nodes of a cluster pull at the same time where a PreCachingConfig says "
        "`nodes: all`; they share the cluster's link.",
    )  # fmt: skip
    setup_deadline: int = setting(
        30, "A cluster whose Job has not become active by then fails; time in which it is "
        "unavailable or silent, or waits for another CGU, does not count.", unit="minutes",
    )  # fmt: skip
    unavailable_grace: int = setting(
        10, "Once a CGU is enabled, a cluster that has been unavailable or silent for longer fails. The hub "
        "itself needs 5 to 10 minutes to notice an outage.", unit="minutes",
    )  # fmt: skip
    verify_after: float = setting(
        24.0, "Before its update starts, and again before its batch does, a cluster that was cached longer "
        "ago, or of which the hub has no record, is asked whether everything is still there; what has gone "
        "is pulled again first. 0: nobody is asked. Profile existing cannot ask.", unit="hours",
    )  # fmt: skip
    workload_silence: int = setting(
        WORKLOAD_S, "A workload that has told nothing new for so long counts as silent, beside what the way "
        "takes: twice the interval of a view, or agent-poll where a work is not told of by events. It tells "
        "every 30 seconds.", unit="seconds",
    )  # fmt: skip
    agent_silence: int = setting(
        AGENT_S, "A work agent, or an agent for views and actions, that was asked for something and has "
        "said nothing for so long counts as silent. It answers within a round trip, one that is restarted "
        "within a minute.", unit="seconds",
    )  # fmt: skip
    agent_poll: int = setting(
        LONGEST_POLL_S, "The longest pause between two looks of a work agent that is not told of changes: 19 "
        "seconds, on a cluster with one control-plane node 114. Give more where Klusterlets have a longer "
        "statusSyncInterval.", unit="seconds",
    )  # fmt: skip
    workers: int = setting(
        8, "CGUs that are worked on at the same time; each one is always handled by one worker."
    )
    concurrency: int = setting(
        32, "Clusters that requests are sent for at the same time at most, one request each. It is halved "
        "when the API server says 429 or gets slow, and creeps up again.",
    )  # fmt: skip
    leader_elect: bool = setting(True, "Hold a Lease, so that one of several replicas is at work.")
    lease_duration: float = setting(
        15.0, "A Lease that was not renewed for so long may be taken by another replica. "
        "Defaults of client-go.", unit="seconds",
    )  # fmt: skip
    renew_deadline: float = setting(
        10.0, "A leader that could not renew for so long stops writing and ends.", unit="seconds"
    )
    retry_period: float = setting(2.0, "Pause between two tries for the Lease.", unit="seconds")
    takeover: bool = setting(
        False, "Start although the existing operator's Lease 9a2365a3.openshift.io is being "
        "renewed. Two operators on one hub undo each other's work.",
    )  # fmt: skip
    bind_address: str = setting(
        "127.0.0.1:8080", "Where /healthz, /readyz and /metrics are served; the Deployment sets "
        "0.0.0.0:8080. Without a host: all addresses. Port 0 lets the system choose.",
    )  # fmt: skip
    graph_timeout: float = setting(
        10.0, "How long one request to an update graph may take.", unit="seconds"
    )
    graph_insecure: bool = setting(
        False, "Do not verify the certificate of update graphs (INSECURE_GRAPH_CALL of the "
        "existing operator).",
    )  # fmt: skip
    log_format: str = setting("json", "Form of the log lines.", choices=("json", "console"))
    log_level: str = setting(
        "info", "Info tells of CGUs and batches, debug also of every cluster.",
        choices=("debug", "info", "warning", "error"),
    )  # fmt: skip
    shutdown_grace: float = setting(
        15.0, "How long running passes may finish after SIGTERM. Events that wait and the Lease take up "
        "to 10 s more, which together is less than a pod's 30 s.", unit="seconds",
    )  # fmt: skip

    @property
    def rules(self) -> Rules:
        """The part of the settings that decides."""
        asks = self.verify_after > 0 and self.profile == "talm"
        images = tuple(i.strip() for i in self.allowed_workload_images.split(",") if i.strip())
        return Rules(
            vocabulary=Vocabulary(self.conditions),
            setup_deadline=dt.timedelta(minutes=self.setup_deadline),
            unavailable_grace=dt.timedelta(minutes=self.unavailable_grace),
            allowed_workload_images=images,
            verify_after=dt.timedelta(hours=self.verify_after) if asks else None,
            unpins=self.profile == "talm" and self.image_store != StoreKind.OCI_LAYOUT,
        )

    @property
    def patience(self) -> Patience:
        """How long a cluster may say nothing."""
        return Patience(
            workload=dt.timedelta(seconds=self.workload_silence),
            agent=dt.timedelta(seconds=self.agent_silence),
            poll=dt.timedelta(seconds=self.agent_poll),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names in `pull_secrets`."""
        return tuple(name.strip() for name in self.pull_secrets.split(",") if name.strip())

    @property
    def bind(self) -> tuple[str, int]:
        """Host and port of `bind_address`."""
        host, _, port = self.bind_address.rpartition(":")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 (asked for, as in Go's flags)


POSITIVE: Final = (
    "nodes_at_once", "setup_deadline", "unavailable_grace", "workload_silence", "agent_silence", "agent_poll",
    "workers", "concurrency", "lease_duration", "renew_deadline", "retry_period", "graph_timeout",
    "shutdown_grace",
)  # fmt: skip


HIGHEST_PORT: Final = 65_535
LONGEST_H: Final = 24 * 365  # no cache is believed for longer than that


def check(settings: Settings) -> Settings:
    """Return the settings when they make sense.

    Raises `SetupError`, which names the setting, what it was and what it must be.
    """
    if not settings.workload_image:
        raise SetupError(
            "workload-image is not set: there is no default image; give --workload-image or "
            "TALM_WORKLOAD_IMAGE"
        )
    for field in dataclasses.fields(settings):
        choices = field.metadata["choices"]
        value = getattr(settings, field.name)
        if choices and value not in choices:
            raise SetupError(
                f"{flag(field.name)} is {value!r}: it must be one of {', '.join(choices)}"
            )
        if field.name in POSITIVE and not (value > 0 and math.isfinite(value)):
            raise SetupError(f"{flag(field.name)} is {value}: it must be positive")
    if not 0 <= settings.verify_after <= LONGEST_H:
        raise SetupError(
            f"verify-after is {settings.verify_after}: it must be between 0 and {LONGEST_H}"
        )
    if settings.transport == "manifest-work" and settings.profile != "talm":
        raise SetupError(
            f"transport manifest-work carries profile talm alone, not {settings.profile}"
        )
    if not settings.retry_period < settings.renew_deadline < settings.lease_duration:
        raise SetupError("retry-period < renew-deadline < lease-duration must hold")
    _, colon, port = settings.bind_address.rpartition(":")
    if not (colon and port.isdecimal() and int(port) <= HIGHEST_PORT):
        raise SetupError(f"bind-address is {settings.bind_address!r}: it must be HOST:PORT")
    try:
        check_spoke_namespace(settings.spoke_namespace)
    except BadSpec as exc:
        raise SetupError(f"spoke-namespace: {exc}") from exc
    return settings


def flag(name: str) -> str:
    """`setup_deadline` -> `setup-deadline`: the name in flags and files."""
    return name.replace("_", "-")


EXIT_CODES: Final = """\
## How the operator ends

| exit code | why | what helps |
|---|---|---|
| 0 | SIGTERM or SIGINT: passes that run may finish, events are sent, the Lease is let go. A second signal \
does not wait for the passes | |
| 1 | something unexpected; the last lines say what | a bug report |
| 2 | a setting, the hub (its CRDs; the existing operator at work) or the address is not as it must be | \
what the sentence says |
| 3 | the Lease was lost; another replica leads by then | nothing: a restarted one waits for its turn |
| 4 | no usable credentials for the API server | what the sentence says |
| 5 | the API server refused or did not answer at the start | nothing: a kubelet starts it again |

Once at work, an outage of the API server is waited for; one that lasts longer than `renew-deadline` costs the
Lease (3), and a replica that is started meanwhile finds nobody to talk to (5).
"""


def to_markdown() -> str:
    """The reference page of all settings."""
    rows = ["| setting | unit | default | why |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = f"`{field.default}`" if field.default != "" else ""
        choices = field.metadata["choices"]
        one_of = f" One of {', '.join(f'`{c}`' for c in choices)}." if choices else ""
        name = flag(field.name)
        rows.append(
            f"| `{name}` | {field.metadata['unit']} | {default} | {field.metadata['why']}{one_of} |"
        )
    return (
        "# Settings of the operator\n\n"
        "Made from `src/talm/hub/settings.py` by `make docs`; do not edit.\n\n"
        "A flag `--NAME` beats the environment's `TALM_NAME` (upper case, underscores), which beats the "
        "file named by `--config`, which beats the default.\n\n"
        + "\n".join(rows)
        + "\n\n"
        + EXIT_CODES
    )
