"""What is left in the runs of trials that a scheduler, a time limit, a person or an error ended, in a real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import store_uri
from mlflow import MlflowClient
from reference import configured

from entrypoints.limits.stop_or_skip import Ending
from entrypoints.runs import RecordedRun
from entrypoints.search import ended_from_outside
from entrypoints.search.record import TrialRecord
from mlflow_sysmetrics.criteria.judge import Stop
from mlflow_sysmetrics.tags import BY_PERSON, BY_TIME_LIMIT, BY_TUNE, STOP_REASON, STOPPED_BY

COSTS = {"elapsed_s": 4.0, "cpu_seconds": 3.0, "peak_memory_mb": 200.0, "mean_step_time_ms": 0.3, "steps": 100.0}
CURVES = {"val_rmse": 0.7, "memory_mb": 190.0, "training_time_s": 1.0}
ENDING = Ending(Stop("elapsed_s<=1", "elapsed_s", 4.0, 1.0, 100), "crossed")


@pytest.fixture
def study(empty_store: Path) -> RecordedRun:
    """The run of a study in a store of nothing else."""
    client = MlflowClient(store_uri(empty_store))
    return RecordedRun.of(client, client.create_run(client.create_experiment("studies")))


@pytest.mark.parametrize(
    ("values", "by", "told", "says"),
    [
        pytest.param({"status": "KILLED"}, BY_TUNE, True, BY_TUNE, id="scheduler"),
        pytest.param({"status": "KILLED"}, BY_PERSON, True, BY_PERSON, id="person"),
        pytest.param({"status": "KILLED", "cut_off": True}, "experiment_end", True, BY_TIME_LIMIT, id="time limit"),
        pytest.param({"status": "FAILED"}, None, True, None, id="error"),
        pytest.param({"status": "KILLED", "ending": ENDING}, "criteria", False, "criteria", id="its limits"),
        pytest.param({"status": "FINISHED"}, None, False, None, id="its own end"),
    ],
)
def test_trial_that_could_not_say_what_it_had_cost_is_given_its_figures(
    study: RecordedRun, values: dict[str, Any], by: str | None, told: bool, says: str | None
) -> None:
    """At step 0, without the last points of its curves. That the time limit ended it is said here, too."""
    tags = {"mlflow.parentRunId": study.run_id} | ({STOPPED_BY: by} if by else {})
    run_id = study.client.create_run(study.experiment_id, tags=tags).info.run_id
    trial = TrialRecord("a", configured(), figures=COSTS | CURVES, run_id=run_id, **values)
    ended_from_outside.tell(study, [trial, TrialRecord("without a run", configured(), "FAILED")], 90.0)
    data = study.client.get_run(run_id).data
    assert data.metrics == (COSTS if told else {})
    assert {point.step for name in data.metrics for point in study.client.get_metric_history(run_id, name)} <= {0}
    assert data.tags.get(STOPPED_BY) == says
    assert data.tags.get(STOP_REASON) == ("time_limit_s=90 of the study" if says == BY_TIME_LIMIT else None)
    assert trial.by_person is (says == BY_PERSON)
