"""Studies in a real store, written directly, read back as tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput
from stored_studies import FULL, LIMITED, store_scores, store_study, store_trial

from entrypoints.errors import UserError
from entrypoints.reporting.studies import ABOUT, Study, study_of


@pytest.fixture(scope="module")
def client(module_store: Path) -> MlflowClient:
    """Of a store of this module's own, where each test reads the studies that it has written."""
    client = MlflowClient(store_uri(module_store))
    client.create_experiment("studies", (module_store / "artifacts").as_uri())
    return client


def _read(client: MlflowClient, run_id: str, *ranked_by: str | None) -> Study:
    return study_of(client, client.get_run(run_id), *ranked_by)


def test_trials_are_rows_in_the_order_in_which_they_began(client: MlflowClient) -> None:
    """What each is, what it chose, and the last value of each of its metrics but the thread's series."""
    study = store_study(client, trials=0)
    curves = {"val_rmse": {100: 0.9, 200: 0.8}, "elapsed_s": {0: 2.5}, "system/process_cpu_percent": {1: 99.0}}
    first = store_trial(client, study, {"alpha": 0.1}, curves, name="alpha=0.1", trial_id="b")
    second = store_trial(client, study, {"alpha": 0.2}, {"val_rmse": {100: 0.5}}, name="alpha=0.2", trial_id="a")
    trials = _read(client, study).trials
    assert list(trials.columns[:-2]) == [*ABOUT, "alpha"]
    assert set(trials.columns[-2:]) == {"elapsed_s", "val_rmse"}
    assert trials[["trial_id", "run_id", "name", "alpha", "val_rmse"]].to_numpy().tolist() == [
        ["b", first, "alpha=0.1", 0.1, 0.8],
        ["a", second, "alpha=0.2", 0.2, 0.5],
    ]
    assert trials["elapsed_s"].iloc[0] == 2.5
    assert math.isnan(trials["elapsed_s"].iloc[1])


