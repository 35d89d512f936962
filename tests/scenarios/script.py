"""Scenarios in YAML: clusters and their habits, policies, CGUs, and what the user does when."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from talm.api.cgu import CguSpec, ClusterGroupUpgrade
from talm.api.precaching import PreCachingConfig
from talm.core.model import Json, ResolvedPolicy, Rules, SpecSources, Vocabulary

from .diary import Diary
from .spoke import Habits, Spoke
from .world import PolicyInWorld, World

RELEASE: Final[Mapping[str, Json]] = {
    "apiVersion": "config.openshift.io/v1",
    "kind": "ClusterVersion",
    "metadata": {"name": "version"},
    "spec": {"desiredUpdate": {"image": "quay.io/ocp-release@sha256:" + "3d" * 32}},
}


def seconds(clock: str) -> int:
    """`01:30:00` -> 5400."""
    hours, minutes, rest = (int(part) for part in clock.split(":"))
    return hours * 3600 + minutes * 60 + rest


def _span(clock: str) -> dt.timedelta | None:
    return dt.timedelta(seconds=seconds(clock)) if clock else None


def play(path: Path) -> str:
    """Run a scenario to its end and return its diary."""
    text = path.read_text()
    script: dict[str, Any] = yaml.safe_load(text)
    world = World(
        {name: Spoke(name, _habits(habits or {})) for name, habits in script["clusters"].items()},
        {name: _policy(name, policy or {}) for name, policy in script["policies"].items()},
        rules=Rules(
            vocabulary=Vocabulary(script.get("conditions", "manual")),
            verify_after=_span(script.get("verify_after", "")),
        ),
    )
    world.sources = SpecSources(config_name=script.get("config", ""))
    diary = Diary(world)
    for entry in script["happens"]:
        world.at(seconds(entry["at"]), functools.partial(_happen, world, diary, entry))
    world.run(seconds(script["until"]))
    about = "\n".join(f"# {line}" for line in script["about"].strip().splitlines())
    for name, spoke in world.spokes.items():
        diary.left_behind(name, spoke)
    return f"{about}\n{diary.text()}"


def _habits(given: dict[str, Any]) -> Habits:
    spans: dict[str, Any] = {
        key: tuple((seconds(a), seconds(b)) for a, b in given[key])
        for key in ("down", "silent")
        if key in given
    }
    return Habits(**given | spans)


def _policy(name: str, given: dict[str, Any]) -> PolicyInWorld:
    """Unless the script says otherwise a policy asks for a release."""
    objects = given.get("objects", [RELEASE])
    children = {cluster: _child(image) for cluster, image in given.get("releases", {}).items()}
    return PolicyInWorld(name, tuple(objects), given.get("applies_s", 1800), children=children)


def _child(image: str) -> ResolvedPolicy:
    """What hub templates have become on one cluster: it is asked for this release."""
    update: Mapping[str, Json] = {"desiredUpdate": {"image": image}}
    return ResolvedPolicy(({**RELEASE, "spec": update},))


def _happen(world: World, diary: Diary, entry: dict[str, Any]) -> None:
    match entry:
        case {"apply": manifest}:
            cgu = msgspec.convert(manifest, ClusterGroupUpgrade)
            diary.note(f"{cgu.metadata.name} is applied")
            world.apply(cgu)
        case {"edit": name, "spec": spec}:
            diary.note(f"{name} is edited: {_one_line(spec)}")
            whole = msgspec.to_builtins(world.cgus[name].cgu.spec) | spec
            given = msgspec.convert(whole, CguSpec)
            fields = {field: getattr(given, field) for field in given.__struct_fields__}
            world.edit(name, **fields)
        case {"delete": name}:
            diary.note(f"{name} is deleted")
            world.delete(name)
        case {"config": manifest}:
            config = msgspec.convert(manifest, PreCachingConfig)
            diary.note(f"PreCachingConfig {config.metadata.name} is applied")
            world.sources = SpecSources(config=config, config_name=config.metadata.name)
        case {"policy": name, "releases": releases}:
            diary.note(f"{name} asks for {_one_line(releases)}")
            children = {cluster: _child(image) for cluster, image in releases.items()}
            world.policies[name].children.update(children)
        case {"forget": cluster}:
            diary.note(f"the record of {cluster} is deleted")
            del world.records[cluster]
        case {"note": text}:
            diary.note(text)
        case _:
            raise ValueError(f"nothing to do in {entry}")


def _one_line(spec: dict[str, Any]) -> str:
    return yaml.safe_dump(spec, default_flow_style=True, width=1000).strip()
