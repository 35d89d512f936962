"""The parts of kubernetes_asyncio that we use, without the rest of it.

`import kubernetes_asyncio` loads some 800 generated models: 36 MB and a third of a second, in every process,
for nothing that is used here.  So the two package initialisers that do it are passed over, and the four
modules below are imported from their files.  Should a later version be laid out otherwise, the
whole library is imported as its authors meant it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from typing import Any, Final

LIBRARY: Final = "kubernetes_asyncio"
CLIENT: Final = f"{LIBRARY}.client"


def _bare(name: str, path: list[str] | None) -> types.ModuleType:
    """A package whose modules can be imported but whose initialiser was not run."""
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{name} is no package")
    module = types.ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    module.__spec__ = spec
    sys.modules[name] = module
    return module


def _lean() -> None:
    root = _bare(LIBRARY, None)
    client: Any = _bare(CLIENT, list(root.__path__))
    client.Configuration = importlib.import_module(f"{CLIENT}.configuration").Configuration
    client.ApiClient = object  # named by the configuration's loaders, used by what we do not call
    importlib.import_module(f"{LIBRARY}.config.kube_config")


if LIBRARY not in sys.modules:
    try:
        _lean()
    except (ImportError, AttributeError):
        for name in [n for n in sys.modules if n == LIBRARY or n.startswith(f"{LIBRARY}.")]:
            del sys.modules[name]

from kubernetes_asyncio.client import Configuration  # noqa: E402 - after the packages are in place
from kubernetes_asyncio.client.rest import RESTClientObject  # noqa: E402
from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader  # noqa: E402
from kubernetes_asyncio.config.kube_config import (  # noqa: E402
    FileOrData,
    KubeConfigLoader,
    KubeConfigMerger,
)

__all__ = [
    "Configuration",
    "FileOrData",
    "InClusterConfigLoader",
    "KubeConfigLoader",
    "KubeConfigMerger",
    "RESTClientObject",
]