@pytest.mark.parametrize(
    ("status", "tags", "expected"),
    [
        pytest.param("FINISHED", {"diverged": "false"}, {"diverged": False, "feasible": None}, id="finished"),
        pytest.param("FINISHED", {"place": "7"}, {"place": 7}, id="place in the order"),
        pytest.param("FINISHED", {"node": "n"}, {"place": None}, id="place unknown"),
        pytest.param("FINISHED", {"diverged": "true"}, {"diverged": True}, id="diverged"),
        pytest.param("FINISHED", {"feasible": "true"}, {"feasible": True, "stop_step": None}, id="feasible"),
        pytest.param("FINISHED", {"feasible": "false"}, {"feasible": False, "stop_how": None}, id="infeasible"),
        pytest.param(
            "KILLED",
            {"stop_how": "predicted", "stop_reason": "r", "stop_metric": "elapsed_s", "stop_step": "120"},
            {"stop_how": "predicted", "stop_reason": "r", "stop_metric": "elapsed_s", "stop_step": 120},
            id="stopped",
        ),
        pytest.param(
            "KILLED", {"stop_reason": "the time"}, {"stop_reason": "the time", "stop_step": None}, id="cut off"
        ),
        pytest.param("FAILED", {"error": "e"}, {"stop_reason": None}, id="failed"),
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


def test_complete_trials_come_best_first(client: MlflowClient) -> None:
    """Those that were stopped, failed or diverged are left out, however good their score; one without is the last."""
    study = store_study(client, trials=0)
    store_trial(client, study, points={"elapsed_s": {0: 1.0}})
    store_scores(client, study, 0.9, 0.7, 0.8)
    store_scores(client, study, 0.1, diverged="true")
    store_scores(client, study, 0.1, status="KILLED")
    store_scores(client, study, 0.1, status="FAILED")
    scores = _read(client, study).complete["val_rmse"].tolist()
    assert scores[:3] == [0.7, 0.8, 0.9]
    assert np.isnan(scores[3:]).tolist() == [True]


def test_complete_trials_without_a_score_keep_their_order(client: MlflowClient) -> None:
    """Nothing ranks them."""
    study = store_study(client, kind=None, trials=0)
    store_scores(client, study, 0.9, 0.7, metric="loss")
    assert _read(client, study).complete["loss"].tolist() == [0.9, 0.7]


@pytest.mark.parametrize(
    ("searched", "names"),
    [
        pytest.param('["width", "depth", "seed"]', ["width", "depth"], id="as the study says"),
        pytest.param(None, ["depth", "width"], id="by the alphabet"),
    ],
)
def test_hyperparameters_are_the_parameters_that_vary(
    client: MlflowClient, searched: str | None, names: list[str]
) -> None:
    """The seed was the same for all of them."""
    study = store_study(client, trials=0, tags=FULL | ({"sysmetrics.searched": searched} if searched else {}))
    store_trial(client, study, {"depth": 1, "width": 8, "seed": 0})
    store_trial(client, study, {"depth": 2, "width": 9, "seed": 0})
    assert _read(client, study).hyperparameters == names


@pytest.mark.parametrize(
    ("given", "values"),
    [
        pytest.param((8, 64), [8, 64], id="whole"),
        pytest.param((1e-12, 0.5), [1e-12, 0.5], id="fractions"),
        pytest.param((8, None), [8.0, math.nan], id="absent in one"),
        pytest.param(("0.1", "auto"), ["0.1", "auto"], id="a word among numbers"),
        pytest.param((True, False), ["True", "False"], id="switches"),
        pytest.param(([8, 4], [16]), ["[8, 4]", "[16]"], id="lists"),
        pytest.param((1.0, math.inf), ["1.0", "inf"], id="infinity"),
    ],
)
def test_hyperparameter_is_a_number_where_all_its_texts_are(
    client: MlflowClient, given: tuple[object, object], values: list[object]
) -> None:
    """Else it stays as MLflow shows it; whole numbers stay whole."""
    study = store_study(client, trials=0)
    for value in given:
        store_trial(client, study, {} if value is None else {"x": value})
    read = _read(client, study).trials["x"].tolist()
    assert [type(value) for value in read] == [type(value) for value in values]
    assert str(read) == str(values)


def test_hyperparameter_absent_in_one_trial_varies(client: MlflowClient) -> None:
    """Another algorithm has none of that name."""
    study = store_study(client, trials=0)
    store_trial(client, study, {"algorithm": "linear"})
    store_trial(client, study, {"algorithm": "other", "tol": "0.1"})
    assert _read(client, study).hyperparameters == ["algorithm", "tol"]


def test_name_with_two_meanings_keeps_one(client: MlflowClient) -> None:
    """A metric named like a hyperparameter or a column is not a figure; a parameter named like a column is left out."""
    study = store_study(client, kind=None, trials=0)
    for rate in (0.1, 0.2):
        store_trial(
            client, study, {"rate": rate, "status": rate}, {"rate": {1: 9.0}, "diverged": {1: 1.0}, "loss": {1: rate}}
        )
    read = _read(client, study)
    assert (read.hyperparameters, read.figures) == (["rate"], ["loss"])
    assert list(read.trials.columns) == [*ABOUT, "rate", "loss"]
    assert read.trials["rate"].tolist() == [0.1, 0.2]
    assert read.trials["status"].tolist() == ["FINISHED", "FINISHED"]


def test_folds_come_from_the_study_s_table(client: MlflowClient) -> None:
    """One row per trial and fold; what is missing is NaN."""
    study = store_study(client)
    table = pd.DataFrame([{"trial_id": "t", "fold": 0, "val_rmse": 0.5}, {"trial_id": "t", "fold": 1}])
    client.log_table(study, table, "folds.json")
    folds = _read(client, study).folds
    assert folds[["trial_id", "fold"]].to_numpy().tolist() == [["t", 0], ["t", 1]]
    assert str(folds["val_rmse"].tolist()) == "[0.5, nan]"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        pytest.param("study", None, id="none"),
        pytest.param("study", '{"columns": [], "data": []}', id="no rows"),
        pytest.param(None, "[1, 2]", id="another script's file"),
    ],
)
def test_folds_are_empty_where_there_are_none(client: MlflowClient, kind: str | None, content: str | None) -> None:
    """With the columns that every table of folds has."""
    study = store_study(client, kind=kind)
    if content is not None:
        client.log_text(study, content, "folds.json")
    folds = _read(client, study).folds
    assert (len(folds), list(folds.columns)) == (0, ["trial_id", "fold"])


BY_THE_CALLBACK = {"sysmetrics.kind": "study", "sysmetrics.study_id": "0a1b"}


