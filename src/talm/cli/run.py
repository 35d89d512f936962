"""`talm run`: the operator.  Flags, environment and file come from one table (`hub/settings.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import yaml

from talm.errors import SetupError
from talm.hub.settings import Settings, check, flag

WORDS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option per setting, in the table's order."""
    for field in reversed(dataclasses.fields(Settings)):
        command = _option(field)(command)
    return command


def _option(field: dataclasses.Field[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    name, meta = field.name, field.metadata
    unit = f" [{meta['unit']}]" if meta["unit"] else ""
    default = f" Default: {field.default}." if field.default not in ("", None) else ""
    declaration = f"--{flag(name)}"
    kind: Any = type(field.default)
    if kind is bool:
        declaration = f"--{flag(name)}/--no-{flag(name)}"
        kind = None
    elif meta["choices"]:
        kind = click.Choice(meta["choices"])
    return click.option(
        declaration, name, type=kind, default=None, help=f"{meta['why']}{unit}{default}"
    )


@click.command(name="run")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file of settings, keys as the flags without the leading dashes.",
)
@settings_options
def run(config: Path | None, **flags: Any) -> None:
    """Run the operator until SIGTERM.

    Every setting can be a flag, an environment variable (TALM_ and the name in upper case with
    underscores) or a line of the file; a flag beats the environment, which beats the file.

    Exits with 0 after SIGTERM, 2 when a setting or the hub is not as it must be, 3 when the Lease was
    lost, 4 without usable credentials, 5 when the API server did not answer at the start: whoever
    started the operator (a kubelet) starts it again. Later outages are waited for while the Lease
    can be renewed. A second SIGTERM does not wait for what is under way.
    """
    settings = check(gather(flags, dict(os.environ), config))
    import uvloop  # here: only an installation for the hub has it

    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    from talm.hub.app import Operator
    from talm.hub.logs import set_up

    set_up(settings.log_format, settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    working = asyncio.ensure_future(Operator(settings).run(stop))

    def stop_or_hurry() -> None:
        if stop.is_set():
            working.cancel()  # what is under way is abandoned, the Lease is released nonetheless
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop_or_hurry)
    with contextlib.suppress(asyncio.CancelledError):
        await working


def gather(flags: dict[str, Any], environment: dict[str, str], config: Path | None) -> Settings:
    """Merge flags, environment and file.

    Raises `SetupError` for a key that is no setting and for a value of the wrong type.
    """
    known = {field.name: field for field in dataclasses.fields(Settings)}
    values: dict[str, Any] = {}
    if NAMESPACE_FILE.exists():
        values["namespace"] = NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    for key, value in _from_file(config).items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise SetupError(f"{config}: {key!r} is no setting; see talm run --help")
        values[name] = _typed(known[name], value, f"{config}: {key}")
    for name, field in known.items():
        variable = f"TALM_{name.upper()}"
        if environment.get(variable):
            values[name] = _typed(field, environment[variable], variable)
    values |= {name: value for name, value in flags.items() if value is not None}
    return Settings(**values)


def _from_file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        read = yaml.load(config.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise SetupError(f"{config} cannot be read: {exc}") from exc
    if not isinstance(read or {}, dict):
        raise SetupError(f"{config}: it must be a map of settings")
    return read or {}


def _typed(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """The value in the setting's type; words and numbers come from the environment as text."""
    kind: type[Any] = type(field.default)
    try:
        return _convert(kind, value)
    except (KeyError, TypeError, ValueError):
        raise SetupError(f"{where} is {value!r}: it must be of type {kind.__name__}") from None


def _convert(kind: type[Any], value: Any) -> Any:
    """Text becomes what it says; an int is a float, too; nothing else is anything but itself."""
    if type(value) is kind:
        return value
    if kind is bool:
        return WORDS[str(value).lower()]
    if isinstance(value, str) or (kind is float and type(value) is int):
        return kind(value)
    raise TypeError
