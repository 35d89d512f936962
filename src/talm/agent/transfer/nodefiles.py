"""Configuration files that others wrote on the node: absent is fine, wrong is refused by its place.

A message names the file and the line or key, never a value: the files hold passwords.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog
import yaml

from talm.agent.failures import invalid_spec
from talm.errors import AgentError

log = structlog.get_logger()

# Beside its own error, the YAML library raises these for scalars that are not what their tag says.
YAML_ERRORS: Final = (
    yaml.YAMLError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    RecursionError,
)

T = TypeVar("T")


def refused(file: Path, reason: str) -> AgentError:
    """Return the error for a file that cannot be acted on."""
    return invalid_spec(f"{file}: {reason}")


def read_text(file: Path) -> str | None:
    """Return the file's text; None when it is absent, or not for this user's eyes (logged).

    Raises AgentError (InvalidSpec) when it cannot be read otherwise.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        log.warning("file of the node is not readable and not used", file=str(file))
        return None
    except UnicodeDecodeError as exc:
        raise refused(file, f"byte {exc.start} is no UTF-8") from exc
    except OSError as exc:
        raise refused(file, exc.strerror or type(exc).__name__) from exc


def read_toml(file: Path, kind: type[T]) -> T | None:
    """Read a TOML file into `kind`; None when absent.  Raises AgentError (InvalidSpec)."""
    text = read_text(file)
    if text is None:
        return None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise refused(file, str(exc)) from exc  # says line and column, and no value
    except (RecursionError, ValueError) as exc:
        raise refused(file, f"no TOML: {type(exc).__name__}") from exc
    return _typed(file, found, kind)


def read_yaml(file: Path, kind: type[T]) -> T | None:
    """Read a YAML file into `kind`; None when absent.  Raises AgentError (InvalidSpec)."""
    text = read_text(file)
    if text is None:
        return None
    try:
        found = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else "?"
        raise refused(file, f"no YAML at line {line}: {exc.problem}") from exc
    except YAML_ERRORS as exc:
        raise refused(file, f"no YAML: {type(exc).__name__}") from exc
    return _typed(file, {} if found is None else found, kind)


def _typed(file: Path, found: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(found, kind)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise refused(file, str(exc)) from exc  # "Expected `bool`, got `str` - at `$.key`"


def first_existing(root: Path, names: Iterable[str]) -> Path | None:
    """Return the first of `names` below `root` that is a file."""
    return next((root / name for name in names if (root / name).is_file()), None)


def on_node(root: Path, beside: Path, name: str) -> Path:
    """Return the file that a configuration file in `beside` means by `name` on this node."""
    return root / name.lstrip("/") if name.startswith("/") else beside / name
