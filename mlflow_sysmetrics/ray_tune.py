"""Ray Tune: one MLflow run per trial, written without the Tune loop ever waiting for MLflow.

The only module that imports ray.
"""

from __future__ import annotations

import functools
import logging
import math
import numbers
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient, get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS, DONE, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mlflow_sysmetrics.criteria import Criteria, Judge
from mlflow_sysmetrics.points import Point
from mlflow_sysmetrics.sink import Sink

logger = logging.getLogger(__name__)

PAYLOAD_KEY = "sysmetrics"
STOP_KEY = "sysmetrics_stop"  # in a result that a CriteriaStopper has ended the trial for: tags that say why
_NOT_METRICS = frozenset(AUTO_RESULT_KEYS) | {
    "done",
    "trial_id",
    "experiment_tag",
    PAYLOAD_KEY,
    STOP_KEY,
    "should_checkpoint",
}

Hook = TypeVar("Hook", bound=Callable[..., Any])


def payload(
    points: Iterable[Point], *, tags: Mapping[str, str] | None = None, ended: bool = False
) -> dict[str, dict[str, Any]]:
    """What a trainable adds to a result so that the callback writes these points, with their own times and steps.

    Args:
        points: all points since the trial's last result.
        tags: tags for the trial's run.
        ended: whether the trial has come to its own end; one that Tune ends before is recorded as ``KILLED``.
    """
    return {PAYLOAD_KEY: {"points": [tuple(point) for point in points], "tags": dict(tags or {}), "ended": ended}}


