"""Limits for any trainable: a Tune stopper."""

from __future__ import annotations

from typing import Any

from ray.tune import Stopper
from ray.tune.result import DONE, TIME_TOTAL_S, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.limits import Judge, Limits, Patience, Stop
from mlflow_sysmetrics.ray_tune.results import STOP_KEY


class LimitsStopper(Stopper):
    """End trials of any trainable as soon as a result breaks a limit; pass it as ``RunConfig(stop=...)``.

    Relative limits compare with the trials that have ended by then; a stopped one counts with the value that broke
    its limit. A ``SystemMetricsCallback`` records the reason in the trial's run, which is ``KILLED``.

    Args:
        limits: of metrics in the trainable's results, those in nested dictionaries by names like ``costs/memory_mb``.
            Where they have no ``elapsed_s``, it is Tune's ``time_total_s``.

    Raises:
        LimitsError: a limit that can be met until a trial's end, when there is nothing left to stop.
    """

    def __init__(self, limits: Limits) -> None:
        limits.check_stops()
        self._rules = limits
        self._patience = Limits(tuple(rule for rule in limits.rules if isinstance(rule, Patience)))
        self._judge = Limits(limits.bounds).judge()  # one for all trials: limits remember nothing of a trial
        self._curves: dict[str, tuple[int, Judge]] = {}  # with the iteration of the trial's last result
        self._finished: list[dict[str, Any]] = []

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to end the trial. Never raises: a value that is not a number decides nothing."""
        values = {"elapsed_s": result.get(TIME_TOTAL_S), **flatten_dict(result)}
        # Of one that has ended there is nothing left to stop, and a function's last result comes a second time.
        stop = None if result.get(DONE) else self._see(trial_id, values, int(result.get(TRAINING_ITERATION, 0)))
        if stop is not None:
            result[STOP_KEY] = stop.outcome().tags
        if stop is not None or result.get(DONE):
            # A stopped trial, if left out, would move the limit for those that follow.
            names = self._rules.metrics if stop is None else (stop.metric,)
            self._finished.append({name: values[name] for name in names if name in values})
            self._curves.pop(trial_id, None)
            self._judge = Limits(self._rules.bounds).judge(self._finished)
        return stop is not None

    def _see(self, trial_id: str, values: dict[str, Any], iteration: int) -> Stop | None:
        last, curves = self._curves.get(trial_id, (iteration, None))
        if curves is None or iteration <= last:  # it begins, or again: from its start, or from an older checkpoint
            curves = self._patience.judge()
        self._curves[trial_id] = iteration, curves
        stalled = curves.see(values, iteration)
        return self._judge.see(values, iteration) or stalled

    def stop_all(self) -> bool:
        return False
