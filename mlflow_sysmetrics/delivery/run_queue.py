"""The data of one run that waits to be written, and how far the store has the run."""

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
from mlflow_sysmetrics.delivery.store import NoSuchRunError


class State(Enum):
    """What the store has of a run, and what is written next."""

    TO_CREATE = "No run: create it."
    ASKED = "Perhaps a run: the answer to a request for it was lost. Look for it, and create it if it is not there."
    UNREAD = "A run that others wrote: read its last steps, forget how it ended, and set it RUNNING."
    ENDED = "A run whose end was written, but it goes on since: set it RUNNING."
    RUNNING = "A run that takes points, parameters and tags, and at last its end."
    DONE = "A run whose end was written. Nothing follows."


class End(NamedTuple):
    """How and when a run ended."""

    status: str
    end_ms: int | None


@dataclass(eq=False)
class RunQueue:
    """The waiting data of one run. Any thread may add to it; one thread takes batches and updates the state."""

    points: Backlog
    state: State = State.RUNNING
    run_id: str | None = None  # unless it is to be created: in this experiment, with this start, name, and these tags
    experiment_id: str = ""
    start_ms: int = 0
    name: str | None = None
    first_tags: Mapping[str, str] = field(default_factory=dict)
    parent: RunQueue | None = None  # the run around it, which is created first
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    end: End | None = None  # written last
    sent: int = 0  # points
    refused: int = 0  # entries whose content MLflow refuses
    gone: NoSuchRunError | None = None  # the store's last answer, if the run does not exist
    failures: int = 0  # attempts in a row that failed, for the writer
    due_at: float = 0.0  # when it tries next
    _steps: Steps = field(default_factory=Steps)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def title(self) -> str:
        """What the user knows it by."""
        return self.name or str(self.run_id)

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
        return self.is_urgent or bool(self.params or self.tags) or not self.points.is_empty

    @property
    def waits_for_parent(self) -> bool:
        """Whether its parent run must be created first."""
        return self.run_id is None and self.parent is not None and self.parent.run_id is None

    def add(
        self,
        points: Iterable[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        figures: Iterable[Point] = (),
    ) -> None:
        """Add these; `figures` take the place of earlier ones, see `Steps`. Values that are not finite are left out."""
        with self._lock:
            self.points.append(self._steps.place(_finite(points)) + self._steps.place_figures(_finite(figures)))
            self.params = {**self.params, **(params or {})}
            self.tags = {**self.tags, **(tags or {})}

    def repeat(self) -> None:
        """The run's work begins again, from an earlier step: see `Steps`."""
        with self._lock:
            self._steps.repeat()

    def reopen(self, tags: Mapping[str, str]) -> bool:
        """Take back the end, since the work begins again; False if it is written."""
        with self._lock:
            if self.state is State.DONE:
                return False
            self.end = None
            self.tags = {**self.tags, **tags}
            self._steps.repeat()
            return True

    def next_batch(self) -> Batch:
        """As much of the waiting data as fits into one request."""
        with self._lock:
            return Batch.of(self.points, self.params, self.tags)

    def forget(self, batch: Batch, refused: int) -> None:
        """Drop the last batch, which the store has, except for the entries that it refused."""
        with self._lock:
            if batch.points:
                self.points.forget()
            self.params, self.tags = _without(self.params, batch.params), _without(self.tags, batch.tags)
            self.sent += len(batch.points)
            self.refused += refused

    def ask(self) -> dict[str, str]:
        """The tags to create the run with, now that a request for it is sent."""
        with self._lock:
            if self.state is State.TO_CREATE:
                self.state = State.ASKED
            parent = {} if self.parent is None else {MLFLOW_PARENT_RUN_ID: str(self.parent.run_id)}
            return {**self.first_tags, **parent}

    def created(self, run_id: str) -> None:
        """The store has created the run."""
        with self._lock:
            self.run_id = run_id
            self.state = State.RUNNING

    def goes_on(self, last_steps: Mapping[str, int]) -> None:
        """The run is RUNNING again, and had these last steps before."""
        with self._lock:
            self.points.change(lambda points: self._steps.follow(last_steps, points))
            self.state = State.RUNNING

    def ended(self, end: End) -> None:
        """The store has this end."""
        with self._lock:
            if self.end is end:
                self.end = None
                self.state = State.DONE
            else:  # the run was opened again in the meantime
                self.state = State.ENDED

    def header(self, tracking_uri: str) -> Header:
        """The header of a spool of this run for this store."""
        status, end_ms = self.end or (None, None)
        return Header(
            run_id=self.run_id or "",
            tracking_uri=tracking_uri,
            tags=dict(self.first_tags),
            params=dict(self.params),
            status=status,
            end_ms=end_ms,
            experiment_id=self.experiment_id,
            start_ms=self.start_ms,
            name=self.name,
            new_tags=dict(self.tags),
            parent=None if self.run_id or self.parent is None else self.parent._as_parent(tracking_uri),
        )

    def _as_parent(self, tracking_uri: str) -> Header:
        """The header with which runs nested under this one find or create it."""
        if self.run_id is not None:
            return Header(self.run_id, tracking_uri)
        return replace(self.header(tracking_uri), params={}, new_tags={})


def _finite(points: Iterable[Point]) -> Iterable[Point]:
    return (point for point in points if math.isfinite(point.value))


def _without(waiting: Mapping[str, str], written: Mapping[str, str]) -> dict[str, str]:
    """What is left after writing; a value that has changed meanwhile still waits."""
    return {name: value for name, value in waiting.items() if written.get(name) != value}
