"""Write the pages that are made from the code, or check that they are up to date.

    docs/states.md                  talm.core.precache: the table of a cluster's states
    docs/reference/settings.md      talm.hub.settings: the table of the operator's settings
    docs/reference/metrics.md       talm.hub.metricnames: the catalog of the operator's metrics
    docs/reference/conditions.md    talm.core.conditions: every story that conditions can tell, told

`docs/reference/crds.md` is made with the CRDs (`make crds`).
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import click

from talm.api.words import Reason
from talm.core import precache
from talm.core.conditions import Says, current_says, manual_says
from talm.core.story import Precaching, PrecachingVerdict, Problem, Rollout, RolloutVerdict, Story
from talm.hub import metricnames, settings

ROOT: Final = Path(__file__).parents[1]

SELECTION: Final = Problem(
    Reason.CLUSTER_NOT_FOUND,
    "Unable to select clusters: cluster C is not a ManagedCluster",
    Reason.UPGRADE_CANNOT_START,
    "The ClusterGroupUpgrade CR: Unable to select clusters: cluster C is not a ManagedCluster",
)
SPECIFICATION: Final = Problem(
    Reason.SPEC_INCOMPLETE,
    "Precaching spec is incomplete: WHY",
    Reason.SPEC_IS_INCOMPLETE,
    "WHY",
)


def validation(reason: Reason, message: str, manual: str = "") -> Story:
    """A CGU whose policies cannot be acted on; the manual has words of its own for a few only."""
    told = manual or f"The ClusterGroupUpgrade CR: {message}"
    return Story(validation=Problem(reason, message, Reason.UPGRADE_CANNOT_START, told))


def precaching(kind: Precaching, count: int = 0, rollout: Rollout = Rollout.NOT_REACHED) -> Story:
    """A valid CGU whose pre-caching stands so."""
    return Story(
        validated=True,
        precaching_required=True,
        spec_judged=True,
        precaching=PrecachingVerdict(kind, count),
        rollout=RolloutVerdict(rollout),
    )


def remediation(kind: Rollout, names: tuple[str, ...] = (), text: str = "") -> Story:
    """A CGU whose remediation stands so; what was said of the rest stays."""
    return Story(rollout=RolloutVerdict(kind, names, text))


MISSING: Final = "The ClusterGroupUpgrade CR has: missing managed policies: [A B] "
INVALID: Final = "The ClusterGroupUpgrade CR has: invalid managed policies: [A B] "
PLACEMENT: Final = (
    'Placement "P" in namespace "N" cannot select clusters: WHY. Create a ManagedClusterSetBinding '
    'for the "default" ManagedClusterSet in the policy namespace.'
)
STORIES: Final[Mapping[str, Mapping[str, Story]]] = {
    "Selection and validation": {
        "A cluster is not known": Story(selection=SELECTION),
        "Managed policies are missing": validation(
            Reason.NOT_ALL_MANAGED_POLICIES_EXIST, "Missing managed policies: [A B] ", MISSING
        ),
        "Managed policies cannot be read": validation(
            Reason.NOT_ALL_MANAGED_POLICIES_EXIST, "Invalid managed policies: [A B] ", INVALID
        ),
        "A managed policy's name is not unique": validation(
            Reason.AMBIGUOUS_POLICY_NAMES,
            "Managed policy name should be unique, but was found in multiple namespaces: "
            '{"A":["N1","N2"]} ',
            "Managed policy name should be unique, but was found in multiple namespaces: "
            '{"A":["N1","N2"]} ',
        ),
        "The release that the policies ask for cannot be found": validation(
            Reason.INVALID_PLATFORM_IMAGE, "WHY"
        ),
        "A policy depends on a later one": validation(
            Reason.UNRESOLVABLE_DEPENDENCY,
            "Managed Policy A depends on B, which is to be remediated later",
        ),
        "Something is asked for that this version cannot do": validation(
            Reason.UNSUPPORTED, "WHAT is not supported by this version"
        ),
        "All is well": Story(validated=True),
    },
    "Pre-caching": {
        "The specification is invalid": Story(
            precaching_required=True, validated=True, spec_judged=True, spec=SPECIFICATION
        ),
        "Clusters are under way": precaching(Precaching.IN_PROGRESS, 2),
        "Every cluster succeeded": precaching(Precaching.COMPLETED, rollout=Rollout.READY),
        "Some clusters failed": precaching(Precaching.PARTIALLY_DONE, 1, Rollout.READY),
        "Every cluster failed: the end": precaching(
            Precaching.FAILED, 2, Rollout.ALL_FAILED_PRECACHING
        ),
    },
    "Remediation": {
        "`enable` is false": remediation(Rollout.NOT_ENABLED),
        "A blocking CGU does not exist": remediation(Rollout.BLOCKED_BY_MISSING, ("X", "Y")),
        "A blocking CGU is not complete": remediation(Rollout.BLOCKED_BY_INCOMPLETE, ("X", "Y")),
        "A backup is asked for": remediation(
            Rollout.UNSUPPORTED, text="backup is not supported by this version"
        ),
        "Clusters are being updated": remediation(Rollout.RUNNING),
        "A batch waits until its clusters are verified": remediation(
            Rollout.VERIFYING,
            text="2 clusters of batch 3 of 9 to verify that everything is still cached: X, Y",
        ),
        "A Placement cannot select its clusters": remediation(
            Rollout.WAITING_FOR_PLACEMENT, text=PLACEMENT
        ),
        "Time is up": remediation(Rollout.TIMED_OUT),
        "A batch ran out of time with action `Abort`": remediation(
            Rollout.TIMED_OUT, text=" on some clusters"
        ),
        "A canary ran out of time": remediation(Rollout.TIMED_OUT, text=" on canary clusters"),
        "Nothing was to be done": remediation(Rollout.ALREADY_COMPLIANT),
        "Every cluster complies": remediation(Rollout.COMPLETED),
    },
}

CONDITIONS_HEAD: Final = """\
# Conditions of a ClusterGroupUpgrade

