"""What an outage costs a run that is logged through a fault proxy: counted from numbered readings."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import mlflow

from mlflow_sysmetrics.delivery.sync import deliver
from mlflow_sysmetrics.logger import SystemMetricsLogger
from mlflow_sysmetrics.measurement import Measurement

INTERVAL_S, WINDOW_S = 0.05, 0.2


class Ticks:
    """A sample whose readings are numbered, so that the maxima of a window are its first, negative, and its last."""

    def __init__(self):
        self.taken = 0
        self._another = threading.Condition()

    def __call__(self):
        with self._another:
            self.taken += 1
            self._another.notify_all()
            return {"tick": float(-self.taken), "last": float(self.taken)}

    def wait_for(self, number, timeout_s=20.0):
        """Wait until this number of readings has been taken."""
        with self._another:
            assert self._another.wait_for(lambda: self.taken >= number, timeout_s), self.taken


@dataclass(frozen=True)
class Outcome:
    """Readings that were taken, are in the store's windows, and are in none; points there twice; milliseconds.

    `in_order` says whether the windows' times rise with their steps.
    """

    fault: str
    taken: int
    delivered: int
    duplicated: int
    lost: int
    longest_hold_ms: float
    stop_s: float
    requests_failed: int
    in_order: bool
    left_behind: int  # journals, at the very end

    @property
    def is_whole(self):
        """Whether every reading arrived exactly once and in order, and nothing is left over."""
        return self.in_order and self.delivered == self.taken and not (self.duplicated or self.lost or self.left_behind)


class Holds:
    """The longest time that a call held this thread, without the time in which the machine ran something else."""

    def __init__(self):
        self.longest_s = 0.0

    def __enter__(self):
        self._waited, self._began = _run_queue_s(), time.perf_counter()

    def __exit__(self, *exc_info):
        took_s = time.perf_counter() - self._began
        self.longest_s = max(self.longest_s, took_s - (_run_queue_s() - self._waited))


def _run_queue_s():
    """How long this thread has been ready to run and was not run, because others had the processors (proc(5))."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def train(logger, seconds, holds):
    """Steps of about a millisecond for so long; only the logger's own calls count as holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with holds:
            step = logger.step()
            step.__enter__()
        sum(range(20_000))
        with holds:
            step.__exit__(None, None, None)


def log_through(proxy, fault, folder, *, healthy_s, failing_s, recovered_s):
    """Log a run whose store works, then fails, then works again; with no time for that, it ends while it still fails.

    What such a run leaves is delivered after the recovery, twice.
    """
    proxy.fault = None
    mlflow.set_tracking_uri(proxy.uri)
    ticks, holds, failed_before = Ticks(), Holds(), proxy.failed
    variable = {"MLFLOW_SYSMETRICS_SPOOL": str(folder)}
    with mock.patch.dict(os.environ, variable), mlflow.start_run() as run:
        measurement = Measurement(sample=ticks, interval_s=INTERVAL_S, window_s=WINDOW_S)
        logger = SystemMetricsLogger(measurement=measurement)
        with holds:
            logger.start()
        train(logger, healthy_s, holds)
        proxy.fault = fault
        train(logger, failing_s, holds)
        while ticks.taken <= 20 or (fault != "refuse" and proxy.failed == failed_before):  # the machine stood still
            train(logger, 0.1, holds)
        if recovered_s:
            proxy.fault = None
            train(logger, recovered_s, holds)
        began = time.monotonic()
        logger.stop()
        stop_s = time.monotonic() - began
        failed = proxy.failed - failed_before
        proxy.fault = None
    if not recovered_s:
        deliver(folder)
        deliver(folder)
    delivered, duplicated, in_order = covered(run.info.run_id)
    counts = (ticks.taken, delivered, duplicated, ticks.taken - delivered)
    left = len(list(folder.iterdir()))
    return Outcome(fault, *counts, holds.longest_s * 1000, stop_s, failed, in_order, left)


def covered(run_id):
    """How many readings the store's windows hold, how many windows it has twice, and whether they are in order."""
    firsts, lasts = (
        sorted(
            mlflow.MlflowClient().get_metric_history(run_id, f"system/{name}_max"), key=lambda point: point.timestamp
        )
        for name in ("tick", "last")
    )
    readings = Counter(
        number
        for first, last in zip(firsts, lasts, strict=True)
        for number in range(-round(first.value), round(last.value) + 1)
    )
    steps = [point.step for point in firsts]
    return len(readings), sum(number > 1 for number in readings.values()), steps == sorted(steps)
