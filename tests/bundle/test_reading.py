"""Studies in a real store, written directly, read back as one frame."""

import json
import math

import pytest
from cases import cases
from commands import store_uri
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput
from stored_studies import FULL, LIMITED, read, store_study, store_trial

from entrypoints.frame import ABOUT
from entrypoints.reading import MAX_TRIALS

STOPPED = {"stopped_by": "limits", "stop_how": "predicted", "stop_metric": "elapsed_s"}


@pytest.fixture(scope="module")
def client(module_store):
    """Of a store of this module's own, where each test reads the studies that it has written."""
    client = MlflowClient(store_uri(module_store))
    client.create_experiment("studies", (module_store / "artifacts").as_uri())
    return client


def _read(client, *run_ids, **asked):
    return read(client, [client.get_run(run_id) for run_id in run_ids], **asked)


def test_trials_are_rows_in_the_order_in_which_they_began(client, monkeypatch):
    """What each is, what it chose, and the last value of each of its metrics but the thread's series.

    However many requests it takes.
    """
    monkeypatch.setattr("entrypoints.mlflow_io.PAGE", 2)
    study = store_study(client, trials=0)
    curves = {"val_rmse": {100: 0.9, 200: 0.8}, "elapsed_s": {0: 2.5}, "system/process_cpu_percent": {1: 99.0}}
    first = store_trial(client, study, {"alpha": 0.1}, curves, name="a0.1", trial_id="b")
    others = [store_trial(client, study, {"alpha": 0.2}, {"val_rmse": {100: 0.5}}, name="a0.2") for _ in range(2)]
    trials = _read(client, study).trials
    assert list(trials.columns[:-2]) == [*ABOUT, "alpha"]
    assert trials[["study", "trial_id", "run_id", "name", "alpha", "val_rmse"]].to_numpy().tolist() == [
        [study, "b", first, "a0.1", 0.1, 0.8],
        *([study, "t", each, "a0.2", 0.2, 0.5] for each in others),
    ]
    assert str(trials["elapsed_s"].tolist()) == "[2.5, nan, nan]"


@cases(
    "status, tags, expected",
    {
        "number in the order": ("FINISHED", {"number": "7", "repeat": "2"}, {"number": 7, "repeat": 2}),
        "unknown": ("FINISHED", {"node": "n"}, {"number": None, "repeat": 0, "host": None}),
        "tags": ("FINISHED", {"diverged": "true", "feasible": "true"}, {"diverged": True, "feasible": True}),
        "host": (
            *("FINISHED", {"host_cpu_model": "A CPU", "host_usable_cores": "2", "host_os": "Linux"}),
            {"host": "A CPU, usable_cores 2"},
        ),
        "stopped": ("KILLED", STOPPED, STOPPED),
    },
)
def test_row_says_how_its_trial_ended(client, status, tags, expected):
    """What is not known is None; beside one that finished all the same."""
    study = store_study(client)
    store_trial(client, study, status=status, **tags)
    row = _read(client, study).trials.iloc[1]
    assert row["status"] == status
    assert {name: row[name] for name in expected} == expected


def test_complete_trials_come_best_first_and_of_equal_ones_the_cheapest(client):
    """Those that were stopped, failed, diverged or have no score, and repetitions, are left out."""
    study = store_study(client, trials=0)
    for score, seconds in ((None, 1.0), (0.9, 1.0), (0.7, 3.0), (0.7, 2.0)):
        points = {"training_time_s": {0: seconds}} | ({} if score is None else {"val_rmse": {100: score}})
        store_trial(client, study, points=points)
    for tags in ({"diverged": "true"}, {"status": "KILLED"}, {"status": "FAILED"}, {"repeat": "1"}):
        store_trial(client, study, points={"val_rmse": {100: 0.1}}, **tags)
    frame = _read(client, study)
    assert frame.complete["training_time_s"].tolist() == [2.0, 3.0, 1.0]
    assert len(frame.ended) == 5


