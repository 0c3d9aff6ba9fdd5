"""What the callbacks for LightGBM and XGBoost share: curves over iterations, a summary, and limits of a training."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.util import Finalize

from mlflow_sysmetrics.common.guard import never_raises
from mlflow_sysmetrics.common.redact import get_logger
from mlflow_sysmetrics.delivery import (
    Run,
    child_run,
    current_run,
    open_store,
    points_now,
    source_tags,
    writer_for,
)
from mlflow_sysmetrics.limits import Limits, process_limits
from mlflow_sysmetrics.measurement import Measurement, check_attainable
from mlflow_sysmetrics.metrics import allowed_name
from mlflow_sysmetrics.recording.autologging import is_measured, override_status
from mlflow_sysmetrics.recording.outcome import FINISHED, Outcome, failed

logger = get_logger(__name__)
MIN_POINT_S = 0.05  # between two points of a curve: CPU time over less says little
MIN_POINT_SHARE = 0.01  # of the time so far, so that a curve of an hour has at most 800 points

_runs_with_curves: set[str | None] = {None}  # those of another training; None, no run, can have none


class BoosterCallback:
    """A callback that records what a training costs in the active MLflow run, and ends it once limits are broken.

    Measuring begins here, so that building the data counts. A callback that is used again, copied or unpickled measures
    from its first call. Another training in the same run has a run of its own below it, and so has one without an
    active run. Nothing else raises.

    Args:
        limits: such as ``"elapsed_s<=600, peak_memory_mb<=8000"``. A training ends after the iteration that breaks one,
            and its run is KILLED. The model can be used.

    Raises:
        ValueError: a limit is wrong, or MLflow has no such store; or this process has more memory than a limit allows,
            also where the training of a copy begins.
    """

    def __init__(self, limits: str | None = None) -> None:
        super().__init__()
        open_store()
        self._training = Training(process_limits(limits))
        with contextlib.suppress(Exception):  # it takes MLflow a second for the first time, which is not training
            current_run()
            source_tags()
        self._training.start()

    def __del__(self) -> None:
        """End a training whose end the library does not tell. In a thread: this one may hold any lock."""
        if hasattr(self, "_training") and self._training.is_open:
            with contextlib.suppress(RuntimeError):  # the process ends, and ends the training
                _thread.start_new_thread(self._training.end, ())  # unlike `Thread.start`, it waits for nothing

    def _begin(self) -> None:
        """A training begins."""
        if self._training.has_begun:
            self._training.end()
            self._training = Training(self._training.limits)
        self._training.begin()


class Training:
    """One training: what it costs since its measurement was started, the run that gets this, and its limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.measurement = Measurement().limit(limits)
        self.is_open = False  # its measurement was started, and it has not ended
        self.has_begun = False
        self.stopped_early: Callable[[], bool] = lambda: False  # by the library, which does not tell
        self._latest: dict[str, float] = {}  # of the summary, at the last reading
        self.measurement.subscribe(self._latest.update)
        self._costs: dict[str, float] = {}  # of the summary, when the last iteration was done
        self._run: Run | None = None
        self._is_own_run = False
        self._is_measured_run = False  # by others: then the costs in its summary are theirs
        self._ending = threading.Lock()
        self._done = 0  # iterations
        self._first_s = self._now_s = 0.0  # when the first and the last of them were done
        self._drawn = 0  # iterations up to the last point of the curves
        self._drawn_s = 0.0  # when that was
        self._scores: Mapping[str, float] = {}  # of the last iteration

    def __reduce__(self) -> tuple[type[Training], tuple[Limits]]:
        """A copy is another training. It is not measured yet: its model may be there only to predict."""
        return Training, (self.limits,)

    def start(self) -> None:
        """Begin to measure. ValueError where this process has more memory than a limit allows."""
        self.is_open = True
        self._at_exit = Finalize(None, self.end, exitpriority=1)  # before the writer's
        self.measurement.start()
        check_attainable(self.limits, self.measurement.summary)

    def begin(self) -> None:
        """Find its run: the active one, or one of its own below that if that has another training already."""
        self.has_begun = True
        with never_raises("finding the MLflow run of a training"):
            ref = current_run()
            self._is_own_run = ref.run_id in _runs_with_curves
            _runs_with_curves.add(ref.run_id)
            if self._is_own_run:
                self._run = child_run(ref, "training")
            else:
                self._run = writer_for(ref.tracking_uri).open(str(ref.run_id))
                self._is_measured_run = is_measured(str(ref.run_id))
        if not self.is_open:
            self.start()

    @never_raises("recording a training")
    def iterated(self, scores: Mapping[str, float]) -> bool:
        """Note that an iteration is done; say whether a limit ends the training."""
        self._done += 1
        self._now_s = self.measurement.elapsed_s
        if self._done == 1:
            self._first_s = self._now_s
        self._costs = {**self._latest, "elapsed_s": self._now_s}
        broken = self.measurement.broken
        pause_s = max(MIN_POINT_S, MIN_POINT_SHARE * self._now_s)
        self._scores = scores
        if broken or self._done == 1 or self._now_s - self._drawn_s >= pause_s:
            self._draw()
        if broken:
            logger.warning("training ends: %s", broken)
            self.end(replace(broken, step=self._done).outcome())
        return broken is not None

    @never_raises("recording a training")
    def complete(self) -> None:
        """The library says that the training has come to its end."""
        if self._drawn < self._done:
            self._draw()
        self.end(FINISHED)

    @never_raises("recording a training")
    def end(self, outcome: Outcome | None = None) -> None:
        """Log the summary, up to the last iteration, and how it has ended; None: not told. Idempotent."""
        with self._ending:
            if self.is_open:
                self.is_open = False
                self._at_exit.cancel()
                self.measurement.stop()
                self._deliver(outcome or self._untold_outcome())

    def _draw(self) -> None:
        """Add a point to the curves: means since the last one, and how it is now."""
        values = {allowed_name(name): score for name, score in self._scores.items()}
        values |= self.measurement.interval()
        seconds = self._now_s - self._drawn_s
        if seconds < MIN_POINT_S:
            values.pop("cpu_percent", None)
        if self._drawn:
            values["step_time_ms"] = 1000 * seconds / (self._done - self._drawn)
        if self._run:
            self._run.log(points_now(values, self._done))
        self._costs |= self._latest  # which is as new as the point
        self._drawn = self._done
        self._drawn_s = self._now_s

    def _untold_outcome(self) -> Outcome:
        if self.stopped_early():
            return FINISHED
        return failed(f"the training has ended after iteration {self._done}")

    def _deliver(self, outcome: Outcome) -> None:
        """Log the summary. End a run of its own; have another end as KILLED if a limit has ended the training."""
        if self._run is None:
            return
        summary: dict[str, float] = {"steps": self._done}
        if not self._is_measured_run:
            summary |= self._costs
            summary.pop("memory_mb", None)  # a curve has that name
        if self._done > 1:  # what there was before the first one's end is not the time of a step
            summary["mean_step_time_ms"] = 1000 * (self._now_s - self._first_s) / (self._done - 1)
        self._run.log(summary=summary)
        if self._is_own_run:
            self._run.end(outcome)
            return
        if outcome.status == "KILLED" and self._run.run_id:
            self._run.log(tags=outcome.tags)
            override_status(self._run.run_id, outcome.status)
        self._run.release()