@pytest.mark.parametrize("around", [{}, BY_THE_CALLBACK], ids=["the user's run", "the callback's run"])
@pytest.mark.parametrize(
    ("metric", "ranked_by", "expected"),
    [
        pytest.param("val_rmse", (), ("val_rmse", False), id="regression"),
        pytest.param("val_accuracy", (), ("val_accuracy", True), id="classification"),
        pytest.param("loss", (), (None, False), id="unknown"),
        pytest.param("loss", ("loss", "min"), ("loss", False), id="given, lower"),
        pytest.param("reward", ("reward", "max"), ("reward", True), id="given, higher"),
        pytest.param("val_accuracy", ("val_accuracy", None), ("val_accuracy", True), id="given, known"),
    ],
)
def test_score_is_the_bundle_s_or_the_one_that_is_given(
    client: MlflowClient,
    metric: str,
    ranked_by: tuple[str | None, ...],
    expected: tuple[str | None, bool],
    around: dict[str, str],
) -> None:
    """In a study that is not the bundle's own."""
    study = store_study(client, kind=None, tags=around, trials=0)
    store_scores(client, study, 0.5, metric=metric)
    read = _read(client, study, *ranked_by)
    assert (read.score, read.higher_is_better) == expected


def test_study_says_what_it_is(client: MlflowClient) -> None:
    """Its name, limits, dataset, key and task, from its run."""
    study = _read(client, store_study(client, "early_stop red_wine", tags=LIMITED))
    assert (study.name, study.criteria, study.key) == ("early_stop red_wine", "elapsed_s<=9", "k")
    assert (study.dataset, study.task) == ("red_wine", "regression")


@pytest.mark.parametrize(
    ("params", "dataset"),
    [
        pytest.param([{"dataset": "diabetes"}], "diabetes", id="of the trials"),
        pytest.param([{}], None, id="unknown"),
        pytest.param([{"dataset": "a"}, {"dataset": "b"}], None, id="searched"),
    ],
)
def test_dataset_is_that_of_the_trials_where_the_study_does_not_say(
    client: MlflowClient, params: list[dict[str, object]], dataset: str | None
) -> None:
    """Studies of earlier versions and of other scripts have no tag."""
    study = store_study(client, kind=None, trials=0, tags={})
    for chosen in params:
        store_trial(client, study, chosen)
    assert _read(client, study).dataset == dataset


def test_all_pages_of_trials_are_read(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests it takes."""
    monkeypatch.setattr("entrypoints.mlflow_io.PAGE", 2)
    study = store_study(client, trials=0)
    store_scores(client, study, *range(5))
    assert _read(client, study).trials["val_rmse"].tolist() == [0, 1, 2, 3, 4]


def test_hosts_of_a_study_are_those_of_its_trials(client: MlflowClient) -> None:
    """One value of each fact where they are alike."""
    study = store_study(client, trials=0, tags={**FULL, "sysmetrics.host_cpu_model": "of the driver"})
    for cpu_model in ("b", "a"):
        store_trial(client, study, host_cpu_model=cpu_model, host_os="Linux")
    assert _read(client, study).hosts == {"cpu_model": ("a", "b"), "os": ("Linux",)}


def test_study_says_what_all_its_trials_share(client: MlflowClient) -> None:
    """The parameters that do not vary, as texts, and the digest of the table that it was trained on."""
    study = store_study(client, trials=0)
    for alpha in (1, 2):
        store_trial(client, study, {"alpha": alpha, "seed": 3, "folds": 10})
    assert _read(client, study).fixed == {"seed": "3", "folds": "10"}
    assert _read(client, study).data_digest is None
    client.log_inputs(study, [DatasetInput(Dataset("wine", "0a1b", "local", "/"), [])])
    assert _read(client, study).data_digest == "0a1b"


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
    client: MlflowClient, kind: str | None, ranked_by: tuple[str | None, ...], says: str
) -> None:
    """What is given, and what would do."""
    study = store_study(client, kind=kind, trials=0)
    store_trial(client, study, points={"loss": {1: 1.0}, "val_rmse": {1: 1.0}})
    with pytest.raises(UserError) as error:
        _read(client, study, *ranked_by)
    assert error.value.message.startswith(says)


def test_study_of_one_configuration_has_no_hyperparameters(client: MlflowClient) -> None:
    """Nothing varies, whatever it says that it has searched."""
    study = store_study(client, tags=FULL | {"sysmetrics.searched": json.dumps(["alpha"])}, trials=0)
    store_trial(client, study, {"alpha": 0.1})
    assert _read(client, study).hyperparameters == []
