"""What the callbacks for LightGBM and XGBoost share: curves over iterations, a summary, and limits of a training."""

from __future__ import annotations

import atexit
import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlflow_sysmetrics.delivery.door_runs import check_store, child_run, place_here, source_tags, write_to
from mlflow_sysmetrics.delivery.operations import end, log, points_now
from mlflow_sysmetrics.delivery.outbox import Outbox
from mlflow_sysmetrics.limits import Extrapolation, Limits, groups_for, process_limits
from mlflow_sysmetrics.measurement import Measurement
from mlflow_sysmetrics.redact import get_logger
from mlflow_sysmetrics.tags import ERROR, STOP_REASON

logger = get_logger(__name__)
MAX_POINTS, MIN_POINT_S = 200, 0.05  # of a curve, and between two: CPU time over less says little
PREDICT_AFTER_S = 0.2  # a machine may run at half its speed for a tenth of a second
_recorded: set[str | None] = {None}  # runs that cannot have the curves of a training: they have some, or are none

# Whose callbacks do not end a training, but for early stopping.
_LIBRARIES = {"lightgbm", "xgboost", "mlflow", "mlflow_sysmetrics"}

Size = Callable[[int, int], int]  # the bytes of a model's rounds from one up to another


class BoosterCosts:
    """A callback that records what a training costs in the active MLflow run, and ends it once limits are broken.

    Measuring begins here, so that building the data counts. A callback that is used again, copied or unpickled measures
    from its first call. Another training in the same run has a run of its own below it, and so has one without an
    active run. After construction nothing raises.

    Args:
        limits: such as ``"elapsed_s<=600, peak_memory_mb<=8000"``. A training ends once a limit is broken, or when its
            iterations so far tell that it will be, unless it may stop early by its score. The model can be used.

    Raises:
        ValueError: a limit is wrong, or MLflow has no such store.
    """

    def __init__(self, limits: str | None = None) -> None:
        super().__init__()
        check_store()
        self._training = Training(process_limits(limits))
        with contextlib.suppress(Exception):  # it takes MLflow a second for the first time, which is not training
            place_here()
            source_tags()
        self._training.start()

    def __del__(self) -> None:
        if hasattr(self, "_training"):  # its limits were right
            self._training.end()  # LightGBM does not tell when it stops early

    def _begin(self, iterations: int, callbacks: Iterable[object] | None) -> None:
        """A training of this many iterations begins, with these callbacks; None: unknown."""
        if self._training.has_begun:
            self._training.end()
            self._training = Training(self._training.limits)
        self._training.begin(iterations, callbacks)


