"""What the callbacks for LightGBM and XGBoost share: curves over iterations, a summary, and limits of a training."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlflow_sysmetrics.delivery.door_runs import check_store, child_run, hurry, place_here, write_to
from mlflow_sysmetrics.delivery.operations import end, log, points_now
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.limits import Criteria, Extrapolation, Stop, groups_for, process_criteria
from mlflow_sysmetrics.measurement import SUMMARY, Measurement
from mlflow_sysmetrics.redact import get_logger

logger = get_logger(__name__)
MAX_POINTS, MIN_POINT_S = 200, 0.05  # of a curve, and between two: CPU time over less says little
PREDICT_AFTER_S = 0.2  # a machine may run at half its speed for a tenth of a second
_REFUSED = re.compile(r"[^\w\-. /]")  # by MLflow, in a metric's name

_begun: weakref.WeakSet[BoosterCosts] = weakref.WeakSet()  # LightGBM does not tell when it stops early
_recorded: set[tuple[int, str]] = set()  # processes, and the runs that have a training of theirs


class BoosterCosts:
    """A callback that records what a training costs in the active MLflow run, and ends it once limits are broken.

    The run gets the summary, and curves over the iterations, of at most 200 points and 20 a second. Measuring begins
    here, so that building the data counts: make it just before. One that is used again, or was unpickled, measures from
    its first call. Another training in the same run has a run of its own below it, and so has one without an active
    run. After construction nothing raises.

    Args:
        limits: such as ``"elapsed_s<=600, peak_memory_mb<=8000"``. A training ends once a limit is broken, or when its
            iterations so far tell that it will be, unless it may stop early by its score. The model has all iterations
            up to there.

    Raises:
        ValueError: a limit is wrong, or MLflow has no such store.
    """

    def __init__(self, limits: str | None = None) -> None:
        super().__init__()
        check_store()
        self._limits = Criteria(()) if limits is None else process_criteria(limits)
        self._reset()
        self._measurement.start()  # before the data are built, which is before the first call

    def _reset(self) -> None:
        self._judge = self._limits.judge()
        adds_up = {"elapsed_s", "cpu_seconds"}.intersection(self._limits.metrics)
        self._totals = {name: Extrapolation(block_steps=1) for name in adds_up}
        self._read: dict[str, float] = {}  # at the last reading
        self._measurement = Measurement(None, groups_for(self._limits))
        self._measurement.tell(self._read.update)
        self._outbox, self._has_own_run = Outbox(), False
        self._has_begun = self._has_ended = False
        self._iterations: int | None = None  # how many there are to be
        self._done, self._first_s = 0, 0.0  # and when the first one was
        self._point_done, self._point_s = 0, 0.0  # at the last point
        self._sized, self._bytes = 0, 0  # rounds of the model, and their size
        self._beside = 0  # the bytes of a model beside its rounds, which each part of it has
        self._summary: dict[str, float] = {}  # at the last iteration

    def __getstate__(self) -> dict[str, Any]:
        return {"_limits": self._limits}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()  # and measured from its first call: it may have been loaded only to predict

    def __deepcopy__(self, memo: dict[int, Any]) -> BoosterCosts:
        return type(self)(str(self._limits) or None)

    def __del__(self) -> None:
        if "_has_ended" in vars(self):
            self._end()

    def _begin(self, iterations: int | None, callbacks: Iterable[object] | None) -> None:
        """Find the run of a training of so many iterations, and with these callbacks; None is unknown.

        It is the active one; or one of its own below it, where that has another training already.
        """
        if self._has_begun:
            self._end()
            self._reset()
        self._has_begun = True
        self._measurement.start()
        self._iterations = iterations
        if iterations is None or callbacks is None or any("EarlyStopping" in type(each).__name__ for each in callbacks):
            self._totals = {}  # it may end long before its last iteration: nothing is predicted
        try:
            place = place_here()
            key = (os.getpid(), str(place.run_id))
            self._has_own_run = place.run_id is None or key in _recorded
            _recorded.add(key)
            own = child_run(place, "training", {}) if self._has_own_run else None
            self._outbox = own or write_to(Outbox(place.run_id), place.tracking_uri)
        except Exception:
            logger.warning("this training has no MLflow run", exc_info=True)
        _begun.add(self)

    def _iterated(self, rounds: int, scores: Mapping[str, float], size: Callable[[int, int], int]) -> bool:
        """Note that an iteration is done; say whether to end the training before its last one.

        Args:
            rounds: that the model has by now.
            scores: by name.
            size: the bytes of the model's rounds from this one on, as many as the second number says.
        """
        if self._has_ended:
            return False
        self._done += 1
        self._sum_up()
        for name, total in self._totals.items():
            total.add(self._summary.get(name, 0.0) - total.total)
        is_last = self._done == self._iterations
        every = math.ceil(self._iterations / (MAX_POINTS - 2)) if self._iterations else 1 + self._done // 20
        since_s = self._summary["elapsed_s"] - self._point_s
        if is_last or self._done == 1 or (self._done - self._point_done >= every and since_s >= MIN_POINT_S):
            self._add_point(rounds, scores, size)
        stop, how = (None, "") if is_last else self._broken()
        if stop:
            logger.warning("training ends: %s", stop.told(how))
            if self._point_done < self._done:
                self._add_point(rounds, scores, size)
        if stop or is_last:
            self._end(stop.tags(how) if stop else {})
        return stop is not None

    def _sum_up(self) -> None:
        seconds, done = self._measurement.elapsed_s, self._done
        self._first_s = self._first_s or seconds
        of_steps = {"steps": float(done)}
        if done > 1:  # what there was before the first one's end is no time of a step
            of_steps["mean_step_time_ms"] = 1000 * (seconds - self._first_s) / (done - 1)
        read = {name: self._read[name] for name in SUMMARY if name in self._read}
        self._summary = {**read, **of_steps, "elapsed_s": seconds}

    def _broken(self) -> tuple[Stop | None, str]:
        """The limit that is broken, or will be as the iterations so far tell; and which of both."""
        if stop := self._judge.crossed(self._summary, self._done):
            return stop, ""
        if self._summary["elapsed_s"] < PREDICT_AFTER_S:
            return None, ""
        least = {name: at_least(total, self._iterations or 0) for name, total in self._totals.items()}
        return self._judge.crossed(least, self._done), "predicted"

    def _add_point(self, rounds: int, scores: Mapping[str, float], size: Callable[[int, int], int]) -> None:
        """Take a reading for the curves: means since the last point, and how it is now."""
        values = {_REFUSED.sub("_", name): score for name, score in scores.items()} | self._measurement.interval()
        seconds = self._summary["elapsed_s"]
        if seconds - self._point_s < MIN_POINT_S:
            values.pop("cpu_percent", None)
        if self._point_done:
            values["step_time_ms"] = 1000 * (seconds - self._point_s) / (self._done - self._point_done)
        self._point_done, self._point_s = self._done, seconds
        with contextlib.suppress(Exception):  # such as of a linear model, which has no rounds to ask for
            if self._sized and not self._beside:
                self._beside = size(0, 1) + size(1, 1) - size(0, 2)
            # Of the new rounds alone: a copy of the whole model would be part of the peak of memory.
            self._bytes += size(self._sized, rounds - self._sized) - self._beside
            self._sized = rounds
            values["model_size_kb"] = self._bytes / 1000
        self._outbox.add(log(points_now(values, self._done)))
        self._sum_up()

    def _end(self, why: Mapping[str, str] | None = None) -> None:
        """Log the summary, up to the last iteration, and why it was stopped. Idempotent."""
        if not self._has_ended:
            self._has_ended = True
            self._measurement.stop()
            self._outbox.add(log(tags=why, summary=self._summary))
            if self._has_own_run:
                self._outbox.add(end("KILLED" if why else "FINISHED"))
            hurry(self._outbox)


def at_least(total: Extrapolation, iterations: int) -> float:
    """What so many iterations cost at least. Later trees often cost less: of the rest half is counted."""
    prediction = total.at(iterations)
    return total.total if prediction is None else (total.total + prediction.low) / 2


@atexit.register
def _end_all() -> None:
    for each in list(_begun):
        each._end()