def test_hyperparameters_are_what_was_searched_and_differs(client):
    """The height was the same for all of them."""
    study = store_study(client, trials=0, tags=FULL | {"sysmetrics.searched": '["width", "depth", "height"]'})
    store_trial(client, study, {"depth": 1, "width": 8, "height": 0})
    store_trial(client, study, {"depth": 2, "width": 9, "height": 0})
    assert _read(client, study).hyperparameters == ("width", "depth")


@cases(
    "given, values",
    {
        "whole": ((8, 64), [8, 64]),
        "absent in one": ((8, None), [8.0, math.nan]),
        "a word among numbers": (("0.1", "auto"), ["0.1", "auto"]),
        "switches": ((True, False), ["True", "False"]),
    },
)
def test_hyperparameter_is_a_number_where_all_its_texts_are(client, given, values):
    """Else it stays as MLflow shows it; whole numbers stay whole."""
    study = store_study(client, trials=0, tags=FULL | {"sysmetrics.searched": '["x"]'})
    for value in given:
        store_trial(client, study, {} if value is None else {"x": value})
    read_back = _read(client, study).trials["x"].tolist()
    assert [type(value) for value in read_back] == [type(value) for value in values]
    assert str(read_back) == str(values)


def test_studies_of_one_frame_share_their_hyperparameters(client):
    """One that differs between two studies alone is among them; what studies are given, such as a seed, is not."""
    tags = {"sysmetrics.searched": '["batch_size", "tol"]'}
    full, limited = store_study(client, trials=0, tags=FULL | tags), store_study(client, trials=0, tags=LIMITED | tags)
    for study, seed, tol in ((full, 0, 0.1), (limited, 1, 0.2)):
        for size in (8, 64):
            store_trial(client, study, {"batch_size": size, "tol": tol, "seed": seed})
    frame = _read(client, full, limited)
    assert frame.hyperparameters == ("batch_size", "tol")
    assert frame.trials["tol"].tolist() == [0.1, 0.1, 0.2, 0.2]
    assert frame.studies["limits"].tolist() == [None, "elapsed_s<=9"]
    assert frame.of([limited]).trials["study"].tolist() == [limited, limited]


def test_folds_come_from_the_study_s_table(client):
    """One row per trial and fold of this study; what is missing is NaN. Of an interrupted study there is none."""
    study = store_study(client)
    rows = {"columns": ["trial_id", "fold", "val_rmse"], "data": [["t", 0, 0.5], ["t", 1, None], ["gone", 0, 0.1]]}
    client.log_text(study, json.dumps(rows), "folds.json")
    folds = _read(client, study).folds
    assert folds[["study", "trial_id", "fold"]].to_numpy().tolist() == [[study, "t", 0], [study, "t", 1]]
    assert str(folds["val_rmse"].tolist()) == "[0.5, nan]"
    folds = _read(client, store_study(client)).folds
    assert (len(folds), list(folds.columns)) == (0, ["study", "trial_id", "fold"])


