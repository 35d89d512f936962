"""The manual's walk-through, step by step: commands typed, output shown, every expectation checked.

    a broken-off update's leftovers ─► apply, get ─► states up to Active ─► status, Job and pod
    ─► an agent killed ─► states up to the end, what is stored ─► enable ─► complete

Decided here: the order, what is waited for, and what is written down of it (`Record`).  Not here:
what must hold (sim/demo/expectations.py), what the world consists of (sim/demo/demoworld.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import yaml

from talm.api import kinds
from talm.api.words import FINAL_PHASES, MANUAL_NAMESPACE, ConditionType, Phase, Reason
from talm.cli.render import ClusterLine, Screen, readable
from talm.core.precache import BEFORE_SETUP
from talm.errors import SetupError
from talm.sim import waiting
from talm.sim.demo import demohub, killing
from talm.sim.demo.breakage import Break, Moment
from talm.sim.demo.cguwatch import CguWatch, Change
from talm.sim.demo.demospoke import last_words
from talm.sim.demo.demoworld import WIDE_BYTES_PER_S, DemoWorld
from talm.sim.demo.expectations import CGU_FILE, KILL, RUN, Manual, Record, Verdict, judge
from talm.sim.plane.kubectl import run_kubectl

PATIENCE_S: Final = 150.0
"""What takes seconds is waited for so long: other people may be using the machine."""
_LOOK_S: Final = 0.25
_GIVEN_UP: Final = (Reason.UPGRADE_CANNOT_START, Reason.UPGRADE_TIMED_OUT)
_MIB: Final = 1 << 20


class Walk:
    """One walk; `verdicts` has every expectation once it has been run."""

    def __init__(
        self, world: DemoWorld, manual: Manual, screen: Screen, broken: Break | None = None
    ) -> None:
        self.record = Record(clusters=world.clusters, sites=tuple(world.spokes), image=world.image)
        self.verdicts: list[Verdict] = []
        self._world = world
        self._manual = manual
        self._screen = screen
        self._broken = broken
        self._patience_s = (broken.patience_s if broken else None) or PATIENCE_S
        self._watch = CguWatch(world.client, (demohub.NAMESPACE, demohub.CGU), world.clusters)
        self._littered = world.clusters[1]
        self._planted = ""

    async def run(self) -> bool:
        """Walk to the end, whatever fails on the way; returns whether every expectation holds.

        Raises SetupError when a part of the world ends by itself, and ApiError.
        """
        async with self._watch:
            await self._arrive()
            await self._apply()
            await self._look_at_active()
            await self._finish_precaching()
            await self._update()
        return all(verdict.holds for verdict in self.verdicts)

    # --- the steps ---

    async def _arrive(self) -> None:
        """Plant what the walk is to find, and wait until the policy is evaluated."""
        spoke = self._world.spokes[self._littered].client
        self._planted = await demohub.leave_behind(self._world.client, spoke, self._littered)

        async def evaluated() -> bool:
            found = await demohub.compliance(self._world.client)
            return {found.get(name) for name in self._world.clusters} == {"NonCompliant"}

        await waiting.until(evaluated, PATIENCE_S, check=self._world.check)
        self._screen.note(
            f"An earlier update was broken off on {self._littered}; its leftovers are there."
        )
        await self._break(Moment.BEFORE)

    async def _apply(self) -> None:
        self._screen.step("1. The CGU with preCaching: true, enable: false")
        self._screen.output(self._write_cgu())
        await self._show("apply")
        await self._show("list")

    async def _look_at_active(self) -> None:
        self._screen.step("2. Pre-caching starts; the line to the registry is thin")

        async def active() -> bool:
            return self._watch.all_are(Phase.ACTIVE)

        await self._follow("Waiting until the Job is active on every cluster", active, FINAL_PHASES)
        await self._show("running")
        await self._follow("Waiting until the Job's pod runs", self._pod_runs, FINAL_PHASES)
        await self._show("spoke")
        if self._watch.state(self._littered) not in BEFORE_SETUP:
            self.record.facts["leftovers"] = await self._leftovers()

    async def _finish_precaching(self) -> None:
        self._screen.step("3. An agent is killed, the line gets wider, and pre-caching ends")
        killed = await self._kill_an_agent()
        self._world.set_line(WIDE_BYTES_PER_S)

        async def ended() -> bool:
            return self._watch.all_ended

        await self._follow("Waiting until every cluster is done", ended)
        await self._break(Moment.CACHED)
        self.record.facts |= self._watch.facts()
        self.record.facts["updatedWhileDisabled"] |= await demohub.any_updated(self._world.client)
        self.record.facts["layouts"] = {
            name: await spoke.stored_digest(self._world.image)
            for name, spoke in self._world.spokes.items()
        }
        if "leftovers" not in self.record.facts:
            self.record.facts["leftovers"] = await self._leftovers()
        for cluster in self._world.clusters:
            self._screen.note(_path(cluster, self._watch.states[cluster]))
        for name, digest in self.record.facts["layouts"].items():
            self._screen.note(f"{name} has stored {digest or 'no manifest of the release'}")
            for words in await last_words(self._world.spokes[name].client):
                self._screen.note(f"{name}: the workload's last words: {words}")
        self._check(RUN)
        if killed and self._watch.all_are(Phase.SUCCEEDED):
            self._tell_resumed(killed)
        self._check(KILL)

    async def _kill_an_agent(self) -> killing.Killed | None:
        """Kill the workload on the cluster whose Job was shown; None when it came to nothing."""
        cluster = self._manual.commands["spoke"].cluster

        async def in_the_middle() -> bool:
            return killing.in_the_middle(self._world, cluster)

        await self._follow("Waiting until some of it has arrived", in_the_middle, FINAL_PHASES)
        if not await in_the_middle() or self._watch.state(cluster) != Phase.ACTIVE:
            return None
        killed = await killing.kill(self._world, cluster)
        held = killed.held[cluster] / _MIB
        self._screen.note(f"Killed (SIGKILL): the agent on {cluster}, with {held:.1f} MiB there.")
        return killed

    def _tell_resumed(self, killed: killing.Killed) -> None:
        resumed = killed.resumed(self._world.held_bytes(), self._world.line.carried)
        self.record.facts["resumed"] = resumed
        held, fetched, total = (resumed[key] / _MIB for key in ("held", "fetched", "total"))
        self._screen.note(
            f"{killed.cluster}: of {total:.1f} MiB {held:.1f} were there when its agent was killed; "
            f"its next attempt fetched {fetched:.1f} MiB"
        )

    async def _update(self) -> None:
        self._screen.step("4. The maintenance window opens: enable: true")
        await self._show("enable")

        async def complete() -> bool:
            return self._watch.condition(ConditionType.READY).status == "True"

        await self._follow("Waiting until every cluster is updated", complete)
        await self._show("complete")

    # --- commands ---

    async def _show(self, look: str) -> None:
        """Type a command of the manual, show and keep its output, check what it must say."""
        command = self._manual.commands[look]
        self._screen.command(command.cluster, command.with_kubectl())
        plane = self._world.hub
        if command.cluster in self._world.spokes:
            plane = self._world.spokes[command.cluster].plane
        printed = await run_kubectl(
            plane.kubectl, command.arguments(), directory=self._world.directory
        )
        self.record.outputs[look] = printed.output
        self._screen.output(readable(printed.output) + printed.errors)
        self._check(look)

    def _check(self, look: str) -> None:
        for expectation in self._manual.about(look):
            verdict = judge(expectation, self.record)
            self.verdicts.append(verdict)
            self._screen.verdict(verdict.holds, expectation.says, verdict.seen)

    def _write_cgu(self) -> str:
        """Put the manual's file where kubectl runs; more clusters than the manual's are added."""
        text = CGU_FILE.read_text()
        body = yaml.safe_load(text)
        if tuple(body["spec"]["clusters"]) != self._world.clusters:
            body["spec"]["clusters"] = list(self._world.clusters)
            text = yaml.safe_dump(body, sort_keys=False)
        (self._world.directory / CGU_FILE.name).write_text(text)
        return text

    # --- waiting and looking ---

    async def _follow(
        self,
        title: str,
        true: Callable[[], Awaitable[bool]],
        too_late: Collection[str] = (),
    ) -> None:
        """Show the clusters until it is true.

        Given up when the operator has given up, when a cluster is in a state in which it is
        `too_late`, or when the patience is over.
        """
        started = time.monotonic()
        with self._screen.live(title, self._lines, self._journal) as draw:
            while not (came := await true()):
                self._world.check()
                waited = time.monotonic() - started
                if self._is_over(too_late) or waited > self._patience_s:
                    break
                await waiting.event(self._watch.changed, _LOOK_S)
                draw()
        if not came:
            self._screen.note(f"Not so after {waited:.0f} s; the walk goes on without it.")

    def _is_over(self, too_late: Collection[str]) -> bool:
        if self._watch.condition(ConditionType.READY).reason in _GIVEN_UP:
            return True
        return any(self._watch.state(cluster) in too_late for cluster in self._watch.clusters)

    async def _pod_runs(self) -> bool:
        cluster = self._manual.commands["spoke"].cluster
        pods = await self._world.spokes[cluster].client.list(kinds.POD, MANUAL_NAMESPACE)
        return any(pod["status"].get("phase") != "Pending" for pod in pods)

    async def _leftovers(self) -> list[str]:
        spoke = self._world.spokes[self._littered].client
        return await demohub.leftovers(
            self._world.client, spoke, self._littered, view_uid=self._planted
        )

    def _lines(self) -> list[ClusterLine]:
        """The clusters as they are now."""
        lines = []
        for cluster in self._watch.clusters:
            state = self._manual.state(self._watch.state(cluster))
            seen = self._watch.states[cluster]
            message = self._watch.message(cluster) or self._progress(cluster) or state.means
            lines.append(ClusterLine(cluster, state.name, seen[-1].at if seen else None, message))
        return lines

    def _journal(self) -> list[ClusterLine]:
        """Everything that has happened to them."""
        states = [self._manual.state(change.stored) for change in self._watch.journal]
        return [
            ClusterLine(change.cluster, state.name, change.at, change.message or state.means)
            for change, state in zip(self._watch.journal, states, strict=True)
        ]

    def _progress(self, cluster: str) -> str:
        """How far the download is; "" when the Job is not active or has not said."""
        record = self._watch.progress.get(cluster)
        if record is None or self._watch.state(cluster) != Phase.ACTIVE or not record.bytes_total:
            return ""
        return f"{record.bytes_done / _MIB:.1f} of {record.bytes_total / _MIB:.1f} MiB downloaded"

    async def _break(self, moment: Moment) -> None:
        if self._broken is None or self._broken.moment is not moment:
            return
        self._screen.note(f"Broken on purpose: {self._broken.says}.")
        try:
            await self._broken.do(self._world)
        except OSError as exc:
            raise SetupError(f"nothing could be broken: {exc}") from exc


def _path(cluster: str, seen: Sequence[Change]) -> str:
    """`cnfdb1: NotStarted, PreparingToStart +0.1 s, …`: when each state was stored."""
    if not seen:
        return f"{cluster}: no state was stored"
    words = [seen[0].stored]
    words += [f"{c.stored} +{(c.at - seen[0].at).total_seconds():.1f} s" for c in seen[1:]]
    return f"{cluster}: {', '.join(words)}"
