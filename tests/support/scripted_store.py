"""What delivery asks of a store, in memory: it fails, refuses, and loses answers as a test says."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from mlflow_sysmetrics.delivery.store import NoSuchRunError, Store, StoredRun
from mlflow_sysmetrics.tags import RUN_KEY

LIMIT_S = 60.0  # what has not come by then fails the test


@dataclass
class Kept:
    """A run of the store."""

    start_ms: int
    tags: dict
    name: str | None = None
    status: str = "RUNNING"
    end_ms: int | None = None
    points: list = field(default_factory=list)  # name, value, unix ms, step
    params: dict = field(default_factory=dict)

    def latest(self, name):
        """The value that MLflow shows."""
        found = [(step, time_ms, value) for each, value, time_ms, step in self.points if each == name]
        return max(found)[2] if found else None


class ScriptedStore(Store):
    """The next requests meet the next of `fates`: "before" fails, "after" is carried out and its answer lost.

    While `open` is not set, requests wait inside. Names with an ``@`` are refused. Points are unique, as in SQL stores.
    """

    def __init__(self):
        super().__init__("scripted://")
        self.runs = {}
        self.fates = deque()
        self.away = lambda request, run_id: False  # whether a request fails
        self.open, self.entered, self.asked = threading.Event(), threading.Event(), []
        self.open.set()
        self.changed = threading.Condition()

    def until(self, condition):
        """Wait for a state of the store."""
        with self.changed:
            assert self.changed.wait_for(condition, LIMIT_S), (self.asked, self.runs)

    def named(self, name):
        """The one run with this name."""
        (run,) = [run for run in self.runs.values() if run.name == name]
        return run

    def run(self, run_id):
        return self._do("run", run_id, lambda run: self._stored(run_id, run))

    def points(self, run_id, metric):
        return self._do(
            "points", run_id, lambda run: {(step, value) for name, value, _, step in run.points if name == metric}
        )

    def create_run(self, experiment_id, start_ms, tags, name, user=""):
        def create(_):
            run_id = f"run-{len(self.runs)}"
            self.runs[run_id] = Kept(start_ms, dict(tags), name)
            return run_id

        return self._do("create", name or "", create)

    def run_with_key(self, experiment_id, key):
        return self._do(
            "find", key, lambda _: next((i for i, run in self.runs.items() if run.tags[RUN_KEY] == key), None)
        )

    def log_batch(self, run_id, metrics, params, tags):
        def log(run):
            assert len(metrics) + len(params) + len(tags) <= 1000
            if any("@" in each.key for each in (*metrics, *params, *tags)):
                raise MlflowException("odd name", INVALID_PARAMETER_VALUE)
            points = [(each.key, each.value, each.timestamp, each.step) for each in metrics]
            run.points += dict.fromkeys(point for point in points if point not in run.points)
            run.params |= {each.key: each.value for each in params}
            run.tags |= {each.key: each.value for each in tags}

        self._do("log", run_id, log)

    def set_status(self, run_id, status, end_ms):
        def end(run):
            run.status, run.end_ms = status, end_ms

        self._do("status", run_id, end)

    def delete_tag(self, run_id, name):
        self._do("untag", run_id, lambda run: run.tags.pop(name))

    def _do(self, request, run_id, act):
        self.entered.set()
        self.open.wait(LIMIT_S)
        with self.changed:
            self.asked.append((request, run_id))
            self.changed.notify_all()
            fate = self.fates.popleft() if self.fates else ""
            if fate == "before" or self.away(request, run_id):
                raise ConnectionError("the store is away")
            known = self.runs.get(run_id)
            if request not in ("create", "find") and known is None:
                raise NoSuchRunError(f"no run {run_id}")
            answer = act(known or Kept(0, {}))
            if fate == "after":
                raise ConnectionError("the answer was lost")
            return answer

    @staticmethod
    def _stored(run_id, run):
        latest = {name: max(p for p in run.points if p[0] == name) for name, *_ in run.points}
        values, times_ms = ({name: point[at] for name, point in latest.items()} for at in (1, 2))
        ended = None if run.status == "RUNNING" else run.end_ms
        return StoredRun(run_id, "0", run.start_ms, run.status, ended, values, times_ms, dict(run.tags))
