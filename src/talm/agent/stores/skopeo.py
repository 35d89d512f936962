"""One image through skopeo: what it must read and write beside the store, and what its words mean.

    .import-XXXX/.config/containers/registries.conf    leads the image to the gateway
                                    registries.d/      and its signatures
                 layers/                               on their way into the store, as served

The directory goes with the call, and is the call's home: beside a user's own registries.conf the
system's drop-ins are not read, which could lead elsewhere (sysregistriesv2 of containers/image; by its
flag they are).  It is in the spool where skopeo can see that, so that what a killed run leaves there is
found by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from talm.agent.content.manifests import Image
from talm.agent.failures import printable, text_of
from talm.agent.stores.names import names_of, repository
from talm.agent.stores.signatures import Signatures
from talm.agent.transfer.spool import storage_errors
from talm.api.progress import REJECTED_CODE, FailureClass
from talm.errors import AgentError

PREFIX: Final = ".import-"

_CONTAINERS: Final = ".config/containers"

_REJECTED: Final = re.compile(r"Source image rejected: (.+?)\"?$")


@contextlib.contextmanager
def workplace(
    directory: Path, image: Image, gateway: str, signatures: Signatures
) -> Iterator[Path]:
    """Make the directory in `directory` for one call, and remove it with all that is in it.

    `gateway` is HOST:PORT/NAME.  Raises AgentError (StoreFailed, InsufficientSpace).
    """
    registries = (
        "unqualified-search-registries = []\n[[registry]]\n"
        f"prefix = {json.dumps(repository(image.reference))}\n"
        f"location = {json.dumps(gateway)}\ninsecure = true\n"
    )
    with storage_errors(directory):
        made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=directory, ignore_cleanup_errors=True)
    with made as name:
        place = Path(name)
        with storage_errors(place):
            (place / "layers").mkdir()
            (place / _CONTAINERS / "registries.d").mkdir(parents=True)
            said = signatures.registries_d(gateway)
            (place / _CONTAINERS / "registries.d" / "gateway.yaml").write_bytes(said)
            (place / _CONTAINERS / "registries.conf").write_text(registries)
        yield place


def user_policy(root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the policy.json that is the user's own, as skopeo sees it; "" when the system's counts."""
    file = Path(environment.get("HOME", "/root"), _CONTAINERS, "policy.json")
    return str(file) if (root / str(file).lstrip("/")).is_file() else ""


def copy_arguments(image: Image, name: str, place: str, policy: str) -> list[str]:
    """Return skopeo's arguments to copy the image to `name`; `place` is the workplace as it sees it.

    $HOME must be `place`.
    """
    return [
        *([f"--policy={policy}"] if policy else []),
        f"--tmpdir={place}/layers",
        "copy",
        "--quiet",
        "--src-no-creds",
        f"docker://{names_of(image)[0]}",
        f"containers-storage:{name}",
    ]


def explained(error: AgentError, image: Image, signatures: Signatures) -> AgentError:
    """Return the failure of a copy as what it is: a rejection by the node's policy is final."""
    reference = str(image.reference)
    if signatures.failed:
        return AgentError(
            signatures.failed.kind,
            f"{reference}: its signature: {text_of(signatures.failed)}",
            signatures.failed.exit_code,
        )
    if rejected := _REJECTED.search(text_of(error)):
        text = f"{reference}: rejected by the node's policy.json: {rejected[1]}"
        return AgentError(FailureClass.STORE_FAILED, printable(text), REJECTED_CODE)
    return AgentError(error.kind, f"{reference}: {text_of(error)}", error.exit_code)
