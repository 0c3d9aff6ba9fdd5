"""Studies in a real store, written directly, read back as one frame.

What a row says of its trial is in test_record, which holds it against what the study itself knows.
"""

import json
import math
import re

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


@pytest.fixture
def read_trials(reading_client):
    """Write a study of these trials, and read it."""

    def found(*trials, tags=FULL, **asked):
        study = store_study(reading_client, trials=0, tags=tags)
        for trial in trials:
            store_trial(reading_client, study, **trial)
        return _read(reading_client, study, **asked)

    return found


def test_trials_are_rows_in_the_order_in_which_they_began(read_trials, monkeypatch):
    """With the last value of each metric but the thread's series and folds', however many requests it takes."""
    monkeypatch.setattr("entrypoints.runs.mlflow_io.PAGE", 2)
    curves = {"val_rmse": {100: 0.9, 200: 0.8}, "system/process_cpu_percent": {1: 99.0}, "fold/val_rmse": {0: 0.7}}
    trials = read_trials(*({"points": curves, "trial_id": name} for name in "bac")).trials
    assert trials["trial_id"].tolist() == ["b", "a", "c"]
    assert trials["val_rmse"].tolist() == [0.8] * 3
    assert not [name for name in trials if "/" in name]


def test_complete_trials_come_best_first_and_of_equal_ones_that_with_less_loss(read_trials):
    """Then the cheapest. Those that were stopped, failed, diverged or have no score, are left out."""
    trials = [{"points": {"training_time_s": {0: 1.0}}}]
    for score, loss, seconds in ((0.9, 0.1, 1.0), (0.7, 0.3, 0.5), (0.7, 0.2, 3.0), (0.7, 0.2, 2.0)):
        points = {"training_time_s": seconds, "val_rmse": score, "val_loss": loss}
        trials.append({"points": {name: {100: value} for name, value in points.items()}})
    left_out = ({"diverged": "true"}, {"status": "KILLED"}, {"status": "FAILED"})
    frame = read_trials(*trials, *left_out)
    assert frame.complete["training_time_s"].tolist() == [2.0, 3.0, 0.5, 1.0]
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
def test_hyperparameter_is_a_number_where_all_its_texts_are(read_trials, given, values):
    """Else it stays as MLflow shows it; whole numbers stay whole."""
    trials = [{"params": {} if value is None else {"x": value}} for value in given]
    frame = read_trials(*trials, tags=FULL | {"sysmetrics.searched": '["x"]'})
    assert repr(frame.trials["x"].tolist()) == repr(values)


def test_studies_of_one_frame_share_their_hyperparameters(reading_client, read_trials):
    """One that differs between two studies alone is among them; what studies are given, such as a seed, is not."""
    studies = []
    for alpha, tags in enumerate((FULL, LIMITED)):
        trials = [{"params": {"batch_size": size, "alpha": alpha, "seed": alpha}} for size in (8, 64)]
        searched = {"sysmetrics.searched": '["batch_size", "alpha"]'}
        studies.append(read_trials(*trials, tags=tags | searched).first)
    frame = _read(reading_client, *studies)
    assert frame.hyperparameters == ("batch_size", "alpha")
    assert frame.trials["alpha"].tolist() == [0, 0, 1, 1]
    assert set(frame.of(studies[1:]).trials["study"]) == {studies[1]}


def test_folds_come_from_the_study_s_table(reading_client):
    """Those of its trials; what is missing is NaN. Of an interrupted study there is none."""
    study = store_study(reading_client)
    assert _read(reading_client, study).folds.empty
    rows = {"columns": ["trial_id", "fold", "val_rmse"], "data": [["t", 0, 0.5], ["t", 1, None], ["gone", 0, 0.1]]}
    reading_client.log_text(study, json.dumps(rows), "folds.json")
    folds = _read(reading_client, study).folds.to_numpy().tolist()
    assert repr(folds) == repr([[study, "t", 0, 0.5], [study, "t", 1, math.nan]])


