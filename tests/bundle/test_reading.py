"""Studies in a real store, written directly, read back as one frame."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, Metric
from stored_studies import FULL, LIMITED, read, store_scores, store_study, store_trial

from entrypoints.errors import UserError
from entrypoints.frame import ABOUT, OF_STUDY, Frame
from entrypoints.reading import MAX_TRIALS

STOPPED = {"stopped_by": "limits", "stop_how": "predicted", "stop_metric": "elapsed_s"}
OTHER = {"sysmetrics.kind": "study", "sysmetrics.study_id": "0a1b"}  # of a study that the callback has made


@pytest.fixture(scope="module")
def client(module_store: Path) -> MlflowClient:
    """Of a store of this module's own, where each test reads the studies that it has written."""
    client = MlflowClient(store_uri(module_store))
    client.create_experiment("studies", (module_store / "artifacts").as_uri())
    return client


def _read(client: MlflowClient, *run_ids: str, **asked: Any) -> Frame:
    return read(client, [client.get_run(run_id) for run_id in run_ids], **asked)


def test_trials_are_rows_in_the_order_in_which_they_began(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize(
    ("status", "tags", "expected"),
    [
        pytest.param("FINISHED", {"number": "7", "repeat": "2"}, {"number": 7, "repeat": 2}, id="number in the order"),
        pytest.param("FINISHED", {"node": "n"}, {"number": None, "repeat": 0, "host": None}, id="unknown"),
        pytest.param(
            "FINISHED", {"diverged": "true", "feasible": "true"}, {"diverged": True, "feasible": True}, id="tags"
        ),
        pytest.param(
            *("FINISHED", {"host_cpu_model": "A CPU", "host_usable_cores": "2", "host_os": "Linux"}),
            {"host": "A CPU, usable_cores 2"},
            id="host",
        ),
        pytest.param("KILLED", STOPPED, STOPPED, id="stopped"),
    ],
)
def test_row_says_how_its_trial_ended(
    client: MlflowClient, status: str, tags: dict[str, str], expected: dict[str, Any]
) -> None:
    """What is not known is None; beside one that finished all the same."""
    study = store_study(client)
    store_trial(client, study, status=status, **tags)
    row = _read(client, study).trials.iloc[1]
    assert row["status"] == status
    assert {name: row[name] for name in expected} == expected


def test_complete_trials_come_best_first_and_of_equal_ones_the_cheapest(client: MlflowClient) -> None:
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


@pytest.mark.parametrize(
    ("searched", "names"),
    [
        pytest.param('["width", "depth", "height"]', ("width", "depth"), id="as the study says"),
        pytest.param(None, ("depth", "width"), id="by the alphabet"),
    ],
)
def test_hyperparameters_are_what_was_searched_and_differs(
    client: MlflowClient, searched: str | None, names: tuple[str, ...]
) -> None:
    """The height was the same for all of them."""
    study = store_study(client, trials=0, tags=FULL | ({"sysmetrics.searched": searched} if searched else {}))
    store_trial(client, study, {"depth": 1, "width": 8, "height": 0})
    store_trial(client, study, {"depth": 2, "width": 9, "height": 0})
    assert _read(client, study).hyperparameters == names


@pytest.mark.parametrize(
    ("given", "values"),
    [
        pytest.param((8, 64), [8, 64], id="whole"),
        pytest.param((8, None), [8.0, math.nan], id="absent in one"),
        pytest.param(("0.1", "auto"), ["0.1", "auto"], id="a word among numbers"),
        pytest.param((True, False), ["True", "False"], id="switches"),
    ],
)
def test_hyperparameter_is_a_number_where_all_its_texts_are(
    client: MlflowClient, given: tuple[object, object], values: list[object]
) -> None:
    """Else it stays as MLflow shows it; whole numbers stay whole."""
    study = store_study(client, trials=0)
    for value in given:
        store_trial(client, study, {} if value is None else {"x": value})
    read_back = _read(client, study).trials["x"].tolist()
    assert [type(value) for value in read_back] == [type(value) for value in values]
    assert str(read_back) == str(values)


def test_studies_of_one_frame_share_their_hyperparameters(client: MlflowClient) -> None:
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


def test_folds_come_from_the_study_s_table(client: MlflowClient) -> None:
    """One row per trial and fold of this study; what is missing is NaN. Of an interrupted study there is none."""
    study = store_study(client)
    rows = {"columns": ["trial_id", "fold", "val_rmse"], "data": [["t", 0, 0.5], ["t", 1, None], ["gone", 0, 0.1]]}
    client.log_text(study, json.dumps(rows), "folds.json")
    folds = _read(client, study).folds
    assert folds[["study", "trial_id", "fold"]].to_numpy().tolist() == [[study, "t", 0], [study, "t", 1]]
    assert str(folds["val_rmse"].tolist()) == "[0.5, nan]"
    folds = _read(client, store_study(client)).folds
    assert (len(folds), list(folds.columns)) == (0, ["study", "trial_id", "fold"])


def test_study_says_what_it_is(client: MlflowClient) -> None:
    """From its tags, its params, its figures, its inputs and outputs."""
    tags = LIMITED | {"sysmetrics.best_trial_run_id": "r"}
    tags["sysmetrics.score"] = '{"score": "val_r2", "higher_is_better": true, "baseline": [0.0, -0.1, 0.0]}'
    tags["sysmetrics.leak"] = "late predicts paid alone"
    tags["sysmetrics.no_interval"] = "it takes 3 folds"
    params = {"folds": 3, "seed": 7, "choose": "cheapest", "scheduler": "asha"}
    study = store_study(client, "early_stop red_wine", 0, tags=tags, **params)
    store_trial(client, study, points={"val_rmse": {100: 0.7}, "val_r2": {100: 0.3}})
    client.log_metric(study, "command_cpu_seconds", 84.0)
    client.log_metric(study, "duplicate_rows_percent", 18.5)
    expected = {
        "expected_r2": 0.3,
        "expected_r2_low": 0.2,
        "expected_r2_high": 0.4,
        "left_out_r2": 0.31,
        "test_r2": 0.29,
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
        "seed": 7,
        "model": f"models:/{model.model_id}",
        "model_run_id": "r",
        "own": True,
        "command_cpu_seconds": 84.0,
        "command_elapsed_s": None,
        "duplicate_rows_percent": 18.5,
        "leak": "late predicts paid alone",
        "expected": 0.3,
        "expected_low": 0.2,
        "expected_high": 0.4,
        "left_out": 0.31,
        "test": 0.29,
        "no_interval": "it takes 3 folds",
        "adaptive": True,
    }
    client.log_param(study, "duplicates", "together")
    assert _read(client, study).studies.loc[study, "duplicate_rows_percent"] is None
    assert (frame.first, frame.score) == (study, "val_r2")


@pytest.mark.parametrize(
    ("params", "dataset"),
    [
        pytest.param([{"dataset": "diabetes"}], "diabetes", id="of the trials"),
        pytest.param([{"dataset": "a"}, {"dataset": "b"}], None, id="searched"),
    ],
)
def test_what_another_script_s_study_does_not_say_is_none(
    client: MlflowClient, params: list[dict[str, object]], dataset: str | None
) -> None:
    """Its dataset is that of its trials where they have one."""
    study = store_study(client, kind=None, trials=0, tags={})
    for chosen in params:
        store_trial(client, study, chosen, {"loss": {1: 0.5}})
    about = _read(client, study).studies.loc[study]
    assert about["dataset"] == dataset
    assert not about["own"]
    unknown = set(OF_STUDY) - {"name", "experiment_id", "dataset", "higher_is_better", "own"}
    assert {name for name in OF_STUDY if about[name] is None} - {"dataset"} == unknown


@pytest.mark.parametrize(
    ("metric", "ranked_by", "expected"),
    [
        pytest.param("val_rmse", (), ("val_rmse", False), id="regression"),
        pytest.param("val_accuracy", (), ("val_accuracy", True), id="classification"),
        pytest.param("loss", (), (None, False), id="unknown"),
        pytest.param("reward", ("reward", "max"), ("reward", True), id="given, higher"),
    ],
)
def test_score_is_the_bundle_s_or_the_one_that_is_given(
    client: MlflowClient, metric: str, ranked_by: tuple[str | None, ...], expected: tuple[str | None, bool]
) -> None:
    """In a study that is not the bundle's own: around it is the user's run, or the callback's.

    Without one the trials keep their order.
    """
    for around in ({}, OTHER):
        study = store_study(client, kind=None, tags=around, trials=0)
        store_scores(client, study, 0.5, 0.7, 0.6, metric=metric)
        frame = _read(client, study, **dict(zip(("metric", "mode"), ranked_by, strict=False)))
        assert (frame.score, frame.higher_is_better) == expected
        best_first = {False: [0.5, 0.6, 0.7], True: [0.7, 0.6, 0.5]}[frame.higher_is_better]
        assert frame.complete[metric].tolist() == (best_first if frame.score else [0.5, 0.7, 0.6])


@pytest.mark.parametrize(
    ("kind", "ranked_by", "says"),
    [
        pytest.param(None, (None, "max"), "mode=max: it says which values of a metric are better; add", id="no metric"),
        pytest.param(None, ("f1", "max"), "metric=f1: the trials of tune red_wine have no such metric; use", id="none"),
        pytest.param(None, ("loss", None), "metric=loss: tell the report which values are better; add", id="mode"),
        pytest.param(
            "study", ("loss", "min"), "metric=loss: the trials of tune red_wine are ranked by val_rmse", id="own"
        ),
    ],
)
def test_metric_that_cannot_rank_is_a_mistake(
    client: MlflowClient, kind: str | None, ranked_by: tuple[str | None, str | None], says: str
) -> None:
    """What is given, and what would do."""
    study = store_study(client, kind=kind, trials=0)
    store_trial(client, study, points={"loss": {1: 1.0}, "val_rmse": {1: 1.0}})
    with pytest.raises(UserError) as error:
        _read(client, study, metric=ranked_by[0], mode=ranked_by[1])
    assert error.value.message.startswith(says)


def _curve(frame: Frame, metric: str) -> dict[float, float]:
    part = frame.curves[frame.curves["metric"] == metric]
    return dict(zip(part["at"], part["value"], strict=True))


def test_curves_are_those_that_are_asked_for(client: MlflowClient) -> None:
    """By step, step 0 included, or by seconds; without a question there is none."""
    study = store_study(client, trials=0)
    loss = {0: 1.0, 100: 0.5, 200: 0.25}
    trial = store_trial(
        client, study, points={"val_loss": loss, "train_loss": loss, "system/a": {1: 9.0}}, trial_id="t"
    )
    series = [Metric("system/process_memory_mb", 90.0 + at, 1000 + 500 * at, at) for at in (2, 0, 1)]
    client.log_batch(trial, series)
    frame = _read(client, study, curves=("val_loss", "system/process_memory_mb", "not there"))
    assert _curve(frame, "val_loss") == loss
    assert _curve(frame, "system/process_memory_mb") == {0: 90, 0.5: 91, 1: 92}
    assert set(frame.curves["axis"]) == {"step", "seconds"}
    assert set(frame.curves["trial_id"]) == {"t"}
    assert set(frame.curves["metric"]) == {"val_loss", "system/process_memory_mb"}
    assert _read(client, study).curves.empty


def test_other_scripts_have_all_the_curves_that_they_log(client: MlflowClient) -> None:
    """Every metric with more than one step, except for what a process has used so far."""
    points = {"loss": {1: 3.0, 2: 2.0}, "accuracy": {5: 0.9}, "system/process_memory_mb": {1: 90.0, 2: 91.0}}
    points |= {"elapsed_s": {1: 1.0, 2: 2.0}, "mean_cpu_percent": {1: 50.0, 2: 60.0}}
    study = store_study(client, kind=None, trials=0)
    store_trial(client, study, points=points)
    frame = _read(client, study, curves=("val_loss",))
    assert frame.curves["metric"].unique().tolist() == ["loss"]


def test_curves_are_of_trials_that_ran_to_their_end(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many some, evenly spread over their starts; neither of the stopped ones nor of those that diverged."""
    assert MAX_TRIALS == 200
    monkeypatch.setattr("entrypoints.reading.MAX_TRIALS", 3)
    study = store_study(client, trials=0)
    for number in range(9):
        store_trial(client, study, trial_id=str(number))
    store_trial(client, study, trial_id="stopped", status="KILLED")
    store_trial(client, study, trial_id="diverged", diverged="true")
    assert _read(client, study, curves=["val_rmse"]).curves["trial_id"].tolist() == ["0", "4", "8"]


def test_long_curves_are_thinned(client: MlflowClient) -> None:
    """The first and the last point stay; what is not finite goes; the newest value of a step counts."""
    study = store_study(client, kind=None, trials=0)
    run_id = store_trial(
        client, study, points={"loss": {step: float(step) for step in range(1, 1001)} | {1000: math.nan}}
    )
    for later_ms, value in ((10_000, 7.0), (20_000, 8.0), (15_000, 9.0)):
        client.log_metric(run_id, "loss", value, timestamp=later_ms, step=1)
    curve = _curve(_read(client, study, curves=["loss"]), "loss")
    assert len(curve) == 200
    assert (min(curve), max(curve), curve[1]) == (1, 999, 8)
