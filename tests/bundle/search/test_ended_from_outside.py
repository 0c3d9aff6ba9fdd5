"""What is said of trials that a time limit or a person ended, in their runs and records, in a real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import store_uri
from mlflow import MlflowClient
from reference import configured

from entrypoints.limits.stop_or_skip import EarlyEnd
from entrypoints.runs import RecordedRun
from entrypoints.search import ended_from_outside
from entrypoints.search.record import TrialRecord
from entrypoints.tags import BY_TIME_LIMIT
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.tags import BY_PERSON, BY_TUNE, STOP_REASON, STOPPED_BY

ENDING = EarlyEnd(Stop("elapsed_s<=1", "elapsed_s", 4.0, 1.0, 100), "crossed")


@pytest.fixture
def study(empty_store: Path) -> RecordedRun:
    """The run of a study in a store of nothing else."""
    client = MlflowClient(store_uri(empty_store))
    return RecordedRun.of(client, client.create_run(client.create_experiment("studies")))


@pytest.mark.parametrize(
    ("values", "by", "says"),
    [
        pytest.param({"status": "KILLED"}, BY_TUNE, BY_TUNE, id="scheduler"),
        pytest.param({"status": "KILLED"}, BY_PERSON, BY_PERSON, id="person"),
        pytest.param({"status": "KILLED", "cut_off": True}, "experiment_end", BY_TIME_LIMIT, id="time limit"),
        pytest.param({"status": "FAILED"}, None, None, id="error"),
        pytest.param({"status": "KILLED", "ending": ENDING}, "criteria", "criteria", id="its limits"),
        pytest.param({"status": "FINISHED"}, None, None, id="its own end"),
    ],
)
def test_what_ended_a_trial_is_said_in_its_run_and_its_record(
    study: RecordedRun, values: dict[str, Any], by: str | None, says: str | None
) -> None:
    """The time limit in the run, by the study; a person in the record, by the run. A deleted run is passed over."""
    tags = {"mlflow.parentRunId": study.run_id} | ({STOPPED_BY: by} if by else {})
    deleted, run_id = (study.client.create_run(study.experiment_id, tags=tags).info.run_id for _ in range(2))
    study.client.delete_run(deleted)
    trials = [TrialRecord("a", configured(), run_id=each, **values) for each in (deleted, run_id)]
    ended_from_outside.tell(study, [*trials, TrialRecord("without a run", configured(), "FAILED")], 90.0)
    data = study.client.get_run(run_id).data
    assert data.tags.get(STOPPED_BY) == says
    assert data.tags.get(STOP_REASON) == ("time_limit_s=90 of the study" if says == BY_TIME_LIMIT else None)
    assert trials[1].by_person is (says == BY_PERSON)
