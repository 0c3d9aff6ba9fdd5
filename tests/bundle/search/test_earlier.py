"""What is read of an interrupted study in a real store: which trials are done, and which go on in which run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from reference import MLP_REGRESSOR, configured
from study_settings import study_settings

from entrypoints.limits.stop_or_skip import EarlyEnd
from entrypoints.models.configuration import Configuration
from entrypoints.search import earlier
from entrypoints.search.record import TrialRecord
from entrypoints.search.trial_end import TrialEnd
from mlflow_sysmetrics.limits import Stop
from mlflow_sysmetrics.tags import BY_EXPERIMENT_END, BY_PERSON, BY_TUNE

FOLDS = [{"fold": 0, "val_rmse": 2 / 3, "training_time_s": 0.1}, {"fold": 1, "val_rmse": 1 / 3, "training_time_s": 0.2}]
FIGURES = {"val_rmse": 0.5, "training_time_s": 0.15, "elapsed_s": 3.0}
STOPPED = EarlyEnd(Stop("training_time_s<=0.1", "training_time_s", 1 / 7, 0.1, 71), "crossed")
TRIALS = [
    configured(MLP_REGRESSOR, hidden_layer_sizes=sizes, alpha=alpha)
    for sizes in ([8], [8, 4])
    for alpha in (1 / 3, 1e-7, 3)
]
ENDED = TrialEnd(FOLDS)


@pytest.fixture
def study(client: MlflowClient) -> Run:
    """The run of a study that was interrupted."""
    return client.create_run(client.get_experiment_by_name("studies").experiment_id, tags={"sysmetrics.kind": "study"})


def _trial(
    client: MlflowClient,
    study: Run,
    configuration: Configuration,
    status: str = "RUNNING",
    *,
    figures: dict[str, float] = FIGURES,
    **tags: str,
) -> str:
    """A run of a trial, as the callback leaves it; its id."""
    about = {"mlflow.parentRunId": study.info.run_id, "sysmetrics.kind": "trial"}
    run_id = str(client.create_run(study.info.experiment_id, tags=about).info.run_id)
    now_ms = int(time.time() * 1000)
    points = [Metric(name, value, now_ms, 0) for name, value in {**figures, "system/process_cpu_percent": 9.0}.items()]
    params = [Param(name, str(value)) for name, value in (configuration.searched | study_settings().shared).items()]
    own = {"sysmetrics.trial_id": f"t-{run_id}", **{f"sysmetrics.{name}": tag for name, tag in tags.items()}}
    client.log_batch(run_id, points, params, [RunTag(name, tag) for name, tag in own.items()])
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    return run_id


def _end(end: TrialEnd, diverged: bool = False) -> dict[str, str]:
    return {name.removeprefix("sysmetrics."): tag for name, tag in end.tags.items()} | {
        "diverged": str(diverged).lower()
    }


def _status(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).info.status)


@pytest.mark.parametrize(
    ("status", "end", "diverged"),
    [
        pytest.param("FINISHED", ENDED, False, id="finished"),
        pytest.param("FINISHED", TrialEnd([]), True, id="diverged"),
        pytest.param("KILLED", TrialEnd([], STOPPED, {"elapsed_s": 9.0}), False, id="stopped-by-limits"),
    ],
)
def test_trial_that_is_done_is_read_as_the_search_would_know_it(
    client: MlflowClient, study: Run, status: str, end: TrialEnd, diverged: bool
) -> None:
    """Status, figures, folds and the reason of its end, to the last digit; it is not left to be run."""
    run_id = _trial(client, study, TRIALS[1], status, **_end(end, diverged))
    found = earlier.read(client, study, TRIALS)
    assert found.done == (
        TrialRecord(
            f"t-{run_id}",
            TRIALS[1],
            status,
            FIGURES,
            end.folds,
            diverged=diverged,
            ending=end.ending,
            expected=end.expected,
            run_id=run_id,
        ),
    )
    assert found.left(TRIALS) == [TRIALS[0], *TRIALS[2:]]
    assert found.run_of(TRIALS[1]) is None
    assert found.known == (((TRIALS[1], FIGURES, end.expected, "stopped"),) if end.expected else ())


@pytest.mark.parametrize("stopped_by", [pytest.param(BY_TUNE, id="scheduler"), pytest.param(BY_PERSON, id="person")])
def test_trial_that_tune_or_a_person_stopped_is_done(client: MlflowClient, study: Run, stopped_by: str) -> None:
    """It has no figures of an end, and would be stopped again, whatever the words for it."""
    said = {"stopped_by": stopped_by, "stop_reason": "in other words"}
    _trial(client, study, TRIALS[0], "KILLED", figures={"val_rmse": 1.0}, **said)
    (trial,) = earlier.read(client, study, TRIALS).done
    assert (trial.status, trial.ending, trial.figures) == ("KILLED", None, {"val_rmse": 1.0})
    assert trial.by_person is (stopped_by == BY_PERSON)


@pytest.mark.parametrize(
    ("status", "tags"),
    [
        pytest.param("RUNNING", {}, id="driver-killed"),
        pytest.param("KILLED", {}, id="interrupted"),
        pytest.param("KILLED", {"stopped_by": BY_EXPERIMENT_END}, id="swept"),
        pytest.param(
            "KILLED", {"stopped_by": "time_limit", "stop_reason": "time_limit_s=15 of the study"}, id="time-limit"
        ),
        pytest.param("FAILED", {"error": "MemoryError"}, id="failed"),
    ],
)
def test_trial_that_is_not_done_goes_on_in_its_own_run(
    client: MlflowClient, study: Run, status: str, tags: dict[str, str]
) -> None:
    """Whatever ended it. What its run says of that end is taken back, and it is not left RUNNING meanwhile."""
    run_id = _trial(client, study, TRIALS[4], status, figures={"val_rmse": 1.0}, diverged="false", **tags)
    found = earlier.read(client, study, TRIALS)
    assert (found.done, found.left(TRIALS)) == ((), TRIALS)
    assert [found.run_of(trial) for trial in TRIALS] == [None, None, None, None, run_id, None]
    earlier.settle(client, study)
    run = client.get_run(run_id)
    assert run.info.status == ("FAILED" if status == "FAILED" else "KILLED")
    assert {name for name in run.data.tags if name.startswith("sysmetrics.")} == {
        "sysmetrics.kind",
        "sysmetrics.trial_id",
    }


def test_trial_whose_status_alone_is_missing_is_done_and_gets_it(client: MlflowClient, study: Run) -> None:
    """The driver was killed between a trial's last points and its status."""
    finished = _trial(client, study, TRIALS[0], **_end(ENDED))
    stopped = _trial(client, study, TRIALS[1], **_end(TrialEnd([], STOPPED)))
    assert [trial.status for trial in earlier.read(client, study, TRIALS).done] == ["FINISHED", "KILLED"]
    earlier.settle(client, study)
    assert (_status(client, finished), _status(client, stopped)) == ("FINISHED", "KILLED")


