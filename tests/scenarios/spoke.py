"""One spoke of the tiny world, and the hub's objects about it: behaves, and has faults.

    carry_out ──► orders (actions) ──due, link up──► the spoke: namespace, what the Job needs, the Job
    look ◄── answer (view) ◄──due, link up──────────┘

Times are whole seconds of the world's clock.  An answer is what was true when the agent read it; the
hub knows that it is stale when an order was carried out later.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from talm.core.model import Effect, Fact, Sight

STRANGER: Final = "an earlier run"
NOTICE_S: Final = 60  # until the hub calls a cluster unavailable
POLL_S: Final = 30  # a view is read again
JOB_START_S: Final = 2
NEVER: Final = 10**9
TAKEN_S: Final = 10  # how long a Job is active that somebody deletes


class EffectFailed(Exception):
    """The API server did not take it."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What a spoke is like; `job` is how the Job ends: Succeeded, Failed, Deadline, or it hangs."""

    job: str = "Succeeded"
    job_s: int = 300
    job_with_setup: bool = True  # what the Job needs and the Job are asked for together
    vanishes_once: bool = False  # somebody deletes the Job while it is active
    leftovers: bool = False
    stuck: bool = False  # the namespace of an earlier run is being deleted for ever
    deletion_s: int = 5
    answer_s: int = 1
    slow_s: int = 0  # actions are carried out so much later than views are answered
    lost_orders: int = 0  # so many orders vanish without having been carried out
    failing: float = 0.0  # share of effects that the API server refuses
    down: tuple[tuple[int, int], ...] = ()  # the link: from, to
    silent: tuple[tuple[int, int], ...] = ()  # the agents, though the cluster is available


