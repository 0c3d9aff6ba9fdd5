"""A store in memory that fails, hangs and recovers when a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow_sysmetrics.delivery.points import Point

from mlflow_sysmetrics.delivery.store import NoSuchRunError, StoredRun

LIMIT_S = 10.0  # what has not come by then fails the test


def points(*values: float, name: str = "x", first: int = 0) -> list[Point]:
    """One point per value, at steps that count up."""
    return [Point(name, float(value), 1000 + step, step) for step, value in enumerate(values, start=first)]


class Ticking:
    """A clock that moves on by so much at every look."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


class ScriptedStore:
    """A store in memory that fails, or holds its callers, as long as the test wants.

    ``fails`` is asked before each request is carried out, with the request's name and the run's. While ``open`` is not
    set, requests wait inside; after the time limit the store gives up waiting. What was carried out is in ``done``.
    Names with an ``@`` are refused. Of a run in ``gone`` it says what is there.
    """

    def __init__(self, fails: Callable[[str, str], bool] = lambda request, run: False) -> None:
        self.fails = fails
        self.open, self.entered = threading.Event(), threading.Event()
        self.open.set()
        self.done: list[tuple[str, str, Any]] = []
        self.attempts, self.gave_up = 0, False
        self.gone: dict[str, NoSuchRunError] = {}
        self.steps: dict[str, int] = {}
        self.timeout_s, self.timeouts = 0.0, list[float]()
        self._changed = threading.Condition()

    def create_run(self, experiment_id: str, start_ms: int, tags: Any, name: str | None) -> str:
        """The run's id is its name."""
        assert name is not None
        self._carry_out("create", name, (experiment_id, start_ms, dict(tags)))
        return name

    def created_run(self, experiment_id: str, start_ms: int, tags: Any) -> str | None:
        """What was asked for and did not come to be."""
        return None

    def run(self, run_id: str) -> StoredRun:
        """The last step of each metric of a run that was written before."""
        self._carry_out("read", run_id, None)
        return StoredRun(run_id, self.steps)

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        """Keep what was given, as plain tuples."""
        batch = (
            [Point(each.key, each.value, each.timestamp, each.step) for each in metrics],
            {each.key: each.value for each in params},
            {each.key: each.value for each in tags},
        )
        if any("@" in point.name for point in batch[0]):
            raise MlflowException("odd name", INVALID_PARAMETER_VALUE)
        self._carry_out("log", run_id, batch)

    def raise_if_gone(self, run_id: str, error: MlflowException) -> None:
        """A run in ``gone`` does not come so far."""

    def set_status(self, run_id: str, status: str, end_ms: int | None) -> None:
        """Note the end, or that the run goes on."""
        self._carry_out("end" if end_ms is not None else "go on", run_id, (status, end_ms))

    def _carry_out(self, request: str, run: str, what: Any) -> None:
        self.entered.set()
        self.gave_up |= not self.open.wait(LIMIT_S)
        with self._changed:
            self.attempts += 1
            self.timeouts.append(self.timeout_s)
            self._changed.notify_all()
            if self.fails(request, run):
                raise ConnectionError("the store is away")
            if run in self.gone:
                raise self.gone[run]
            self.done.append((request, run, what))

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a state of the store."""
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT_S), self.done

    def of(self, run: str) -> list[str]:
        """What was carried out for a run, in order."""
        return [request for request, name, _ in self.done if name == run]

    def batches(self, run: str) -> list[Any]:
        """The batches that a run has got."""
        return [what for request, name, what in self.done if (request, name) == ("log", run)]

    def points(self, run: str) -> list[Point]:
        """All points of a run in the order in which they came."""
        return [point for batch in self.batches(run) for point in batch[0]]

    def ended(self, run: str) -> bool:
        """Whether the run's end was written."""
        return "end" in self.of(run)