Made from `src/talm/core/conditions.py` by `make docs`; do not edit.

The setting `conditions` says which words are written: those of the `manual`, the `current` ones of the
existing operator, or `all`. With `all` the manual's block comes first, in its own order (`Ready`,
`PrecachingDone`, `PrecacheSpecValid`), then the current block, in which the condition whose status flipped
last is the last one; `PrecacheSpecValid`, which both know, then has the manual's text. `kubectl get cgu`
prints the last condition.

A condition's time moves when its status flips. What a row does not mention stays as it was said before,
but: `PrecacheSpecValid` goes away in the manual's words when pre-caching is done; while the specification
is invalid there is neither `PrecachingSuceeded` nor `Progressing`; an unfinished verdict on pre-caching
goes away when `preCaching` is switched off; when what is to be cached has changed, the verdict is taken
back and clusters are under way again. Conditions of other writers are kept; one of them steers: `Succeeded`,
whoever wrote it, ends the CGU.

Capital letters stand for what the case at hand fills in. Spelling and blanks at the end of a message are
kept as scripts know them.
"""


def conditions_page() -> str:
    """Every story, told in both vocabularies."""
    parts = [CONDITIONS_HEAD]
    for title, stories in STORIES.items():
        rows = ["| when | words | type | status | reason | message |", "|---|---|---|---|---|---|"]
        for when, story in stories.items():
            rows += _rows(when, "manual", manual_says(story))
            rows += _rows(when, "current", current_says(story))
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _rows(when: str, words: str, says: Iterable[Says]) -> list[str]:
    return [
        f"| {when} | {words} | `{said.type}` | {said.status} | `{said.reason}` | `{said.message}` |"
        for said in says
    ]


def generated() -> dict[Path, str]:
    """Map every generated page (relative to the repository's root) to what it should hold."""
    return {
        Path("docs/states.md"): precache.to_markdown(),
        Path("docs/reference/settings.md"): settings.to_markdown(),
        Path("docs/reference/metrics.md"): metricnames.to_markdown(),
        Path("docs/reference/conditions.md"): conditions_page(),
    }


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a page is out of date.")
@click.option("--root", default=ROOT, type=click.Path(path_type=Path, file_okay=False))
def main(check: bool, root: Path) -> None:
    """Write the generated pages, or check that they are up to date."""
    stale = False
    for path, text in generated().items():
        there = (root / path).read_text() if (root / path).exists() else ""
        if there == text:
            continue
        if check:
            stale = True
            lines = difflib.unified_diff(
                there.splitlines(), text.splitlines(), str(path), "generated", lineterm=""
            )
            click.echo("\n".join(lines))
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        click.echo(f"wrote {path}")
    if stale:
        click.echo("out of date: run `make docs` and commit the result", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