def test_trial_whose_last_points_are_missing_is_not_done(client: MlflowClient, study: Run) -> None:
    """The driver was killed between two batches."""
    _trial(client, study, TRIALS[0], figures={"val_rmse": 1.0}, **_end(ENDED))
    assert earlier.read(client, study, TRIALS).done == ()


def test_run_that_holds_nothing_is_deleted(client: MlflowClient, study: Run) -> None:
    """The driver was killed between making a run and saying which trial it is for: another run will be made."""
    about = {"mlflow.parentRunId": study.info.run_id, "sysmetrics.kind": "trial"}
    empty = client.create_run(study.info.experiment_id, tags=about)
    assert earlier.read(client, study, TRIALS) == earlier.NOTHING
    earlier.settle(client, study)
    assert client.get_run(empty.info.run_id).info.lifecycle_stage == "deleted"


def test_other_runs_of_the_study_are_not_left_running(client: MlflowClient, study: Run) -> None:
    """Data that was being prepared, and a command that was killed while it continued the study."""
    runs = [
        client.create_run(
            study.info.experiment_id, tags={"mlflow.parentRunId": study.info.run_id, "sysmetrics.kind": kind}
        )
        for kind in ("prepare", "resume")
    ]
    client.set_terminated(runs[0].info.run_id, "FINISHED")
    earlier.settle(client, study)
    assert [_status(client, run.info.run_id) for run in runs] == ["FINISHED", "KILLED"]


