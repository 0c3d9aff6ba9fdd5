"""A search that races, from the command line to its last run in MLflow, and continued."""

import re
from unittest.mock import Mock

import pytest
from commands import children, in_use, invoke, runs_of_kind
from records import RunningRay

from entrypoints.runs.tags import BEST_TRIAL_RUN_ID, BY_RACE, ROLE
from entrypoints.tune import tune
from mlflow_sysmetrics.recording.tags import STOP_REASON, STOPPED_BY

# Half of the rates learn nothing in so few rounds.
SPACE = "{max_iter: [10, 20], max_leaf_nodes: 7, learning_rate: [0.3, 0.2, 0.1, 0.003, 0.001, 0.0003]}"
TRIALS = 12
SETTINGS = {"algorithm": "boosting", "space": SPACE, "search": "tpe", "max_trials": "12", "folds": "5"}


def _tune(**options):
    """What a command with these options prints."""
    result = invoke(tune, **options)
    assert result.exit_code == 0, result.output
    return result.stdout


def _trials(client):
    """The study's run, and its trials in the order of their starts."""
    (study,) = runs_of_kind(client, "study")
    trials = [run for run in children(client, study, "trial") if ROLE not in run.data.tags]
    return study, sorted(trials, key=lambda run: int(run.data.tags["sysmetrics.number"]))


def _check(said, study, trials):
    """That a study of these trials says what became of them, and has chosen a complete one; return the raced ones."""
    raced = [run for run in trials if run.data.tags.get(STOPPED_BY) == BY_RACE]
    assert raced
    for run in raced:
        told = re.fullmatch(r"val_rmse (\S+) > (\S+) \(predicted, fold (\d)\)", run.data.tags[STOP_REASON])
        score, needed, fold = map(float, told.groups())
        assert score > needed
        assert run.data.metrics["steps"] == fold
        assert run.info.status == "KILLED"
    complete = [run for run in trials if run not in raced]
    assert {run.info.status for run in complete} == {"FINISHED"}
    best = min(complete, key=lambda run: run.data.metrics["val_rmse"])
    assert study.data.tags[BEST_TRIAL_RUN_ID] == best.info.run_id
    assert study.data.metrics["trials"] == TRIALS
    assert study.data.metrics["raced"] == len(raced)
    assert f": {len(complete)} ran to the end, {len(raced)} ended by racing." in said
    return raced


@pytest.mark.usefixtures("local_ray")
def test_search_ends_trials_that_cannot_win_also_when_it_is_continued(empty_store, monkeypatch):
    """Those that were raced before are not run again; a search that has ended early has nothing left."""
    monkeypatch.setattr("entrypoints.study.plan.backend", Mock(return_value=RunningRay()))
    with in_use(empty_store) as client:
        said = _tune(**SETTINGS, served="none")
        assert f"Search: up to {TRIALS} models, each on 5 folds, on 1 CPU cores\n" in said
        assert "Racing: a trial ends once it cannot become the best any more" in said
        study, trials = _trials(client)
        raced = _check(said, study, trials)
        client.update_run(study.info.run_id, "RUNNING")  # as if it had been killed before the last three
        done = trials[:9]
        for run in trials[9:]:
            client.delete_run(run.info.run_id)
        said = _tune(resume=study.info.run_id)
        assert "goes on; 9 of 12 trials are done" in said
        study, trials = _trials(client)
        again = _check(said, study, trials)
        monkeypatch.setattr("entrypoints.study.study.ENOUGH", 0)
        client.delete_run(trials[-1].info.run_id)
        assert "nothing to resume" in invoke(tune, resume=study.info.run_id).stderr  # as if it had ended early
    before = {run.info.run_id: run.info.end_time for run in raced if run in done}
    assert before
    assert before.items() <= {run.info.run_id: run.info.end_time for run in again}.items()