class CriteriaStopper(Stopper):
    """End trials of any trainable as soon as a result breaks a criterion; pass it as ``RunConfig(stop=...)``.

    Relative criteria compare with the trials that have ended by themselves. A ``SystemMetricsCallback`` of the same
    experiment records the reason in the trial's run, which is ``KILLED``.

    Args:
        criteria: of metrics in the trainable's results, those in nested dictionaries by names like ``costs/memory_mb``.
    """

    def __init__(self, criteria: Criteria) -> None:
        self._criteria = criteria
        self._judges: dict[str, Judge] = {}
        self._finished: list[dict[str, Any]] = []

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to end the trial. Never raises: what is no number decides nothing."""
        judge = self._judges.get(trial_id)
        if judge is None:
            judge = self._judges[trial_id] = self._criteria.judge(self._finished)
        figures = flatten_dict(result)
        # Of one that has ended there is nothing left to stop, and a function's last result comes a second time.
        stop = None if result.get(DONE) else judge.see(figures, int(result.get(TRAINING_ITERATION, 0)))
        if stop is not None:
            result[STOP_KEY] = {
                "sysmetrics.stop_reason": str(stop),
                "sysmetrics.stop_metric": stop.metric,
                "sysmetrics.stop_step": str(stop.step),
            }
        elif result.get(DONE):
            self._finished.append({name: figures[name] for name in self._criteria.metrics if name in figures})
        if stop is not None or result.get(DONE):
            self._judges.pop(trial_id, None)
        return stop is not None

    def stop_all(self) -> bool:
        """A criterion is for one trial."""
        return False


def _never_raises(hook: Hook) -> Hook:
    """Log what goes wrong in a hook: a fault in the record must not end the training that it records."""

    @functools.wraps(hook)
    def guarded(self: SystemMetricsCallback, *args: Any, **kwargs: Any) -> Any:
        try:
            return hook(self, *args, **kwargs)
        except Exception:
            logger.exception("%s.%s failed; training goes on", type(self).__name__, hook.__name__)
            return None

    return guarded  # type: ignore[return-value]


class SystemMetricsCallback(MLflowLoggerCallback):
    """Record each trial of a Tune experiment as an MLflow run of its own.

    It takes the place of Ray's ``MLflowLoggerCallback``. Each hook only queues; a thread of this process writes each
    run's points in batches. Results that carry a ``payload`` have its points written with their own times and steps;
    of other results every number that is not Ray's bookkeeping is written at its training iteration. When the
    experiment ends, whatever ended it, no run is left ``RUNNING``.

    Args:
        tracking_uri: MLflow's store; by default the one in use. The process's own setting is never changed.
        experiment_name: where runs go; created if it does not exist.
        tags: tags for every trial's run.
        experiment_id: where runs go, by id; wins over the name.
        parent_run_id: the run that trials are nested under in the UI.
        run_name: a trial -> the name of its run; by default Ray's name for it.
        params: a trial -> the parameters of its run; by default its ``config``, flattened.
        close_timeout_s: how long the end of the experiment waits for the store to take what is left.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: dict[str, str] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
        experiment_id: str | None = None,
        parent_run_id: str | None = None,
        run_name: Callable[[Trial], str] = str,
        params: Callable[[Trial], Mapping[str, Any]] = lambda trial: flatten_dict(trial.config),
        close_timeout_s: float = 60.0,
    ) -> None:
        super().__init__(
            tracking_uri,
            registry_uri=registry_uri,
            experiment_name=experiment_name,
            tags=tags,
            tracking_token=tracking_token,
            save_artifact=save_artifact,
            log_params_on_trial_end=log_params_on_trial_end,
        )
        self.experiment_id = experiment_id
        self.parent_run_id = parent_run_id
        self.run_name = run_name
        self.params = params
        self.close_timeout_s = close_timeout_s
        self._sink: Sink | None = None  # made in setup(): Tune pickles the callback before it

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Find the experiment and start the thread that writes.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be reached or does not know the experiment.
        """
        client = MlflowClient(self.tracking_uri or get_tracking_uri(), self.registry_uri)
        if self.experiment_id is None:
            self.experiment_id = _experiment_id(client, self.experiment_name)
        self._sink = Sink(client)
        self._sink.start()

    def run_id(self, trial_id: str) -> str | None:
        """MLflow's id of a trial's run; None while the store has not created it."""
        return self._sink.run_id(trial_id) if self._sink else None

    @_never_raises
    def log_trial_start(self, trial: Trial) -> None:
        """Have the trial's run created, unless it has one."""
        self._open(trial)

    @_never_raises
    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Queue what a result carries."""
        sink = self._open(trial)
        carried = result.get(PAYLOAD_KEY)
        if carried is None:
            sink.log(trial.trial_id, _metrics_of(result))
        else:
            sink.log(trial.trial_id, (Point(*point) for point in carried["points"]), tags=carried["tags"])

    @_never_raises
    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the trial's run: FINISHED, FAILED, or KILLED where Tune ended it before its own end."""
        sink = self._open(trial)
        if failed:
            sink.end(trial.trial_id, "FAILED", tags={"sysmetrics.error": error_line(trial)})
            return
        result = trial.last_result or {}
        carried = result.get(PAYLOAD_KEY)
        reason = result.get(STOP_KEY)
        if carried is not None and not carried["ended"] and "sysmetrics.stop_reason" not in carried["tags"]:
            reason = reason or {
                "sysmetrics.stop_reason": f"Tune ended it at iteration {result.get(TRAINING_ITERATION)}"
            }
        ended = reason is None and (carried is None or carried["ended"])
        sink.end(trial.trial_id, "FINISHED" if ended else "KILLED", tags=reason)
        if carried is not None:
            carried["points"].clear()  # Tune keeps every trial's last result in memory; all callbacks have seen it

    @_never_raises
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """End every run that Tune did not end, and write what is left."""
        self.close()

    def close(self, timeout_s: float | None = None) -> bool:
        """Mark open runs KILLED and write what is left, for a limited time; say whether all of it was written."""
        if self._sink is None:
            return True
        for trial_id in self._sink.open_keys():
            self._sink.end(trial_id, "KILLED")
        written = self._sink.close(self.close_timeout_s if timeout_s is None else timeout_s)
        if not written:
            logger.warning("MLflow did not take all data before the time was up; some trials' runs are incomplete")
        return written

    def _open(self, trial: Trial) -> Sink:
        if self._sink is None:
            raise RuntimeError("setup() has not been called")
        if not self._sink.is_open(trial.trial_id):
            own = {MLFLOW_PARENT_RUN_ID: self.parent_run_id} if self.parent_run_id else {}
            tags = {**own, "sysmetrics.kind": "trial", "sysmetrics.trial_id": trial.trial_id, **(self.tags or {})}
            assert self.experiment_id is not None
            self._sink.create(trial.trial_id, experiment_id=self.experiment_id, name=self.run_name(trial), tags=tags)
            self._sink.log(trial.trial_id, params=self.params(trial))
        return self._sink


def _experiment_id(client: MlflowClient, name: str | None) -> str:
    if name is None:
        return "0"
    experiment = client.get_experiment_by_name(name)
    return experiment.experiment_id if experiment else client.create_experiment(name)


def _metrics_of(result: dict[str, Any]) -> list[Point]:
    """Every finite number of a result that is not Ray's own bookkeeping."""
    now_ms, step = int(time.time() * 1000), int(result.get(TRAINING_ITERATION, 0))
    own = {name: value for name, value in result.items() if name not in _NOT_METRICS}
    return [
        Point(name, float(value), now_ms, step)
        for name, value in flatten_dict(own).items()
        if isinstance(value, numbers.Real) and math.isfinite(value)
    ]


def error_line(trial: Trial) -> str:
    """Why a trial failed: the last line of its traceback, which is the exception and its message. Never raises."""
    try:
        # The file on this machine: the copy that Trial.get_error() reads is made later.
        return Path(trial.error_file).read_text().strip().splitlines()[-1]
    except (OSError, TypeError, IndexError, UnicodeError):
        return "unknown error"
