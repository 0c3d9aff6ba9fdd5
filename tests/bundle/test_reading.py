"""Studies in a real store, written directly, read back as one frame.

What a row says of its trial is in test_record, which holds it against what the study itself knows.
"""

import json
import math

import pytest
from cases import cases
from commands import store_uri
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput
from records import FULL, LIMITED, read, store_study, store_trial


@pytest.fixture(scope="module")
def reading_client(module_store):
    """Of a store of this module's own, where each test reads the studies that it has written."""
    client = MlflowClient(store_uri(module_store))
    client.create_experiment("studies", (module_store / "artifacts").as_uri())
    return client


def _read(client, *run_ids, **asked):
    return read(client, [client.get_run(run_id) for run_id in run_ids], **asked)


def test_trials_are_rows_in_the_order_in_which_they_began(reading_client, monkeypatch):
    """With the last value of each metric but the thread's series, however many requests it takes."""
    monkeypatch.setattr("entrypoints.mlflow_io.PAGE", 2)
    study = store_study(reading_client, trials=0)
    curves = {"val_rmse": {100: 0.9, 200: 0.8}, "system/process_cpu_percent": {1: 99.0}}
    for name in "bac":
        store_trial(reading_client, study, points=curves, trial_id=name)
    trials = _read(reading_client, study).trials
    assert trials[["trial_id", "val_rmse"]].to_numpy().tolist() == [["b", 0.8], ["a", 0.8], ["c", 0.8]]
    assert not [name for name in trials if name.startswith("system/")]


def test_complete_trials_come_best_first_and_of_equal_ones_the_cheapest(reading_client):
    """Those that were stopped, failed, diverged or have no score, and repetitions, are left out."""
    study = store_study(reading_client, trials=0)
    store_trial(reading_client, study, points={"training_time_s": {0: 1.0}})
    for score, seconds in ((0.9, 1.0), (0.7, 3.0), (0.7, 2.0)):
        store_trial(reading_client, study, points={"training_time_s": {0: seconds}, "val_rmse": {100: score}})
    for tags in ({"diverged": "true"}, {"status": "KILLED"}, {"status": "FAILED"}, {"repeat": "1"}):
        store_trial(reading_client, study, points={"val_rmse": {100: 0.1}}, **tags)
    frame = _read(reading_client, study)
    assert frame.complete["training_time_s"].tolist() == [2.0, 3.0, 1.0]
    assert len(frame.ended) == 5


@cases(
    "given, values",
    {
        "whole": ((8, 64), [8, 64]),
        "absent in one": ((8, None), [8.0, math.nan]),
        "a word among numbers": (("0.1", "auto"), ["0.1", "auto"]),
        "switches": ((True, False), ["True", "False"]),
    },
)
def test_hyperparameter_is_a_number_where_all_its_texts_are(reading_client, given, values):
    """Else it stays as MLflow shows it; whole numbers stay whole."""
    study = store_study(reading_client, trials=0, tags=FULL | {"sysmetrics.searched": '["x"]'})
    for value in given:
        store_trial(reading_client, study, {} if value is None else {"x": value})
    assert repr(_read(reading_client, study).trials["x"].tolist()) == repr(values)


def test_studies_of_one_frame_share_their_hyperparameters(reading_client):
    """One that differs between two studies alone is among them; what studies are given, such as a seed, is not."""
    searched = {"sysmetrics.searched": '["batch_size", "tol"]'}
    full, limited = (store_study(reading_client, trials=0, tags=tags | searched) for tags in (FULL, LIMITED))
    for study, tol in ((full, 0), (limited, 1)):
        for size in (8, 64):
            store_trial(reading_client, study, {"batch_size": size, "tol": tol, "seed": tol})
    frame = _read(reading_client, full, limited)
    assert frame.hyperparameters == ("batch_size", "tol")
    assert frame.trials["tol"].tolist() == [0, 0, 1, 1]
    assert frame.of([limited]).trials["study"].tolist() == [limited, limited]


def test_folds_come_from_the_study_s_table(reading_client):
    """Those of its trials; what is missing is NaN. Of an interrupted study there is none."""
    study = store_study(reading_client)
    rows = {"columns": ["trial_id", "fold", "val_rmse"], "data": [["t", 0, 0.5], ["t", 1, None], ["gone", 0, 0.1]]}
    reading_client.log_text(study, json.dumps(rows), "folds.json")
    assert repr(_read(reading_client, study).folds.to_numpy().tolist()) == repr(
        [[study, "t", 0, 0.5], [study, "t", 1, math.nan]]
    )
    assert list(_read(reading_client, store_study(reading_client)).folds.columns) == ["study", "trial_id", "fold"]


