"""What the user is told about a study: tables, sentences, and links that open the right page of the MLflow UI."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import load_dict

from entrypoints import datasets, summary
from entrypoints.options import StudySettings
from entrypoints.prepared import Prepared, prepared
from entrypoints.progress import Progress
from entrypoints.record import Record, TrialRecord
from entrypoints.runs import RecordedRun
from entrypoints.splits import make_split

RUN = RecordedRun(MlflowClient("sqlite://"), "abc123", "7", {}, 0.0)
CONFIG = {"algorithm": "linear", "batch_size": 8, "learning_rate": 0.01, "alpha": 0.1, "dataset": "red_wine"}
SETTINGS = StudySettings("red_wine", "auto", "auto", None, (0.1,), (0.1,), 3, 0, 500, 0, 100, 0)


@cache
def _data(name: str) -> Prepared:
    table = datasets.load(name)
    return prepared(table, make_split(table.y, stratify=table.task == "classification", folds=3, seed=0))


def _trial(name: str, **values: Any) -> TrialRecord:
    figures = values.pop("figures", {"val_rmse": 0.7, "val_accuracy": 0.7, "peak_memory_mb": 100.0})
    status = values.pop("status", "FINISHED")
    return TrialRecord(name, {**CONFIG}, status, figures, run_id=f"run-{name}", **values)


def _record(*trials: TrialRecord, task: Any = "regression") -> Record:
    record = Record(task, Progress(len(trials), "val_rmse"))
    record.trials = {trial.trial_id: trial for trial in trials}
    record.first_start, record.last_end = 1000.0, 1042.5
    return record


def _mixed() -> Record:
    """Two trials that count, and one of every kind that does not."""
    return _record(
        _trial("good", figures={"val_rmse": 0.6, "peak_memory_mb": 120.0}, folds=[{"fold": 0}, {"fold": 1}]),
        _trial("fair", figures={"val_rmse": 0.8, "peak_memory_mb": 140.0}, folds=[{"fold": 0}, {"fold": 1}]),
        _trial("wild", figures={"val_rmse": 0.1, "elapsed_s": 3.0}, diverged=True),
        _trial("broken", status="FAILED", figures={}),
        _trial("stopped", status="KILLED", figures={}),
    )


def _fragment(link: str) -> tuple[str, dict[str, list[str]]]:
    """The path and the query of the UI's address after the # sign."""
    assert link.startswith("#/")
    parts = urlsplit(link[1:])
    return parts.path, parse_qs(parts.query, strict_parsing=True)


@pytest.mark.parametrize(
    ("name", "score", "ascending"),
    [
        pytest.param("red_wine", "val_rmse", "true", id="regression-ascending"),
        pytest.param("diabetes", "val_accuracy", "false", id="classification-descending"),
    ],
)
def test_trials_view_opens_exactly_the_trials_of_the_study_best_first(name: str, score: str, ascending: str) -> None:
    """The decoded query is what the UI's search box and sort order will hold."""
    path, query = _fragment(summary.trials_view(RUN, _data(name)))
    assert path == "/experiments/7/runs"
    assert query == {
        "workflowType": ["machine_learning"],
        "searchFilter": ["tags.mlflow.parentRunId = 'abc123' and tags.`sysmetrics.kind` = 'trial'"],
        "orderByKey": [f"metrics.`{score}`"],
        "orderByAsc": [ascending],
        "compareRunsMode": ["CHART"],
    }


def test_links_survive_markdown() -> None:
    """A bracket, a space or a quote in an address would end the link in the description."""
    record = _mixed()
    links = [summary.trials_view(RUN, _data("red_wine")), summary.compare_view(RUN, record)]
    for link in [*links, summary.run_view(RUN, "run-good", "system-metrics")]:
        assert not set(link) & set(" ()<>[]'\"`"), link


def test_compare_view_opens_the_best_trials() -> None:
    """At most five runs, best first, and the experiment that they are in."""
    trials = [_trial(str(place), figures={"val_rmse": 1.0 - place / 10}) for place in range(8)]
    path, query = _fragment(summary.compare_view(RUN, _record(*trials, _trial("wild", diverged=True))))
    assert path == "/compare-runs"
    assert json.loads(query["runs"][0]) == ["run-7", "run-6", "run-5", "run-4", "run-3"]
    assert json.loads(query["experiments"][0]) == ["7"]


