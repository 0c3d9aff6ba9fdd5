"""What the user is told about a study: tables, sentences, and links that open the right page of the MLflow UI."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from commands import ROOT, store_uri
from mlflow import MlflowClient
from mlflow.artifacts import load_dict
from mlflow.exceptions import MlflowException
from reference import MLP_REGRESSOR, bundled, configured, fragment
from study_settings import study_settings

from entrypoints.datasets import known
from entrypoints.datasets.tables import Table
from entrypoints.limits.costs import metrics
from entrypoints.limits.duration_forecast import Forecast
from entrypoints.limits.stop_or_skip import EarlyEnd
from entrypoints.models.best_model import LoggedModel
from entrypoints.progress import Progress
from entrypoints.runs import RecordedRun
from entrypoints.search import summary
from entrypoints.search.ended_search import EndedSearch
from entrypoints.search.measured import measured
from entrypoints.search.record import Record, TrialRecord
from mlflow_sysmetrics.limits import Criteria, Stop

RUN = RecordedRun(MlflowClient("sqlite://"), "abc123", "7", {}, 0.0)
SETTINGS = study_settings(folds=3, time_limit_s=90.0)
LINEAR = configured("linear", batch_size=8, learning_rate=0.01, alpha=0.1)
NETWORK = configured(MLP_REGRESSOR, batch_size=16, hidden_layer_sizes=[8, 4], alpha=0.2)

LINKS = {"score": "#/experiments/7/runs?score", "table": "#/experiments/7/runs?table"}
REFITTED = {"test_rmse": 0.64, "refit_training_time_s": 0.0984, "refit_memory_growth_mb": 1.52}

MODEL = LoggedModel("m-0123", REFITTED)

ENDING = EarlyEnd(Stop("val_loss patience 1", "val_loss", 0.6, 0.5, 200), "crossed")


def _trial(name: str, **values: Any) -> TrialRecord:
    figures = values.pop("figures", {"val_rmse": 0.7, "val_accuracy": 0.7, "peak_memory_mb": 100.0})
    status = values.pop("status", "FINISHED")
    configuration = values.pop("configuration", LINEAR)
    return TrialRecord(name, configuration, status, figures, run_id=f"run-{name}", **values)


def _record(*trials: TrialRecord, not_started: int = 0, criteria: Criteria | None = None) -> Record:
    record = Record("regression", Progress(len(trials) + not_started, "val_rmse"), criteria)
    record.trials = {trial.trial_id: trial for trial in trials}
    record.first_start, record.last_end = 1000.0, 1042.5
    return record


def _study(record: Record, run: RecordedRun = RUN, expected_s: float = 34.0) -> EndedSearch:
    return EndedSearch(run, SETTINGS, bundled("red_wine"), record, Forecast([], expected_s))


def _mixed() -> Record:
    """Two trials that count, and one of every kind that does not."""
    return _record(
        _trial("good", figures={"val_rmse": 0.6, "peak_memory_mb": 120.0}, folds=[{"fold": 0}, {"fold": 1}]),
        _trial("fair", figures={"val_rmse": 0.8, "peak_memory_mb": 140.0}, folds=[{"fold": 0}, {"fold": 1}]),
        _trial("wild", figures={"val_rmse": 0.1, "elapsed_s": 3.0}, diverged=True),
        _trial("broken", status="FAILED", figures={}),
        _trial("stopped", status="KILLED", figures={}),
    )


def _cut_short() -> Record:
    """What a time limit left of five trials."""
    return _record(_trial("good"), _trial("broken", status="FAILED"), _cut_off("late"), not_started=2)


def _cut_off(name: str) -> TrialRecord:
    return _trial(name, status="KILLED", figures={}, cut_off=True)


@pytest.mark.parametrize(
    ("trials", "not_started", "says"),
    [
        pytest.param(
            [_trial("a", diverged=True), _trial("b", diverged=True), _trial("c", status="KILLED")],
            0,
            "of 3 trials 2 diverged and 0 failed; lower the learning rates or max_steps",
            id="diverged",
        ),
        pytest.param(
            [
                _trial("a", diverged=True),
                _trial("b", status="FAILED", error="ValueError: odd"),
                _trial("c", status="FAILED", error="OSError: no"),
            ],
            0,
            "of 3 trials 1 diverged and 2 failed; the first error was ValueError: odd",
            id="failed",
        ),
        pytest.param(
            [_trial("a", diverged=True), _trial("b", status="KILLED", ending=ENDING)],
            0,
            "of 2 trials 1 diverged and 0 failed, and 1 were stopped by their limits; loosen the criteria",
            id="stopped",
        ),
        pytest.param(
            [_cut_off("a"), _cut_off("b")],
            22,
            "time_limit_s=90 ended the search: 0 of 24 trials were run to their end, 2 were cut off, 22 not started, "
            "0 diverged and 0 failed; raise time_limit_s, or shorten the trials with max_steps, max_epochs, max_rows "
            "or folds",
            id="time limit",
        ),
        pytest.param(
            [],
            24,
            "time_limit_s=90 ended the search: 0 of 24 trials were run to their end, 0 were cut off, 24 not started, "
            "0 diverged and 0 failed; raise time_limit_s, or shorten the trials with max_steps, max_epochs, max_rows "
            "or folds",
            id="time limit before the first trial",
        ),
    ],
)
def test_no_usable_trial_says_in_one_sentence_why_and_what_to_do(
    trials: list[TrialRecord], not_started: int, says: str
) -> None:
    """How many diverged and failed of how many; the first error, or the time limit, is what to look at."""
    record = _record(*trials, not_started=not_started)
    assert summary.no_usable_trial(record, SETTINGS) == f"no model to choose: {says}"


@pytest.mark.parametrize(
    ("record", "says"),
    [
        pytest.param(_mixed(), "", id="whole"),
        pytest.param(
            _cut_short(),
            "; time_limit_s=90 ended the search: 1 of 5 trials were run to their end, 1 failed or were stopped, 1 were "
            "cut off, 2 not started; raise time_limit_s, or shorten the trials with max_steps, max_epochs, max_rows or "
            "folds",
            id="time limit",
        ),
    ],
)
def test_that_no_trial_meets_the_limits_is_said_with_what_the_time_limit_left(record: Record, says: str) -> None:
    """Higher limits are not the only way to a result, then."""
    nothing = "criteria=val_rmse<=0.1: no trial meets them; raise these limits"
    assert summary.no_usable_trial(record, SETTINGS, nothing) == f"{nothing}{says}"


def test_what_the_time_limit_left_is_said_where_it_took_something() -> None:
    """How many trials of how many were run, on the terminal and on the study's page; else nothing is said of it."""
    says = (
        "time_limit_s=90 ended the search: 1 of 5 trials were run to their end, 1 failed or were stopped, 1 were cut "
        "off, 2 not started"
    )
    for record, said in ((_cut_short(), True), (_mixed(), False)):
        closing = summary.closing(_study(record), MODEL, LINKS)
        assert (f"\n{says}\n" in closing) is said
        description = summary.description(_study(record), MODEL, LINKS)
        assert (f"\n{says}.\n" in description) is said
        assert ("time_limit_s" in closing + description) is said


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        pytest.param({"max_steps": 20_000}, "max_steps=20000", id="steps"),
        pytest.param({"max_epochs": 50}, "max_epochs=50", id="epochs"),
    ],
)
def test_long_study_is_told_how_to_shorten_it(changes: dict[str, int], length: str) -> None:
    """In hours, with each parameter that helps and what it is set to, and how many trials an hour holds."""
    text = summary.how_to_shorten(study_settings(folds=4, **changes), trials=200, expected_s=5 * 3600.0 + 120, cpus=2)
    assert text.startswith("This study takes about 5 h 2 min on 2 CPU cores and starts now.")
    assert "max_trials (about 39 of the 200 take an hour)" in text
    assert f"fewer folds (4), a shorter training ({length})" in text
    assert "max_rows" in text
    assert "time_limit_s" in text
    assert "\n" not in text