def test_study_says_what_it_is(reading_client):
    """From its tags, its params, its figures, its inputs and outputs."""
    score = {"score": "val_r2", "higher_is_better": True, "baseline": [0.0, -0.1, 0.0], "planned": 1}
    noted = {"score": json.dumps(score), "best_trial_run_id": "r", "leak": "a leak", "no_interval": "few folds"}
    tags = LIMITED | {f"sysmetrics.{name}": text for name, text in noted.items()}
    study = store_study(reading_client, "early_stop red_wine", tags=tags, seed=7, choose="cheapest", rate="50.0")
    known = {"command_cpu_seconds": 84.0, "duplicate_rows_percent": 18.5}
    of_model = {"test": 0.3, "test_low": 0.2, "test_high": 0.4, "gain": 0.03, "gain_low": -0.01, "gain_high": 0.05}
    of_score = {name.replace("test", "test_r2").replace("gain", "gain_r2"): of_model[name] for name in of_model}
    for name, figure in (known | of_score).items():
        reading_client.log_metric(study, name, figure)
    reading_client.log_inputs(study, [DatasetInput(Dataset("wine", "0a1b", "local", "/"), [])])
    for _ in range(2):  # it was continued
        model = reading_client.create_logged_model(
            reading_client.get_run(study).info.experiment_id, "model", source_run_id=study
        )
        reading_client.log_outputs(study, [LoggedModelOutput(model.model_id, step=0)])
    row = _read(reading_client, study).studies.loc[study].to_dict()
    expected = score | known | of_model | {"leak": "a leak", "no_interval": "few folds"}
    expected |= {"seed": 7, "choose": "cheapest", "rate": 50.0, "dataset": "red_wine", "digest": "0a1b", "key": "k"}
    expected |= {"model": f"models:/{model.model_id}", "model_run_id": "r", "command_elapsed_s": None}
    assert row.items() >= expected.items()
    reading_client.log_param(study, "duplicates", "together")
    assert _read(reading_client, study).studies.loc[study, "duplicate_rows_percent"] is None


def _curve(frame, metric):
    part = frame.curves[frame.curves["metric"] == metric]
    return dict(zip(part["at"], part["value"], strict=True))


def test_curves_are_those_that_are_asked_for(reading_client):
    """By step, step 0 included; without a question there is none."""
    study = store_study(reading_client, trials=0)
    loss = {0: 1.0, 100: 0.5, 200: 0.25}
    store_trial(reading_client, study, points={"val_loss": loss, "train_loss": loss})
    frame = _read(reading_client, study, curves=("val_loss", "not there"))
    assert _curve(frame, "val_loss") == loss
    assert set(frame.curves["metric"]) == {"val_loss"}
    assert _read(reading_client, study).curves.empty


def test_curves_are_of_trials_that_ran_to_their_end(reading_client, monkeypatch):
    """Of many some, evenly spread over their starts; neither of the stopped ones nor of those that diverged."""
    monkeypatch.setattr("entrypoints.reading.MAX_TRIALS", 3)
    study = store_study(reading_client, trials=0)
    for number in range(9):
        store_trial(reading_client, study, trial_id=str(number))
    for tags in ({"status": "KILLED"}, {"diverged": "true"}):
        store_trial(reading_client, study, trial_id="not whole", **tags)
    assert _read(reading_client, study, curves=["val_rmse"]).curves["trial_id"].tolist() == ["0", "4", "8"]


def test_long_curves_are_thinned(reading_client):
    """The first and the last point stay; what is not finite goes; the newest value of a step counts."""
    study = store_study(reading_client, trials=0)
    run_id = store_trial(reading_client, study, points={"loss": dict.fromkeys(range(1, 1000), 0.0) | {1000: math.nan}})
    for later_ms, value in ((10_000, 7.0), (20_000, 8.0), (15_000, 9.0)):
        reading_client.log_metric(run_id, "loss", value, timestamp=later_ms, step=1)
    curve = _curve(_read(reading_client, study, curves=["loss"]), "loss")
    assert len(curve) == 200
    assert (min(curve), max(curve), curve[1]) == (1, 999, 8)
