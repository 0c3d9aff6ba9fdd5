"""A report on a study in a real store: what it leaves, and that its page says nothing that its tables do not hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mlflow
import pandas as pd
import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.artifacts import load_dict

from benchmarks.report_scale import fill
from entrypoints.reporting.one_study.report import write_report
from entrypoints.reporting.savings.rules import full_of
from entrypoints.reporting.selection import by_ids
from entrypoints.runs import RecordedRun, recorded_run

pytestmark = pytest.mark.slow  # real runs, each of seconds

TRIALS = 64
FORMATS = ("{:.4g}", "{:.3g}", "{:.2g}", "{:+.2g}", "{:.0f}", "{:+.0f}", "{:.1f}", "{:+.1f}", "{:.2f}", "{}")
CONSTANTS = {"5", "95", "0.001"}  # the level of a test and of an interval in percent, and the least p-value


@dataclass(frozen=True)
class Reported:
    """A report's run: its description, its tables as they are logged, the names of its figures, and what was echoed."""

    run_id: str
    study_id: str
    page: str
    tables: dict[str, pd.DataFrame]
    figures: set[str]
    metrics: dict[str, float]
    echoed: str


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A report on a study without limits, as the command writes it."""
    folder = tmp_path_factory.mktemp("reported")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        mlflow.set_tracking_uri(store_uri(folder))
        study_id = fill(store_uri(folder), TRIALS)
        echoed: list[str] = []
        patch.setattr("entrypoints.reporting.one_study.report.click.echo", echoed.append)
        yield _report(study_id, echoed)
        mlflow.set_tracking_uri(before)


def _report(study_id: str, echoed: list[str]) -> Reported:
    client = MlflowClient()
    with recorded_run("report", "report red_wine", {"study": study_id}) as run:
        write_report(run, by_ids(client, [study_id]))
    data, uri = client.get_run(run.run_id).data, client.get_run(run.run_id).info.artifact_uri
    names = [artifact.path for artifact in client.list_artifacts(run.run_id)]
    logged = {name.removesuffix(".json"): load_dict(f"{uri}/{name}") for name in names if name.endswith(".json")}
    return Reported(
        run.run_id,
        study_id,
        data.tags["mlflow.note.content"],
        {name: pd.DataFrame(table["data"], columns=table["columns"]) for name, table in logged.items()},
        {Path(each.path).name for each in client.list_artifacts(run.run_id, "figures")},
        data.metrics,
        "\n".join(echoed),
    )


def _numbers(page: str) -> set[str]:
    """The numbers that a reader sees: not those in addresses, names in backticks, titles and levels."""
    seen = re.sub(r"\]\([^)]*\)|`[^`]*`|\w+=\S+|###+ .*", " ", page)
    return set(re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", seen)) - CONSTANTS


def test_every_number_of_the_page_is_in_the_tables(reported: Reported) -> None:
    """As it is, as a percentage, or as a count of rows; nothing that is written there comes from elsewhere."""
    known: set[str] = set()
    for table in reported.tables.values():
        sizes = [len(table), *(count for name in table.columns for count in table[name].astype(str).value_counts())]
        cells = [cell for name in table for cell in table[name] if isinstance(cell, (int, float)) and cell == cell]
        rounded = [cell * (1 + error) for cell in cells for error in (-1e-9, 1e-9)]  # a logged table has ten digits
        for number in (*sizes, *cells, *rounded, *(100 * cell for cell in cells)):
            known |= {form.format(number) for form in FORMATS} | {f"{abs(number):.0f}"}
        known |= {word for name in table for cell in table[name] for word in str(cell).split()}
    assert len(_numbers(reported.page)) > 50
    assert _numbers(reported.page) - known == set()


def test_answers_are_those_of_the_trials(reported: Reported) -> None:
    """Worked out again from the table of trials alone: counts, the best, an effect's medians, the front."""
    trials = reported.tables["trials"]
    ran = trials[(trials["status"] == "FINISHED") & ~trials["diverged"]]
    diverged = len(trials) - len(ran)
    assert (
        f"{TRIALS} trials: {len(ran)} ran to their end, {diverged} diverged, 0 were stopped, 0 failed." in reported.page
    )
    best = ran.sort_values("val_rmse").iloc[0]
    chosen = f"val_rmse {best['val_rmse']:.4g} with batch_size={best['batch_size']:g}, learning_rate="
    assert reported.page.startswith(f"## red_wine: {chosen}")  # without the algorithm, which does not vary
    effects = reported.tables["effects"]
    row = effects[(effects["metric"] == "mean_step_time_ms") & (effects["hyperparameter"] == "batch_size")].iloc[0]
    medians = ran.groupby("batch_size")["mean_step_time_ms"].median()
    assert (row["lowest"], row["highest"]) == pytest.approx((medians.min(), medians.max()))
    assert f"-> {row['second_at']} | {row['first']:.4g} -> {row['second']:.4g} ms |" in reported.page
    by_time = ran.sort_values(["training_time_s", "val_rmse"])
    on_front = by_time["val_rmse"] < by_time["val_rmse"].cummin().shift(fill_value=float("inf"))
    assert f"| `training_time_s` | {on_front.sum()} | " in reported.page