def test_one_trial_is_left_to_try_of_those_that_take_longer_than_an_hour() -> None:
    """None would be no study."""
    assert "max_trials (about 1 of the 3 take" in summary.how_to_shorten(SETTINGS, 3, 40 * 3600.0, 1)


def test_data_line_says_what_the_study_trains_on() -> None:
    """Name, target, rows, features, and the run that holds them."""
    line = summary.data_line(bundled("red_wine"), "run1", reused=False)
    assert line == (
        "red_wine, quality (regression), 1119 training and 480 test rows, 11 features, prepared in run run1"
    )
    assert summary.data_line(bundled("red_wine"), "run1", reused=True).endswith("prepared before in run run1")


def test_trials_table_has_one_row_per_trial_whatever_became_of_it() -> None:
    """Ids, status, configuration and figures; a figure that a trial does not have is absent."""
    rows = summary.trials_table(_mixed(), SETTINGS)
    assert [(row["trial_id"], row["run_id"], row["status"], row["diverged"]) for row in rows] == [
        ("good", "run-good", "FINISHED", False),
        ("fair", "run-fair", "FINISHED", False),
        ("wild", "run-wild", "FINISHED", True),
        ("broken", "run-broken", "FAILED", False),
        ("stopped", "run-stopped", "KILLED", False),
    ]
    chosen = {"algorithm": "linear", "batch_size": 8, "learning_rate": 0.01, "alpha": 0.1, **SETTINGS.shared}
    assert {name: rows[0][name] for name in chosen} == chosen
    assert (rows[0]["val_rmse"], rows[0]["peak_memory_mb"]) == (0.6, 120.0)
    assert "val_rmse" not in rows[3]