def test_run_view_opens_one_tab_of_one_run() -> None:
    """In the mode that shows training runs."""
    assert _fragment(summary.run_view(RUN, "r1", "system-metrics")) == (
        "/experiments/7/runs/r1/system-metrics",
        {"workflowType": ["machine_learning"]},
    )


def test_no_usable_trial_says_in_one_sentence_why_and_what_to_do() -> None:
    """How many diverged and failed of how many; where some failed, the first error is what to look at."""
    diverged = [_trial("a", diverged=True), _trial("b", diverged=True), _trial("c", status="KILLED")]
    message = summary.no_usable_trial(diverged)
    assert "of 3 trials 2 diverged and 0 failed" in message
    assert "lower the learning_rates" in message
    failed = [_trial("d", status="FAILED", error="ValueError: odd"), _trial("e", status="FAILED", error="OSError: no")]
    with_errors = summary.no_usable_trial([*diverged, *failed])
    assert "of 5 trials 2 diverged and 2 failed" in with_errors
    assert with_errors.endswith("the first error was ValueError: odd")
    assert "\n" not in message + with_errors


def test_data_line_says_what_the_study_trains_on() -> None:
    """Name, target, rows, features, and the run that holds them."""
    line = summary.data_line(_data("red_wine"), "run1", reused=False)
    assert line == (
        "red_wine, quality (regression), 1119 training and 480 test rows, 11 features, prepared in run run1"
    )
    assert summary.data_line(_data("red_wine"), "run1", reused=True).endswith("prepared before in run run1")


def test_trials_table_has_one_row_per_trial_whatever_became_of_it() -> None:
    """Ids, status, configuration and figures; a figure that a trial does not have is absent."""
    rows = summary.trials_table(_mixed())
    assert [(row["trial_id"], row["run_id"], row["status"], row["diverged"]) for row in rows] == [
        ("good", "run-good", "FINISHED", False),
        ("fair", "run-fair", "FINISHED", False),
        ("wild", "run-wild", "FINISHED", True),
        ("broken", "run-broken", "FAILED", False),
        ("stopped", "run-stopped", "KILLED", False),
    ]
    assert rows[0] == {
        "trial_id": "good",
        "run_id": "run-good",
        "status": "FINISHED",
        "diverged": False,
        **CONFIG,
        "val_rmse": 0.6,
        "peak_memory_mb": 120.0,
    }
    assert "val_rmse" not in rows[3]


def test_folds_table_has_one_row_per_trial_and_fold() -> None:
    """Trials without a usable end have none."""
    assert summary.folds_table(_mixed()) == [
        {"trial_id": trial, "fold": fold} for trial in ("good", "fair") for fold in (0, 1)
    ]


@pytest.fixture(scope="module")
def summarised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedRun]:
    """A study's run that was summarised, in a store of this module's own."""
    folder = tmp_path_factory.mktemp("store")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        try:
            experiment_id = mlflow.create_experiment("summary", artifact_location=Path(folder, "artifacts").as_uri())
            with mlflow.start_run(experiment_id=experiment_id) as active:
                run = RecordedRun.of(MlflowClient(), active)
                summary.log_dataset(run, datasets.load("red_wine"))
                figures = {"test_rmse": 0.64, "test_loss": 0.5}
                summary.log_study(run, SETTINGS, _data("red_wine"), _mixed(), figures, expected_seconds=40.0)
            yield run
        finally:
            mlflow.set_tracking_uri(before)


def test_study_run_holds_its_own_summary(summarised: RecordedRun) -> None:
    """So that the list of runs tells studies apart, and the best trial can be found from it."""
    data = summarised.client.get_run(summarised.run_id).data
    elapsed = data.metrics.pop("elapsed_s")
    assert elapsed > 0
    assert data.metrics == {
        "best_val_rmse": 0.6,
        "test_rmse": 0.64,
        "test_loss": 0.5,
        "trials": 5,
        "stopped": 1,
        "failed": 1,
        "diverged": 1,
        "search_time_s": 42.5,
        "forecast_time_s": 40.0,
    }
    assert {name: data.tags[f"sysmetrics.best_{name}"] for name in ("trial_id", "trial_run_id", "learning_rate")} == {
        "trial_id": "good",
        "trial_run_id": "run-good",
        "learning_rate": "0.01",
    }


