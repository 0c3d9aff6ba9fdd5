"""What the driver says of trials that could not do so themselves: a scheduler, a time limit, a person, an error did."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow.entities import Metric, RunTag

from entrypoints.limits.costs import SYSTEM_FIGURES
from entrypoints.mlflow_io import search_runs
from entrypoints.runs import RecordedRun
from entrypoints.search.record import TrialRecord
from mlflow_sysmetrics.delivery.points import now_ms
from mlflow_sysmetrics.tags import BY_PERSON, BY_TIME_LIMIT, STOP_REASON, STOPPED_BY

# What a trial writes at step 0 when it ends itself. The training time is a curve.
FIGURES = {*SYSTEM_FIGURES, "steps", "read_mb", "write_mb"} - {"training_time_s"}


def tell(run: RecordedRun, trials: Iterable[TrialRecord], time_limit_s: float) -> None:
    """Leave in the runs of trials what they had cost by their last result, and that the time limit ended them.

    Note in the records which ones a person ended, as their runs say.
    """
    ended = [trial for trial in trials if trial.run_id and trial.ended_from_outside]
    if not ended:
        return
    stopped = f"tags.mlflow.parentRunId = '{run.run_id}' and tags.`{STOPPED_BY}` = '{BY_PERSON}'"
    by_person = {each.info.run_id for each in search_runs(run.client, run.experiment_id, stopped)}
    why = [RunTag(STOPPED_BY, BY_TIME_LIMIT), RunTag(STOP_REASON, f"time_limit_s={time_limit_s:g} of the study")]
    for trial in ended:
        trial.by_person = trial.run_id in by_person
        costs = {name: value for name, value in trial.figures.items() if name in FIGURES}
        metrics = [Metric(name, value, now_ms(), 0) for name, value in costs.items()]
        run.client.log_batch(str(trial.run_id), metrics=metrics, tags=why if trial.cut_off else [])
