"""The pod that tells what keeps the Job's from starting: the Job's own in all but its name and command.

The same image, account, mounts, rights, tolerations and requests: what is in the Job's way is in its
way, too.  Where it starts after all, it prints its version and is done: nothing of the node is touched.
"""

from __future__ import annotations

from typing import Any, Final

from talm.spokes.manifests import DIAGNOSIS_POD, Manifest, namespaced

COMMAND: Final = ("talm", "--version")


def diagnosis_pod(job: Manifest, namespace: str) -> Manifest:
    """The pod, after the Job as it was ordered."""
    template: dict[str, Any] = job["spec"]["template"]
    spec = template["spec"]
    (container,) = spec["containers"]
    body = namespaced("v1", "Pod", DIAGNOSIS_POD, namespace)
    body["metadata"]["annotations"] = dict(template["metadata"].get("annotations") or {})
    body["spec"] = spec | {"containers": [container | {"command": list(COMMAND)}]}
    return body
