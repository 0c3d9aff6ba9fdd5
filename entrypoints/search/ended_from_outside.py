"""What ended trials that did not end by themselves or by their limits."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from mlflow.exceptions import MlflowException

from entrypoints.mlflow_io import search_runs
from entrypoints.runs import RecordedRun
from entrypoints.search.record import TrialRecord
from entrypoints.tags import BY_TIME_LIMIT
from mlflow_sysmetrics.tags import BY_PERSON, STOP_REASON, STOPPED_BY


def tell(run: RecordedRun, trials: Iterable[TrialRecord], time_limit_s: float) -> None:
    """Tag the runs of trials that the time limit ended, and mark the records of those that a person ended.

    The tags of a run say whether it was a person. A run that was deleted meanwhile is ignored.
    """
    ended = [trial for trial in trials if trial.run_id and trial.ended_from_outside]
    if not ended:
        return
    stopped = f"tags.mlflow.parentRunId = '{run.run_id}' and tags.`{STOPPED_BY}` = '{BY_PERSON}'"
    by_person = {each.info.run_id for each in search_runs(run.client, run.experiment_id, stopped)}
    why = {STOPPED_BY: BY_TIME_LIMIT, STOP_REASON: f"time_limit_s={time_limit_s:g} of the study"}
    for trial in ended:
        trial.by_person = trial.run_id in by_person
        with suppress(MlflowException):
            for name, value in why.items() if trial.cut_off else ():
                run.client.set_tag(str(trial.run_id), name, value)