def test_study_has_the_figures_of_its_result(reading_client):
    """Those of its score, and what to beware of."""
    score = {"score": "val_r2", "higher_is_better": True, "baseline": None, "planned": 1}
    texts = {"leak": "a leak", "copies": "many", "no_interval": "few"}
    tags = FULL | {"sysmetrics.score": json.dumps(score)} | {f"sysmetrics.{name}": text for name, text in texts.items()}
    study = store_study(reading_client, tags=tags, rate="50.0")
    of_score = {"test": 0.3, "test_low": 0.2, "test_high": 0.4, "gain": 0.03, "gain_low": -0.01, "gain_high": 0.05}
    of_study = {"command_cpu_seconds": 84.0}
    for name, figure in (of_score | of_study).items():
        logged = re.sub("^(test|gain)", r"\1_r2", name)
        reading_client.log_metric(study, logged, figure)
    row = _read(reading_client, study).studies.loc[study].to_dict()
    assert row.items() >= (of_score | of_study | texts | {"rate": 50.0, "command_elapsed_s": None}).items()


def test_study_has_its_table_and_the_last_model_that_it_has_logged(reading_client):
    """It may have been continued."""
    study = store_study(reading_client, tags=FULL | {"sysmetrics.best_trial_run_id": "r"})
    experiment_id = reading_client.get_run(study).info.experiment_id
    reading_client.log_inputs(study, [DatasetInput(Dataset("wine", "0a1b", "local", "/"), [])])
    for _ in range(2):
        model = reading_client.create_logged_model(experiment_id, "model", source_run_id=study)
        reading_client.log_outputs(study, [LoggedModelOutput(model.model_id, step=0)])
    row = _read(reading_client, study).studies.loc[study]
    assert row["model"] == f"models:/{model.model_id}"
    assert row["model_run_id"] == "r"
    assert row["digest"] == "0a1b"


def _curve(frame, metric):
    part = frame.curves[frame.curves["metric"] == metric]
    return dict(zip(part["at"], part["value"], strict=True))


def test_curves_are_those_that_are_asked_for(read_trials):
    """By step, step 0 included; without a question there is none."""
    loss = {0: 1.0, 100: 0.5, 200: 0.25}
    trial = {"points": {"val_loss": loss, "train_loss": loss}}
    frame = read_trials(trial, curves=("val_loss", "not there"))
    assert _curve(frame, "val_loss") == loss
    assert set(frame.curves["metric"]) == {"val_loss"}
    assert read_trials(trial).curves.empty


def test_curves_are_of_trials_that_ran_to_their_end(read_trials, monkeypatch):
    """Of many some, evenly spread over their starts; not of those that were stopped, diverged or have no steps."""
    monkeypatch.setattr("entrypoints.trials.reading.MAX_TRIALS", 3)
    trials = [{"trial_id": str(number)} for number in range(9)]
    trials += [{"status": "KILLED"}, {"diverged": "true"}, {"axis": "fold"}]
    assert read_trials(*trials, curves=["val_rmse"]).curves["trial_id"].tolist() == ["0", "4", "8"]


def test_long_curves_are_thinned(reading_client):
    """The first and the last point stay; what is not finite goes; the newest value of a step counts."""
    study = store_study(reading_client, trials=0)
    losses = dict.fromkeys(range(1, 1000), 0.0) | {1000: math.nan}
    run_id = store_trial(reading_client, study, points={"loss": losses})
    for later_ms, value in ((10_000, 7.0), (20_000, 8.0), (15_000, 9.0)):
        reading_client.log_metric(run_id, "loss", value, timestamp=later_ms, step=1)
    curve = _curve(_read(reading_client, study, curves=["loss"]), "loss")
    assert len(curve) == 200
    assert (min(curve), max(curve), curve[1]) == (1, 999, 8)