class Training:
    """One training: what it costs since its measurement was started, the run that gets this, and its limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self._judge = limits, limits.judge()
        self.measurement = Measurement(None, groups_for(limits))
        self._read: dict[str, float] = {}
        self.measurement.subscribe(self._read.update)
        self._costs: dict[str, float] = {}  # as they were read at the end of the last iteration
        self._outbox, self._has_own_run = Outbox(), False
        self.has_begun = self._has_ended = False
        self._iterations = 0  # how many there are to be
        self._totals: dict[str, Extrapolation] = {}  # to predict; none if it may stop early
        self._may_stop_early = True
        self._times_s = [0.0]  # when it began, and when each iteration was done
        self._drawn = self._rounds = self._bytes = 0  # up to the last point: iterations, and what the model has

    def __reduce__(self) -> tuple[type[Training], tuple[Limits]]:
        """A copy is another training. It is not measured yet: its model may be there only to predict."""
        return Training, (self.limits,)

    def start(self) -> None:
        """Begin to measure, unless that has begun."""
        atexit.register(self.end)
        self.measurement.start()

    def begin(self, iterations: int, callbacks: Iterable[object] | None) -> None:
        """Find its run: the active one, or one of its own below that if that has another training already."""
        self.has_begun, self._iterations = True, iterations
        self._may_stop_early = callbacks is None or any(map(_may_stop, callbacks))
        if not self._may_stop_early:
            adds_up = {"elapsed_s", "cpu_seconds"}.intersection(self.limits.metrics)
            self._totals = {name: Extrapolation(block_steps=1) for name in adds_up}
        try:
            place = place_here()
            self._has_own_run = place.run_id in _recorded
            _recorded.add(place.run_id)
            own = child_run(place, "training", {}) if self._has_own_run else None
            self._outbox = own or write_to(Outbox(place.run_id), place.tracking_uri)
        except Exception:
            logger.warning("this training has no MLflow run", exc_info=True)
        self.start()

    def iterated(self, rounds: int, scores: Mapping[str, float], size: Size) -> bool:
        """Note that an iteration is done, and how many rounds the model has; say whether to end before the last one."""
        done = len(self._times_s)
        self._times_s.append(self.measurement.elapsed_s)
        self._costs = {**self._read, "elapsed_s": self._times_s[-1]}
        for name, total in self._totals.items():
            total.add(self._costs.get(name, 0.0) - total.total)
        is_last = done == self._iterations
        why = {} if is_last else self._why_end(done)
        is_due = done - self._drawn >= self._iterations / (MAX_POINTS - 2)
        is_due &= self._times_s[done] - self._times_s[self._drawn] >= MIN_POINT_S
        if not self._drawn or is_due or is_last or why:
            self._add_point(done, rounds, scores, size)
        if why:
            logger.warning("training ends: %s", why[STOP_REASON])
        if why or is_last:
            self.end(why)
        return bool(why)

    def _why_end(self, done: int) -> dict[str, str]:
        """Tags that name the limit that is broken, or will be as the iterations so far tell; {} if none is."""
        stop, how = self._judge.crossed(self._costs, done), ""
        if not stop and self._costs["elapsed_s"] >= PREDICT_AFTER_S:
            least = {name: at_least(total, self._iterations) for name, total in self._totals.items()}
            stop, how = self._judge.crossed(least, done), "predicted"
        return stop.tags(how) if stop else {}

    def _add_point(self, done: int, rounds: int, scores: Mapping[str, float], size: Size) -> None:
        """Add a point to the curves: means since the last one, and how it is now."""
        values = {re.sub(r"[^\w\-. /]", "_", name): score for name, score in scores.items()}  # MLflow refuses others
        values |= self.measurement.interval()
        seconds = self._times_s[done] - self._times_s[self._drawn]
        if seconds < MIN_POINT_S:
            values.pop("cpu_percent", None)
        if self._drawn:
            values["step_time_ms"] = 1000 * seconds / (done - self._drawn)
        with contextlib.suppress(Exception):  # such as of a linear model, which has no rounds to ask for
            # Of the new rounds alone: a copy of the whole model would be part of the peak of memory. They come with one
            # that is known, whose bytes are taken off together with what each part has beside its rounds.
            first = max(0, self._rounds - 1)
            self._bytes += size(first, rounds) - (size(first, self._rounds) if self._rounds else 0)
            self._rounds = rounds
            values["model_size_kb"] = self._bytes / 1000
        self._outbox.add(log(points_now(values, done)))
        self._drawn = done
        self._costs |= self._read  # which is as new as the point

    def end(self, why: Mapping[str, str] | None = None, *, is_sound: bool = False) -> None:
        """Log the summary, up to the last iteration, and why it was stopped. Idempotent.

        `is_sound`: the library says that it has come to its end, which otherwise its last iteration tells.
        """
        if self._has_ended:
            return
        self._has_ended = True
        atexit.unregister(self.end)
        self.measurement.stop()
        times_s, summary = self._times_s[1:], {**self._costs, "steps": len(self._times_s) - 1}
        summary.pop("memory_mb", None)  # a curve has that name
        if len(times_s) > 1:  # what there was before the first one's end is not the time of a step
            summary["mean_step_time_ms"] = 1000 * (times_s[-1] - times_s[0]) / (len(times_s) - 1)
        self._outbox.add(log(tags=why, summary=summary))
        if self._has_own_run:
            done = len(times_s)
            if why:
                self._outbox.add(end("KILLED"))
            elif is_sound or self._may_stop_early or done >= self._iterations:
                self._outbox.add(end("FINISHED"))
            else:
                error = f"the training has ended after iteration {done} of {self._iterations}"
                self._outbox.add(end("FAILED", {ERROR: error}))


def _may_stop(callback: Any) -> bool:
    library = str(callback.__module__).partition(".")[0]
    return library not in _LIBRARIES or "EarlyStopping" in type(callback).__name__


def at_least(total: Extrapolation, iterations: int) -> float:
    """The least that this many iterations cost. Later trees often cost less: of the rest half is counted."""
    prediction = total.at(iterations)
    return total.total if prediction is None else (total.total + prediction.low) / 2