def test_study_run_has_the_dataset_as_an_input(summarised: RecordedRun) -> None:
    """By name, with its place at OpenML."""
    (given,) = summarised.client.get_run(summarised.run_id).inputs.dataset_inputs
    assert given.dataset.name == "red_wine"
    assert "openml.org/d/44972" in given.dataset.source


def test_study_tables_are_json_without_nan(summarised: RecordedRun) -> None:
    """What a trial does not have is null, which every reader of JSON understands."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in the table")

    for name, rows in (("trials.json", 5), ("folds.json", 4)):
        uri = summarised.client.get_run(summarised.run_id).info.artifact_uri
        table = load_dict(f"{uri}/{name}")
        assert len(table["data"]) == rows
        json.loads(json.dumps(table), parse_constant=refuse)
        assert not [cell for row in table["data"] for cell in row if isinstance(cell, float) and math.isnan(cell)]
    table = load_dict(f"{uri}/trials.json")
    assert table["data"][3][table["columns"].index("val_rmse")] is None


def test_description_says_the_result_and_what_to_open_next(summarised: RecordedRun) -> None:
    """The scores, a table of the best trials, and links that lead to this study's own pages."""
    text = summarised.client.get_run(summarised.run_id).data.tags["mlflow.note.content"]
    assert "val_rmse **0.6000**" in text
    assert "test_rmse **0.6400**" in text
    assert "1 trials diverged" in text
    links = re.findall(r"\]\((\S+)\)", text)
    filters = [_fragment(link)[1].get("searchFilter", [""])[0] for link in links[:2]]
    assert [f"'{summarised.run_id}'" in each for each in filters] == [True, True]
    assert [_fragment(link)[1].get("compareRunsMode") for link in links[:2]] == [["CHART"], ["TABLE"]]
    assert _fragment(links[3])[0].endswith("/runs/run-good/overview")
    assert _fragment(links[4])[0].endswith("/runs/run-good/system-metrics")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert rows[2].startswith("| 1 | linear | 8 | 0.01 | 0.1 | 0.6 | - | - | 120 | - | - |")
    assert rows[3].startswith("| 2 |")
    assert rows[4].startswith("| median |  |  |  |  | 0.7 | - | - | 130 | - | - |")
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        pytest.param(
            "sqlite:////home/my runs/mlflow.db",
            ["mlflow server --port 5000 --backend-store-uri 'sqlite:////home/my runs/mlflow.db'", "http://127.0.0.1:5000/#"],
            id="database-needs-a-server",
        ),
        pytest.param("http://tracking:8080", ["http://tracking:8080/#"], id="server-is-there"),
    ],
)  # fmt: skip
def test_closing_says_how_to_look_at_all_trials(uri: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The best trials in aligned columns, the refitted model, and the address, with the command where one is needed."""
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    text = summary.closing(RUN, _data("red_wine"), _mixed(), {"test_rmse": 0.64})
    assert [word for word in words if word not in text] == []
    assert ("mlflow server" in text) == uri.startswith("sqlite")
    assert "test_rmse 0.6400" in text
    assert "abc123" in text
    header, first, *_ = text.strip("\n").splitlines()
    assert first[header.index("val_rmse") :].startswith("0.6 ")
    assert first[header.index("peak_memory_mb") :].startswith("120 ")


def test_table_shows_at_most_five_trials_and_the_median_of_all() -> None:
    """Best first; a figure that no trial has is a dash."""
    trials = [_trial(str(place), figures={"val_rmse": float(place)}) for place in range(9, 0, -1)]
    text = summary.closing(RUN, _data("red_wine"), _record(*trials), {"test_rmse": 0.64})
    rows = [line.split() for line in text.strip("\n").splitlines()[1:7]]
    assert [(row[0], row[-6]) for row in rows] == [
        ("1", "1"), ("2", "2"), ("3", "3"), ("4", "4"), ("5", "5"), ("median", "5"),
    ]  # fmt: skip
    assert {tuple(row[-5:]) for row in rows} == {("-",) * 5}
