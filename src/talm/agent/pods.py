"""What the workload reads of the pods of its namespace: whose they are, how they stand or ended."""

from __future__ import annotations

import datetime as dt

from talm.api.kinds import JOB
from talm.api.meta import ObjectMeta, Wire


class _Terminated(Wire, frozen=True, kw_only=True):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class _Waiting(Wire, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class _State(Wire, frozen=True, kw_only=True):
    terminated: _Terminated | None = None
    waiting: _Waiting | None = None


class _Container(Wire, frozen=True, kw_only=True):
    state: _State = _State()


class _Condition(Wire, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(Wire, frozen=True, kw_only=True):
    phase: str = ""
    reason: str = ""
    start_time: dt.datetime | None = None
    conditions: tuple[_Condition, ...] | None = None
    container_statuses: tuple[_Container, ...] | None = None


class Pod(Wire, frozen=True, kw_only=True):
    """What is read of a pod."""

    metadata: ObjectMeta
    status: _Status = _Status()

    @property
    def job(self) -> str:
        """The uid of the Job that made it; "" for a pod of somebody else."""
        owners = self.metadata.owner_references or ()
        return next((owner.uid for owner in owners if owner.kind == JOB.kind), "")

    @property
    def order(self) -> tuple[dt.datetime, str]:
        """Sorts pods by the time at which they were created."""
        created = self.metadata.creation_timestamp or dt.datetime.min.replace(tzinfo=dt.UTC)
        return created, self.metadata.name