@dataclass(slots=True)
class Job:
    run: str
    created: int
    ends: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the view says: read at `at`."""

    at: int
    owner: str  # of the namespace; "" when there is none
    going: bool
    ready: bool
    job_run: str
    job_state: str


@dataclass(slots=True)
class Order:
    kind: str  # delete, prepare, start
    run: str
    due: int


@dataclass
class Spoke:
    """A spoke; `jobs` counts the Jobs that were created per run, `taken` those that were taken away."""

    name: str
    habits: Habits = Habits()
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    job_limit_s: int = 0
    # the spoke
    owner: str = ""
    going_until: int | None = None
    ready: bool = False
    job: Job | None = None
    jobs: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    # the hub's objects about it
    asked_by: str = ""
    about_job: bool = False
    asked_at: int = 0
    answer: Answer | None = None
    orders: list[Order] = field(default_factory=list)
    done_at: int = -1
    lost: bool = False
    lost_left: int = 0
    succeeded: str = ""
    _shown: object = None

    def __post_init__(self) -> None:
        self.lost_left = self.habits.lost_orders
        if self.habits.leftovers or self.habits.stuck:
            self.owner = STRANGER

    # --- the link ---

    def is_linked(self, now: int) -> bool:
        return not _within(self.habits.down, now)

    def available_since(self, now: int) -> tuple[bool, int]:
        """Whether the hub calls it available, and since when it says so."""
        since, available = 0, True
        for start, end in self.habits.down:
            if end - start <= NOTICE_S:
                continue
            for moment, word in ((start + NOTICE_S, False), (end, True)):
                if moment <= now:
                    since, available = moment, word
        return available, since

    # --- the transport's two questions ---

    def look(self, run: str, now: int) -> Sight:
        fact, note = self._fact(run)
        return Sight(fact, note)

    def _fact(self, run: str) -> tuple[Fact, str]:
        answer = self.answer
        if self.succeeded == run:
            return Fact.JOB_SUCCEEDED, "the deletion says that the Job had succeeded"
        if self.asked_by != run:
            return Fact.UNASKED, ""
        if answer is None:
            return Fact.UNANSWERED, "the view has not been answered"
        if answer.at < self.done_at:
            return Fact.STALE, "the view was answered before the last action"
        if self.about_job and answer.job_run:
            return _job_fact(answer, run)
        if not self.about_job and answer.owner and (answer.owner != run or answer.going):
            kept = not answer.going and not self._is_ordered("delete")
            return (Fact.LEFTOVERS_KEPT if kept else Fact.LEFTOVERS), "the namespace is there"
        if self._is_ordered("prepare") or self._is_ordered("start"):
            return Fact.SETTING_UP, "actions are not carried out yet"
        if self.lost:
            return Fact.SETUP_LOST, "an action got lost"
        if self.about_job:
            return Fact.JOB_MISSING, "there is no Job"
        return (Fact.JOB_UNASKED if answer.ready else Fact.CLEAN), ""

    def carry_out(self, effects: tuple[Effect, ...], run: str, now: int, job_limit_s: int) -> None:
        """Carry effects out; raises `EffectFailed`, and then those before it are done."""
        self.job_limit_s = job_limit_s
        for effect in effects:
            if self.rng.random() < self.habits.failing:
                raise EffectFailed(f"{effect.name} on {self.name}: 500")
            self._do(effect, run, now)

    def _do(self, effect: Effect, run: str, now: int) -> None:
        if effect in {Effect.CLEAN_UP, Effect.REMOVE}:
            self.orders.clear()
        if effect is Effect.REMOVE:
            # As the view/action transport does: whoever dies now finds the success on the deletion.
            done = self._fact(run)[0] is Fact.JOB_SUCCEEDED
            self.succeeded, self.asked_by = run if done else "", ""
        if effect is Effect.CLEAN_UP:
            self.succeeded = ""
        if effect is Effect.WITHDRAW:
            self.orders = [order for order in self.orders if order.kind == "delete"]
        if effect in {Effect.CLEAN_UP, Effect.PREPARE}:
            self.lost = False
        for kind in self._orders_of(effect):
            self._order(kind, run, now)
        questions = {
            Effect.CLEAN_UP: False,
            Effect.ASK: self.about_job,
            Effect.PREPARE: self.habits.job_with_setup,
            Effect.ASK_JOB: True,
            Effect.START_JOB: True,
        }
        if effect in questions:
            self._ask(run, now, about_job=questions[effect])

    def _orders_of(self, effect: Effect) -> tuple[str, ...]:
        match effect:
            case Effect.CLEAN_UP | Effect.REMOVE_AGAIN | Effect.REMOVE:
                return ("delete",)
            case Effect.PREPARE | Effect.START_JOB if self.habits.job_with_setup:
                return ("prepare", "start")
            case Effect.PREPARE:
                return ("prepare",)
            case Effect.START_JOB:
                return ("start",)
            case _:
                return ()

    def _ask(self, run: str, now: int, *, about_job: bool) -> None:
        self.asked_by, self.about_job, self.asked_at, self.answer = run, about_job, now, None

    def _order(self, kind: str, run: str, now: int) -> None:
        if not self._is_ordered(kind):
            due = now + self.habits.answer_s + self.habits.slow_s
            self.orders.append(Order(kind, run, due))

    def _is_ordered(self, kind: str) -> bool:
        return any(order.kind == kind for order in self.orders)

    # --- the spoke's own life ---

    def next_event(self, now: int) -> int | None:
        """The next second after `now` in which something may happen here."""
        moments = [t for span in self.habits.down for t in (*span, span[0] + NOTICE_S)]
        moments += [t for span in self.habits.silent for t in span]
        moments += [order.due for order in self.orders]
        if self.asked_by:
            moments.append(self._answer_due(now))
        if self.going_until is not None:
            moments.append(self.going_until)
        if self.job is not None:
            started = self.job.created + JOB_START_S
            moments += [started, started + TAKEN_S, self.job.ends]
        return min((moment for moment in moments if moment > now), default=None)

    def _answer_due(self, now: int) -> int:
        if self.answer is None:
            return max(self.asked_at + self.habits.answer_s, now if self._hears(now) else 0)
        return self.answer.at + POLL_S

    def _hears(self, now: int) -> bool:
        return self.is_linked(now) and not _within(self.habits.silent, now)

    def tick(self, now: int) -> bool:
        """Let everything happen that is due; True when the hub can see a change."""
        before = self._visible(now)
        if self.going_until is not None and self.going_until <= now:
            self.owner, self.going_until, self.ready = "", None, False
        if self._is_taken_away(now):
            self.taken[self.job.run if self.job else ""] += 1
            self.job = None
        if self._hears(now):
            for order in [order for order in self.orders if order.due <= now]:
                self.orders.remove(order)
                self._obey(order, now)
            if self.asked_by and self._answer_due(now) <= now:
                self._answer(now)
        after = self._visible(now)
        if before == self._shown and after == before:
            return False
        self._shown = after
        return True

    def _visible(self, now: int) -> object:
        answer = self.answer and replace(self.answer, at=int(self.answer.at < self.done_at))
        return (self.available_since(now), answer, len(self.orders), self.lost)

    def _is_taken_away(self, now: int) -> bool:
        job = self.job
        if job is None or not self.habits.vanishes_once or self.taken[job.run]:
            return False
        return now >= job.created + JOB_START_S + TAKEN_S

    def _obey(self, order: Order, now: int) -> None:
        if self.lost_left:
            self.lost_left -= 1
            self.lost = order.kind != "delete"
            return
        self.done_at = now
        match order.kind:
            case "delete":
                self._delete(now)
            case "prepare" if not self.owner:
                self.owner, self.ready = order.run, True
            case "start" if self.owner == order.run and self.ready and self.job is None:
                self.jobs[order.run] += 1
                limit = now + self.job_limit_s
                ends = now + JOB_START_S + self.habits.job_s
                late = ends > limit or self.habits.job in {"Deadline", "Hangs"}
                outcome = "Deadline" if late else self.habits.job
                self.job = Job(order.run, now, limit if late else ends, outcome)
            case _:
                self.lost = self.owner != order.run or self.going_until is not None

    def _delete(self, now: int) -> None:
        if not self.owner or self.going_until is not None:
            return
        self.job = None
        stuck = self.habits.stuck and self.owner == STRANGER
        self.going_until = NEVER if stuck else now + self.habits.deletion_s

    def _answer(self, now: int) -> None:
        job = self.job
        self.answer = Answer(
            at=now,
            owner=self.owner,
            going=self.going_until is not None,
            ready=self.ready,
            job_run=job.run if job else "",
            job_state=self._job_state(job, now) if job else "",
        )

    def _job_state(self, job: Job, now: int) -> str:
        if now >= job.ends:
            return job.outcome
        pending = now < job.created + JOB_START_S or self.habits.job == "Hangs"
        return "Pending" if pending else "Active"


def _job_fact(answer: Answer, run: str) -> tuple[Fact, str]:
    if answer.job_run != run:
        return Fact.JOB_OTHER, "the Job is of another run"
    return {
        "Pending": (Fact.JOB_PENDING, "the Job has no pod yet"),
        "Active": (Fact.JOB_ACTIVE, ""),
        "Succeeded": (Fact.JOB_SUCCEEDED, ""),
        "Failed": (Fact.JOB_FAILED, "BackoffLimitExceeded: no space left"),
        "Deadline": (Fact.JOB_DEADLINE, "DeadlineExceeded"),
    }[answer.job_state]


def _within(spans: tuple[tuple[int, int], ...], now: int) -> bool:
    return any(start <= now < end for start, end in spans)