def test_tables_of_a_mixture_have_the_hyperparameters_of_all() -> None:
    """What an algorithm does not have is absent from its row of trials.json, and a dash in the closing table."""
    record = _record(_trial("a"), _trial("b", configuration=NETWORK, figures={"val_rmse": 0.6}))
    linear, network = summary.trials_table(record, SETTINGS)
    assert ("hidden_layer_sizes" in linear, network["hidden_layer_sizes"]) == (False, [8, 4])
    assert ("learning_rate" in network, linear["learning_rate"]) == (False, 0.01)
    text = summary.closing(_study(record), MODEL, LINKS)
    header, first, second, *_ = text.strip("\n").splitlines()
    names = ("algorithm", "alpha", "activation", "learning_rate")
    for row, values in (first, [MLP_REGRESSOR, "0.2", "tanh", "-"]), (second, ["linear", "0.1", "-", "0.01"]):
        places = [re.search(rf"\b{name}\b(?!_)", header).start() for name in names]  # type: ignore[union-attr]
        assert [row[place:].split("  ")[0] for place in places] == values


@pytest.mark.parametrize(
    ("tols", "long", "says"),
    [
        pytest.param((None, 0.0), 100, "", id="none"),
        pytest.param((0.0, 0.1, 0.2), 61, "tol: 2 trials may converge sooner", id="some"),
        pytest.param((0.0, 0.1), 60, "tol: no trial is long enough .*, which takes 60 steps or more", id="too-short"),
    ],
)
def test_tols_are_announced_with_what_they_can_do(tols: tuple[float | None, ...], long: int, says: str) -> None:
    """Six rounds of ten steps."""
    trials = [configured(batch_size=8, max_steps=long, report_every=1, tol=tol) for tol in tols]
    assert re.match(says or "$", summary.how_tols_act(trials, rows=80))


def test_converged_trials_are_counted_and_said() -> None:
    """In the description and in trials.json."""
    record = _record(_trial("a", converged=True), _trial("b"))
    text = summary.description(_study(record), MODEL, LINKS)
    assert "1 trials ended because they had converged" in text
    assert [row["converged"] for row in summary.trials_table(record, SETTINGS)] == [True, False]


def test_folds_table_has_one_row_per_trial_and_fold() -> None:
    """Trials without a usable end have none."""
    assert summary.folds_table(_mixed()) == [
        {"trial_id": trial, "fold": fold} for trial in ("good", "fair") for fold in (0, 1)
    ]


@pytest.fixture(scope="module")
def summarised(module_store: Path) -> Iterator[RecordedRun]:
    """A study's run that was summarised, in a store of this module's own."""
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store_uri(module_store))
        patch.chdir(module_store)
        mlflow.set_tracking_uri(store_uri(module_store))
        try:
            experiment_id = mlflow.create_experiment("summary", (module_store / "artifacts").as_uri())
            with mlflow.start_run(experiment_id=experiment_id) as active:
                run = RecordedRun.of(MlflowClient(), active)
                summary.log_dataset(run, known.load("red_wine"))
                study = _study(_mixed(), run)
                summary.log_study(study, MODEL, LINKS)
                summary.log_results(study)
            yield run
        finally:
            mlflow.set_tracking_uri(before)