def test_page_shows_the_figures_that_were_logged(reported: Reported) -> None:
    """Each picture of the page is an artifact of the report's run, and the front can be explored with a mouse."""
    shown = {unquote(name) for name in re.findall(r"path=figures%2F([\w.]+)", reported.page)}
    assert {"during_training.png", "effect_sizes.png", "tradeoff.png", "savings.png", "pareto.png"} <= shown
    assert shown <= reported.figures
    assert {"pareto.html", "by_batch_size.png", "by_learning_rate.png", "by_alpha.png"} <= reported.figures
    assert set(re.findall(r"run_uuid=(\w+)", reported.page)) == {reported.run_id}


def test_page_leads_to_the_study_and_its_trials(reported: Reported) -> None:
    """The study's page, its trials by score and by memory, the best ones side by side."""
    links = re.findall(r"\]\((#/[^)]*)\)", reported.page)
    assert any(f"/runs/{reported.study_id}/overview" in link for link in links)
    assert sum(f"parentRunId%20%3D%20%27{reported.study_id}%27" in link for link in links) == 2
    best = reported.tables["best"]["run_id"]
    assert any(link.startswith("#/compare-runs") and all(run_id in link for run_id in best) for link in links)


def test_questions_without_an_answer_are_said(reported: Reported) -> None:
    """There is no study under limits, so that the default ones were replayed, and it is said what to run."""
    assert "no study by early_stop has these trials" in reported.page
    assert "run early_stop with dataset=red_wine" in reported.echoed
    assert reported.tables["rules"]["kind"].tolist() == ["replayed", *["control"] * 4]


def test_terminal_says_the_answers_and_how_to_see_the_page(reported: Reported) -> None:
    """In the words of the page."""
    decision, costs = reported.page.splitlines()[:2]
    assert f"{decision.removeprefix('## ')}\n{costs.replace('`', '')}" in reported.echoed
    assert f"/runs/{reported.run_id}/overview" in reported.echoed
    assert "http://127.0.0.1:5000/#" in reported.echoed


def test_report_holds_what_its_limits_and_predictions_are_worth(reported: Reported) -> None:
    """By criterion, and for each predicted trial; every trial that is drawn is in a table."""
    parts, rule = reported.tables["savings_by_criterion"], reported.tables["rules"].iloc[0]
    assert parts["saved_cpu_percent"].sum() == pytest.approx(rule["saved_cpu_percent"])
    predictions, calibration = reported.tables["predictions"], reported.tables["calibration"]
    assert calibration["trials"].tolist() == predictions.groupby("metric", sort=False).size().tolist()
    assert "predicted.png" in reported.figures


def test_large_study_is_read_in_part_with_its_best_trials(reported: Reported) -> None:
    """The best of all and the best within limits, beside two that are evenly spaced."""
    (study,) = by_ids(MlflowClient(), [reported.study_id])
    limit = study.complete["training_time_s"].median()
    full = full_of(MlflowClient(), study, 2, [f"training_time_s<={limit}"])
    assert full is not None
    within = study.complete[study.complete["training_time_s"] <= limit]
    best = {study.complete["run_id"].iloc[0], within["run_id"].iloc[0]}
    read = {course.run_id for course in full.courses}
    assert best <= read
    assert len(read - best) <= 2
    assert full.ended == TRIALS


def test_report_has_metrics_to_sort_reports_by(reported: Reported) -> None:
    """The size of the study, and what limits save in it."""
    rule = reported.tables["rules"].iloc[0]
    assert reported.metrics["trials"] == TRIALS
    assert reported.metrics["saved_cpu_percent"] == pytest.approx(rule["saved_cpu_percent"])


def test_study_of_another_script_is_answered_as_far_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without folds, times and the bundle's names: effects and curves are there, the rest is said."""
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store_uri(tmp_path))
    client = MlflowClient()
    parent = client.create_run("0", run_name="my search").info.run_id
    for number in range(12):
        tags = {"mlflow.parentRunId": parent, "sysmetrics.kind": "trial", "sysmetrics.trial_id": str(number)}
        trial = client.create_run("0", tags=tags, run_name=f"rate={number % 3}").info.run_id
        client.log_param(trial, "rate", number % 3)
        for step in range(5):
            client.log_metric(trial, "loss", number % 3 + 1 / (step + 1 + number / 100), step=step)
        client.set_terminated(trial)
    client.set_terminated(parent)
    with recorded_run("report", "report", {}) as run:
        write_report(run, by_ids(client, [parent], "loss", "min"))
    page = _page(run)
    mlflow.set_tracking_uri(before)
    assert "12 trials: 12 ran to their end" in page
    assert page.startswith("## my search: loss 0.1965 with rate=0\n")
    assert "| `loss` | `rate` 0 -> 2 |" in page
    for open_question in ("What limits save", "Configurations that differ significantly"):
        assert f"\n- {open_question}" in page


def _page(run: RecordedRun) -> str:
    return str(run.client.get_run(run.run_id).data.tags["mlflow.note.content"])