def test_study_says_what_it_is(client):
    """From its tags, its params, its figures, its inputs and outputs."""
    tags = LIMITED | {"sysmetrics.best_trial_run_id": "r"}
    tags["sysmetrics.score"] = (
        '{"score": "val_r2", "higher_is_better": true, "baseline": [0.0, -0.1, 0.0], "planned": 1}'
    )
    tags["sysmetrics.leak"] = "late predicts paid alone"
    tags["sysmetrics.no_interval"] = "it takes 3 folds"
    params = {"folds": 3, "seed": 7, "choose": "cheapest", "rate": "50.0", "scheduler": "asha"}
    study = store_study(client, "early_stop red_wine", 0, tags=tags, **params)
    store_trial(client, study, points={"val_rmse": {100: 0.7}, "val_r2": {100: 0.3}})
    client.log_metric(study, "command_cpu_seconds", 84.0)
    client.log_metric(study, "duplicate_rows_percent", 18.5)
    expected = {
        "test_r2": 0.3,
        "test_r2_low": 0.2,
        "test_r2_high": 0.4,
        "gain_r2": 0.03,
        "gain_r2_low": -0.01,
        "gain_r2_high": 0.05,
    }
    for name, figure in expected.items():
        client.log_metric(study, name, figure)
    client.log_inputs(study, [DatasetInput(Dataset("wine", "0a1b", "local", "/"), [])])
    for _ in range(2):  # it was continued
        model = client.create_logged_model(client.get_run(study).info.experiment_id, "model", source_run_id=study)
        client.log_outputs(study, [LoggedModelOutput(model.model_id, step=0)])
    frame = _read(client, study)
    assert frame.studies.loc[study].to_dict() == {
        "name": "early_stop red_wine",
        "experiment_id": "1",
        "dataset": "red_wine",
        "digest": "0a1b",
        "algorithm": None,
        "key": "k",
        "limits": "elapsed_s<=9",
        "score": "val_r2",
        "higher_is_better": True,
        "baseline": [0.0, -0.1, 0.0],
        "choose": "cheapest",
        "rate": 50.0,
        "search": None,
        "seed": 7,
        "planned": 1,
        "model": f"models:/{model.model_id}",
        "model_run_id": "r",
        "command_cpu_seconds": 84.0,
        "command_elapsed_s": None,
        "duplicate_rows_percent": 18.5,
        "leak": "late predicts paid alone",
        "test": 0.3,
        "test_low": 0.2,
        "test_high": 0.4,
        "gain": 0.03,
        "gain_low": -0.01,
        "gain_high": 0.05,
        "no_interval": "it takes 3 folds",
    }
    client.log_param(study, "duplicates", "together")
    assert _read(client, study).studies.loc[study, "duplicate_rows_percent"] is None
    assert (frame.first, frame.score) == (study, "val_r2")


def _curve(frame, metric):
    part = frame.curves[frame.curves["metric"] == metric]
    return dict(zip(part["at"], part["value"], strict=True))


def test_curves_are_those_that_are_asked_for(client):
    """By step, step 0 included; without a question there is none."""
    study = store_study(client, trials=0)
    loss = {0: 1.0, 100: 0.5, 200: 0.25}
    store_trial(client, study, points={"val_loss": loss, "train_loss": loss, "system/a": {1: 9.0}}, trial_id="t")
    frame = _read(client, study, curves=("val_loss", "not there"))
    assert _curve(frame, "val_loss") == loss
    assert set(frame.curves["trial_id"]) == {"t"}
    assert set(frame.curves["metric"]) == {"val_loss"}
    assert _read(client, study).curves.empty


def test_curves_are_of_trials_that_ran_to_their_end(client, monkeypatch):
    """Of many some, evenly spread over their starts; neither of the stopped ones nor of those that diverged."""
    assert MAX_TRIALS == 200
    monkeypatch.setattr("entrypoints.reading.MAX_TRIALS", 3)
    study = store_study(client, trials=0)
    for number in range(9):
        store_trial(client, study, trial_id=str(number))
    store_trial(client, study, trial_id="stopped", status="KILLED")
    store_trial(client, study, trial_id="diverged", diverged="true")
    assert _read(client, study, curves=["val_rmse"]).curves["trial_id"].tolist() == ["0", "4", "8"]


def test_long_curves_are_thinned(client):
    """The first and the last point stay; what is not finite goes; the newest value of a step counts."""
    study = store_study(client, trials=0)
    run_id = store_trial(
        client, study, points={"loss": {step: float(step) for step in range(1, 1001)} | {1000: math.nan}}
    )
    for later_ms, value in ((10_000, 7.0), (20_000, 8.0), (15_000, 9.0)):
        client.log_metric(run_id, "loss", value, timestamp=later_ms, step=1)
    curve = _curve(_read(client, study, curves=["loss"]), "loss")
    assert len(curve) == 200
    assert (min(curve), max(curve), curve[1]) == (1, 999, 8)
