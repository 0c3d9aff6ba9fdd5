"""What of one run waits to be written, and what the store has of that run."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlflow_sysmetrics.delivery.backlog import Backlog
from mlflow_sysmetrics.delivery.batch import Batch
from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.delivery.spool import Header
from mlflow_sysmetrics.delivery.steps import Steps


class State(Enum):
    """What the store has of a run, and what is written next."""

    TO_CREATE = "No run: create it."
    ASKED = "Perhaps a run: the answer to a request for it was lost. Look for it, and create it if it is not there."
    UNREAD = "A run that others wrote: read its last steps, and set it RUNNING."
    ENDED = "A run whose end was written, but it goes on since: set it RUNNING."
    RUNNING = "A run that takes points, parameters and tags, and at last its end."
    DONE = "A run whose end was written. Nothing follows."


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.TO_CREATE: frozenset({State.ASKED}),
    State.ASKED: frozenset({State.RUNNING}),
    State.UNREAD: frozenset({State.RUNNING}),
    State.ENDED: frozenset({State.RUNNING}),
    State.RUNNING: frozenset({State.ENDED, State.DONE}),
    State.DONE: frozenset(),
}


@dataclass(frozen=True)
class NewRun:
    """What a run is created with."""

    experiment_id: str = ""
    start_ms: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None


class End(NamedTuple):
    """How and when a run ended."""

    status: str
    end_ms: int | None


class RunQueue:
    """What waits for one run. Any thread may add to it; one thread takes batches from it, and moves its state.

    Args:
        points: those that wait already, and all that are added.
        state: what the store has of the run.
        run_id: MLflow's id, unless the run is to be created.
        new: what it is to be created with.
        parent: the run around it, which is created first.
        params, tags: more that waits.
        end: what is written last.
    """

    def __init__(
        self,
        points: Backlog,
        *,
        state: State = State.RUNNING,
        run_id: str | None = None,
        new: NewRun | None = None,
        parent: RunQueue | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        end: End | None = None,
    ) -> None:
        self.state, self.run_id, self.parent, self.end = state, run_id, parent, end
        self.sent = self.refused = 0  # points; entries that MLflow refuses for what they are
        self.failures, self.due_at = 0, 0.0  # for its writer: attempts in a row that failed, and when to try next
        self._points, self._new = points, new or NewRun()
        self._params, self._tags = dict(params or {}), dict(tags or {})
        self._steps = Steps()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """What the user knows it by."""
        return self._new.name or str(self.run_id)

    @property
    def is_open(self) -> bool:
        """Whether more may be added."""
        return self.state is not State.DONE and self.end is None

    @property
    def is_urgent(self) -> bool:
        """Whether the run's creation or its end waits."""
        return self.state not in (State.RUNNING, State.DONE) or self.end is not None

    @property
    def has_something(self) -> bool:
        """Whether anything waits."""
        return self.is_urgent or bool(self._params or self._tags) or not self._points.is_empty

    @property
    def waits_for_parent(self) -> bool:
        """Whether the run around it has to be created first."""
        return self.run_id is None and self.parent is not None and self.parent.run_id is None

    def add(
        self,
        points: Iterable[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add these. Values that are not finite are left out."""
        with self._lock:
            self._points.append(self._steps.place(point for point in points if math.isfinite(point.value)))
            self._params |= params or {}
            self._tags |= tags or {}

    def repeat(self) -> None:
        """The run's work begins again, somewhere before where it ended: see `Steps`."""
        with self._lock:
            self._steps.repeat()

    def reopen(self, tags: Mapping[str, str]) -> bool:
        """Take back the end, since the work begins again; False if it is written."""
        with self._lock:
            if self.state is State.DONE:
                return False
            self.end = None
            self._tags |= tags
            self._steps.repeat()
            return True

    def next_batch(self) -> Batch:
        """What of all that waits fits into one request."""
        with self._lock:
            return Batch.of(self._points, self._params, self._tags)

    def forget(self, batch: Batch, refused: int) -> None:
        """Drop the last batch, since the store has it, but so many entries that it refuses."""
        with self._lock:
            if batch.points:
                self._points.forget()
            for written, waiting in ((batch.params, self._params), (batch.tags, self._tags)):
                for name, value in written.items():
                    if waiting.get(name) == value:
                        del waiting[name]
            self.sent += len(batch.points)
            self.refused += refused

    def ask(self) -> NewRun:
        """What to create the run with, now that a request for it is sent."""
        with self._lock:
            if self.state is State.TO_CREATE:
                self._move(State.ASKED)
            if self.parent is None:
                return self._new
            return replace(self._new, tags={**self._new.tags, MLFLOW_PARENT_RUN_ID: str(self.parent.run_id)})

    def created(self, run_id: str) -> None:
        """The store has created the run."""
        with self._lock:
            self.run_id = run_id
            self._move(State.RUNNING)

    def goes_on(self, last_steps: Mapping[str, int]) -> None:
        """The run is RUNNING again, and had these last steps before."""
        with self._lock:
            self._points.change(lambda points: self._steps.follow(last_steps, points))
            self._move(State.RUNNING)

    def ended(self, end: End) -> None:
        """The store has this end."""
        with self._lock:
            if self.end is end:
                self.end = None
                self._move(State.DONE)
            else:  # the run was opened again in the meantime
                self._move(State.ENDED)

    def left(self, tracking_uri: str) -> tuple[Header, list[Point]]:
        """What a spool for this store says of the run, and the points that wait in memory."""
        with self._lock:
            return self._header(tracking_uri), self._points.in_memory()

    def _header(self, tracking_uri: str) -> Header:
        new, end, parent = self._new, self.end, None
        if self.run_id is None and self.parent is not None:
            known = self.parent.run_id
            parent = Header(known, tracking_uri) if known else self.parent._as_parent(tracking_uri)
        return Header(
            self.run_id or "",
            tracking_uri,
            dict(new.tags),
            dict(self._params),
            end.status if end else None,
            end.end_ms if end else None,
            new.experiment_id,
            new.start_ms,
            new.name,
            dict(self._tags),
            parent,
        )

    def _as_parent(self, tracking_uri: str) -> Header:
        """What those that are nested under it need to find or create it."""
        return replace(self._header(tracking_uri), params={}, new_tags={})

    def _move(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"run {self.name!r} cannot become {state.name}: it is {self.state.name}")
        self.state = state