def test_dataset_that_another_study_records_at_the_same_time_is_recorded(
    summarised: RecordedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow refuses the second of two equal ones, with an error of its database, and takes it at the next attempt."""
    taken: list[str] = []

    def refuse_once(dataset: Any, context: str) -> None:
        taken.append(dataset.name)
        if len(taken) == 1:
            raise MlflowException("UniqueViolation: duplicate key value violates unique constraint dataset_pk")

    monkeypatch.setattr(mlflow, "log_input", refuse_once)
    summary.log_dataset(summarised, known.load("red_wine"))
    assert taken == ["red_wine", "red_wine"]


def test_dataset_of_more_columns_than_mlflow_lists_is_recorded_without_the_list(
    summarised: RecordedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its name, digest and size; the terminal says what is not there."""
    wide = pd.DataFrame(np.zeros((3, 2_001)), columns=[f"{'measurement ' * 40}{place}" for place in range(2_001)])
    table = Table("wide", wide.assign(y=[1.0, 2.0, 3.0]), "y", "regression", "file", None, "none")
    run_id = summarised.client.create_run(summarised.experiment_id).info.run_id
    with mlflow.start_run(run_id=run_id) as active:
        summary.log_dataset(RecordedRun.of(summarised.client, active), table)
    (recorded,) = summarised.client.get_run(run_id).inputs.dataset_inputs
    dataset = recorded.dataset
    assert (dataset.schema, json.loads(dataset.profile)["num_rows"]) == (None, 3)
    assert capsys.readouterr().out == "The dataset's 2002 columns are too many for MLflow's record of its schema\n"


def test_study_run_holds_its_own_summary(summarised: RecordedRun) -> None:
    """So that the list of runs tells studies apart, and the best trial can be found from it."""
    data = summarised.client.get_run(summarised.run_id).data
    elapsed = data.metrics.pop("elapsed_s")
    assert elapsed > 0
    assert data.metrics == {
        "trials": 5,
        "stopped": 1,
        "failed": 1,
        "restarts": 0,
        "diverged": 1,
        "converged": 0,
        "search_time_s": 42.5,
        "forecast_time_s": 34.0,
    }
    assert {name: data.tags[f"sysmetrics.best_{name}"] for name in ("trial_id", "trial_run_id", "learning_rate")} == {
        "trial_id": "good",
        "trial_run_id": "run-good",
        "learning_rate": "0.01",
    }


@pytest.mark.parametrize(
    ("record", "expected_s", "percent"),
    [
        pytest.param(_record(_trial("a")), 42.5, 0.0, id="right"),
        pytest.param(_record(_trial("a")), 85.0, 100.0, id="took half as long"),
        pytest.param(_record(_trial("a")), 21.25, -50.0, id="took twice as long"),
        pytest.param(_cut_short(), 85.0, None, id="cut short"),
        pytest.param(_record(_trial("a"), _trial("b", status="KILLED")), 85.0, None, id="a trial was stopped"),
        pytest.param(_record(_trial("a"), _trial("b", converged=True)), 85.0, None, id="a trial converged"),
    ],
)
def test_error_of_the_forecast_is_above_zero_where_it_was_too_long(
    record: Record, expected_s: float, percent: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In percent of what the search took; of one that was ended early, or in part, nobody knows that."""
    logged: dict[str, float] = {}
    monkeypatch.setattr(mlflow, "log_metrics", lambda metrics, step: logged.update(metrics))
    for name in ("log_table", "set_tags"):
        monkeypatch.setattr(mlflow, name, lambda *args: None)
    summary.log_study(_study(record, expected_s=expected_s), MODEL, LINKS)
    assert logged.get("forecast_error_percent") == (None if percent is None else pytest.approx(percent))


def test_page_of_metrics_explains_every_figure_of_a_study(summarised: RecordedRun) -> None:
    """They are columns of the view of all studies."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    logged = summarised.client.get_run(summarised.run_id).data.metrics
    assert [name for name in (*logged, "forecast_error_percent") if f"`{name}`" not in page] == []


def test_tables_of_a_study_that_goes_on_take_the_place_of_the_earlier_ones(summarised: RecordedRun) -> None:
    """MLflow would add the rows to those that are there."""
    run = summarised.client.create_run(summarised.experiment_id)
    with mlflow.start_run(run_id=run.info.run_id):
        again = RecordedRun.of(summarised.client, run)
        for record in (_record(_trial("good"), not_started=4), _mixed()):
            summary.log_results(_study(record, again))
    for file in ("trials.json", "folds.json"):
        first = load_dict(f"{summarised.client.get_run(summarised.run_id).info.artifact_uri}/{file}")
        assert load_dict(f"{run.info.artifact_uri}/{file}") == first


def test_time_of_a_study_that_goes_on_counts_what_was_done_before(summarised: RecordedRun) -> None:
    """Nobody knows how wrong the forecast was."""
    run = summarised.client.create_run(summarised.experiment_id)
    record = _record(_trial("good"))
    record.before_s = 100.0
    with mlflow.start_run(run_id=run.info.run_id):
        again = RecordedRun.of(summarised.client, run)
        summary.log_study(_study(record, again), MODEL, LINKS)
    metrics = summarised.client.get_run(run.info.run_id).data.metrics
    assert metrics["search_time_s"] == 142.5
    assert 100.0 < metrics["elapsed_s"] < 160.0
    assert "forecast_error_percent" not in metrics


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
    result, links, *_ = text.splitlines()
    assert result.startswith(
        "**val_rmse 0.6000** is the best of the 3 models that were trained to their end for red_wine: "
    )
    assert links == f"Compare them: [score against cost]({LINKS['score']}) · [table]({LINKS['table']})."
    assert "test_rmse **0.6400**" in text
    assert "logged as `models:/m-0123`" in text
    assert "1 trials diverged" in text
    best, process, compared = re.findall(r"\]\((\S+)\)", text)[2:]
    assert json.loads(fragment(compared)[1]["runs"][0]) == ["run-good", "run-fair"]
    assert fragment(best)[0].endswith("/runs/run-good/overview")
    assert fragment(process)[0].endswith("/runs/run-good/system-metrics")
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
            ["-uri 'sqlite:////home/my runs/mlflow.db'", "http://127.0.0.1:5000/#"],
            id="database-needs-a-server",
        ),
        pytest.param("http://tracking:8080", ["http://tracking:8080/#"], id="server-is-there"),
    ],
)  # fmt: skip
def test_closing_says_how_to_look_at_all_trials(uri: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The best trials in aligned columns, the refitted model, and the address, with the command where one is needed."""
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    text = summary.closing(_study(_mixed()), MODEL, LINKS)
    assert [word for word in words if word not in text] == []
    assert ("http://127.0.0.1:5000" in text) == uri.startswith("sqlite")
    assert "test_rmse 0.6400, trained in 0.098 s with 1.5 MB; it is logged as models:/m-0123" in text
    header, first, *_ = text.strip("\n").splitlines()
    assert first[header.index("val_rmse") :].startswith("0.6 ")
    assert first[header.index("peak_memory_mb") :].startswith("120 ")


def test_repeated_configuration_counts_once() -> None:
    """Neither its other runs' scores nor their number show; what they cost says how much that differs."""
    again = [replace(NETWORK, repeat=repeat) for repeat in range(3)]
    trials = [
        _trial(str(place), configuration=each, figures={"val_rmse": 0.7 - place / 10, "elapsed_s": 1.0 + place / 10})
        for place, each in enumerate(again)
    ]
    record = _record(*trials, _trial("other", figures={"val_rmse": 0.8, "elapsed_s": 9.0}))
    assert [trial.trial_id for trial in record.ranked] == ["0", "other"]
    found = measured(record).noises["elapsed_s"]
    assert (found.source, found.degrees_of_freedom) == ("repeats", 2)
    assert found.noise == pytest.approx(np.std(np.log([1.0, 1.1, 1.2]), ddof=1))
    rows = summary.trials_table(record, SETTINGS)
    assert [row.get("repeat") for row in rows] == [None, 1, 2, None]


@pytest.mark.parametrize(
    ("trials", "text", "says"),
    [
        pytest.param([], "", "**val_rmse 0.6500** is the best of 3 models for red_wine: ", id="all"),
        pytest.param(
            [_trial("broken", status="FAILED")],
            "",
            "**val_rmse 0.6500** is the best of the 3 models that were trained to their end for red_wine: ",
            id="one failed",
        ),
        pytest.param(
            [_trial("skipped", status="KILLED", figures={}, ending=ENDING)],
            "peak_memory_mb<=150",
            "**val_rmse 0.7000** is the best of the 2 models within the limits, of 4 configurations, for red_wine: ",
            id="limits",
        ),
    ],
)
def test_best_is_said_to_be_the_best_of_those_that_it_was_chosen_from(
    trials: list[TrialRecord], text: str, says: str
) -> None:
    """A better model that breaks a limit is not the result; neither it nor a repeated run is counted as beaten."""
    random = np.random.default_rng(0)
    scores = {"large": (0.65, 200.0), "good": (0.7, 100.0), "fair": (0.9, 100.0)}
    ended = [
        _trial(
            name,
            figures={"val_rmse": score, "peak_memory_mb": memory_mb},
            folds=[{"val_rmse": score + random.normal(scale=0.001)} for _ in range(5)],
        )
        for name, (score, memory_mb) in scores.items()
    ]
    again = _trial("again", configuration=replace(LINEAR, repeat=1))
    record = _record(*ended, again, *trials, criteria=Criteria.parse(text, metrics("regression")) if text else None)
    for said in (
        summary.description(_study(record), MODEL, LINKS),
        summary.closing(_study(record), MODEL, LINKS),
    ):
        assert ("differs from all others within the limits by more than noise" in said) is bool(text)
        assert ("differs from all others by more than noise" in said) is not bool(text)
    page = summary.description(_study(record), MODEL, LINKS)
    assert page.startswith(says)
    assert "Each model was cross-validated" not in page


SENTENCE = "differ by no more than noise in val_rmse"


@pytest.mark.parametrize(
    ("away", "says"),
    [
        pytest.param(0.001, f"The first 3 of 3 {SENTENCE}", id="equal"),
        pytest.param(0.3, "The best differs from all others by more than noise", id="different"),
    ],
)
def test_closing_says_how_many_models_are_as_good_as_the_best(away: float, says: str) -> None:
    """By the noise from fold to fold; so does the description."""
    random = np.random.default_rng(0)
    trials = []
    for place in range(3):
        folds = [{"fold": fold, "val_rmse": 0.5 + away * place + random.normal(scale=0.01)} for fold in range(5)]
        score = float(np.mean([fold["val_rmse"] for fold in folds]))
        trials.append(_trial(str(place), figures={"val_rmse": score}, folds=folds))
    record = _record(*trials)
    assert says in summary.closing(_study(record), MODEL, LINKS)
    assert says in summary.description(_study(record), MODEL, LINKS)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        pytest.param({}, [], id="auto"),
        pytest.param(
            {"batch_size": [4, 8]},
            ["The best batch_size, 8, is the largest tried, but no better than 4 beyond noise."],
            id="own",
        ),
    ],
)
def test_end_of_the_batch_sizes_is_said_where_the_user_gave_them(space: dict[str, Any], said: list[str]) -> None:
    """Those of auto end where the rows do."""
    random = np.random.default_rng(0)
    trials = []
    for place, size in enumerate((8, 4)):
        folds = [{"fold": fold, "val_rmse": 0.5 + random.normal(scale=0.01)} for fold in range(5)]
        figures, configuration = {"val_rmse": 0.5 + place / 1000}, configured(batch_size=size)
        trials.append(_trial(str(size), figures=figures, configuration=configuration, folds=folds))
    study = replace(_study(_record(*trials)), settings=replace(SETTINGS, space=space))
    lines = summary.closing(study, MODEL, LINKS).splitlines()
    assert [line for line in lines if "batch_size," in line] == said


def test_table_shows_at_most_five_trials_and_the_median_of_all() -> None:
    """Best first; a figure that no trial has is a dash."""
    trials = [_trial(str(place), figures={"val_rmse": float(place)}) for place in range(9, 0, -1)]
    text = summary.closing(_study(_record(*trials)), MODEL, LINKS)
    rows = [line.split() for line in text.strip("\n").splitlines()[1:7]]
    assert [(row[0], row[-6]) for row in rows] == [
        ("1", "1"), ("2", "2"), ("3", "3"), ("4", "4"), ("5", "5"), ("median", "5"),
    ]  # fmt: skip
    assert {tuple(row[-5:]) for row in rows} == {("-",) * 5}