def test_done_trial_stays_untouched(client: MlflowClient, study: Run) -> None:
    """Its run is not written again."""
    run_id = _trial(client, study, TRIALS[0], "FINISHED", **_end(ENDED))
    before = client.get_run(run_id).to_dictionary()
    earlier.settle(client, study)
    assert client.get_run(run_id).to_dictionary() == before


def test_study_forgets_how_it_ended(client: MlflowClient, study: Run) -> None:
    """Its error, its best trial, which another may become, and who stopped it, or it would be again; nothing else."""
    ended = {"error": "no model", "best_alpha": "3", "stop": "enough", "stopped_by": "person"}
    for name, value in {**ended, "dataset": "red_wine"}.items():
        client.set_tag(study.info.run_id, f"sysmetrics.{name}", value)
    earlier.settle(client, client.get_run(study.info.run_id))
    left = {name for name in client.get_run(study.info.run_id).data.tags if name.startswith("sysmetrics.")}
    assert left == {"sysmetrics.kind", "sysmetrics.dataset"}


def test_of_two_runs_of_a_trial_the_done_one_counts(client: MlflowClient, study: Run) -> None:
    """In whatever order they were made."""
    done = [_trial(client, study, TRIALS[0], "FINISHED", **_end(ENDED))]
    for trial in TRIALS[:2]:
        _trial(client, study, trial, "KILLED")
    done.append(_trial(client, study, TRIALS[1], "FINISHED", **_end(ENDED)))
    assert [trial.run_id for trial in earlier.read(client, study, TRIALS).done] == done


def test_repetitions_of_a_configuration_are_told_apart(client: MlflowClient, study: Run) -> None:
    """Each is done, goes on or is left by itself, by the tag that its run has from the beginning."""
    trials = [replace(TRIALS[0], repeat=repeat) for repeat in range(4)]
    _trial(client, study, trials[0], "FINISHED", **_end(ENDED))
    begun = _trial(client, study, trials[1], repeat="1")
    _trial(client, study, trials[2], "FINISHED", repeat="2", **_end(ENDED))
    found = earlier.read(client, study, trials)
    assert [record.configuration.repeat for record in found.done] == [0, 2]
    assert [each.repeat for each in found.left(trials)] == [1, 3]
    assert [found.run_of(each) for each in trials] == [None, begun, None, None]


def test_trials_of_other_studies_are_none_of_this_one(client: MlflowClient, study: Run) -> None:
    """They may have the same configurations."""
    other = client.create_run(study.info.experiment_id)
    _trial(client, other, TRIALS[0], "FINISHED", **_end(ENDED))
    assert earlier.read(client, study, TRIALS) == earlier.NOTHING


def test_all_trials_of_a_large_study_are_read(client: MlflowClient, study: Run, monkeypatch: Any) -> None:
    """MLflow hands them out in pages."""
    monkeypatch.setattr("entrypoints.mlflow_io.PAGE", 2)
    for trial in TRIALS:
        _trial(client, study, trial, "FINISHED", **_end(ENDED))
    found = earlier.read(client, study, TRIALS)
    assert [trial.configuration for trial in found.done] == TRIALS
    assert found.left(TRIALS) == []


def test_records_are_in_the_order_of_the_configurations(client: MlflowClient, study: Run) -> None:
    """So that of two equally good trials the same one is the best."""
    _trial(client, study, TRIALS[2], "FINISHED", **_end(ENDED))
    found = earlier.read(client, study, TRIALS)
    records = {f"new-{place}": TrialRecord(f"new-{place}", TRIALS[place]) for place in (3, 0, 1)}
    ordered = found.in_order(records | {trial.trial_id: trial for trial in found.done}, TRIALS)
    assert [record.configuration for record in ordered.values()] == TRIALS[:4]
    assert [name for name, record in ordered.items() if name != record.trial_id] == []


def test_time_of_the_search_is_that_in_which_trials_ran(client: MlflowClient, study: Run) -> None:
    """Side by side or one after the other; not the time in between."""
    ends_ms = [1_000_000, 1_001_000, 9_000_000]
    for trial, end_ms in zip(TRIALS, ends_ms, strict=False):
        run_id = _trial(client, study, trial, **_end(ENDED))
        client.set_terminated(run_id, "FINISHED", end_ms)
    assert earlier.read(client, study, TRIALS).search_s == pytest.approx(4.0 + 3.0)
