"""A study from the command line to its last run in MLflow."""

import math
import re
import shlex
from collections import Counter
from itertools import product
from pathlib import Path

import mlflow
import pytest
from cases import cases
from commands import STUDY, executed, in_use, references
from mlflow.artifacts import load_dict
from records import read
from sklearn.metrics import root_mean_squared_error

from entrypoints.datasets import known
from entrypoints.reporting.questions import decision
from mlflow_sysmetrics.recording.host import Host
from mlflow_sysmetrics.recording.tags import HOST_PREFIX

FIGURES = (Path(__file__).parent / "golden" / "figures_rmse.txt").read_text().split()
STEPS = 2238
REPORTS = [*range(112, STEPS, 112), STEPS]
PARAMS = {
    "algorithm": "linear",
    "batch_size": "2",
    "learning_rate": "0.001",
    "alpha": "0.001",
    "dataset": "red_wine",
    "target": "auto",
    "max_rows": "all",
    "folds": "3",
    "seed": "0",
    "length": "6 epochs",
}


@pytest.fixture(scope="module")
def steady(study):
    """A trial that ran to its end, and reports as often as any."""
    return study.trial(batch_size="2", learning_rate="0.001")


@pytest.fixture(scope="module")
def diverged(study):
    """The trials that diverged."""
    return [run for run in study.trials if run.data.tags["sysmetrics.diverged"] == "true"]


@pytest.fixture(scope="module")
def model_id(study):
    """The one model that the study has logged."""
    (model,) = study.run.outputs.model_outputs
    return model.model_id


def _curve(study, run, name):
    """The values of a metric in the order of their steps."""
    return [value for _, value in sorted(study.values(run, name).items())]


def test_command_leaves_a_finished_study_with_a_child_per_trial(study):
    """`mlflow run` ends with 0, and the run that it made is the study; no worker starts a run outside of it.

    Eight configurations make eight trials, each tried once. No file is left in the project's folder; the store is where
    the user stands.
    """
    assert (study.command.exit_code, study.run.info.status) == (0, "FINISHED")
    assert study.run.info.run_name == "tune red_wine"
    given = {name: shlex.quote(text) for name, text in STUDY.items()}
    assert study.run.data.params.items() >= given.items()
    tried = {(run.data.params["batch_size"], run.data.params["learning_rate"]) for run in study.trials}
    assert tried == set(product(["2", "256"], ["0.1", "0.01", "0.003", "0.001"]))
    kinds = Counter(run.data.tags.get("sysmetrics.kind") for run in study.client.search_runs(["0"]))
    assert kinds == {"study": 1, "trial": 8 + 2}  # with the references
    assert study.written == set()
    assert executed(study.folder) == []  # which has files of many names that libraries ask for
    assert (study.folder / "mlruns").is_dir()


def test_trial_has_params_and_tags(study, steady):
    """What was tried, and where it ran, stands in the trial's run: the costs of two machines can be told apart."""
    assert steady.data.params == PARAMS
    assert steady.info.run_name == "b2 lr0.001"
    assert {"sysmetrics.node", "sysmetrics.pid", "sysmetrics.memory_definition"} <= steady.data.tags.keys()
    for run in (study.run, *study.trials):
        of_host = {name: tag for name, tag in run.data.tags.items() if name.startswith(HOST_PREFIX)}
        assert of_host == Host().tags()


@cases(
    "name, steps",
    [("val_loss", [0, *REPORTS]), ("val_rmse", REPORTS), ("cpu_percent", REPORTS), ("test_rmse", [0])],
)
def test_trial_reports_about_twenty_times(study, steady, name, steps):
    """Losses also before training; other figures once, at step 0: the UI draws a bar."""
    assert sorted(study.values(steady, name)) == steps


def test_figures_of_cost_fit_together(study, steady):
    """All are there. Growth is part of the peak, no reading exceeds it, and training is part of the trial's time."""
    figures = steady.data.metrics
    assert figures.keys() >= set(FIGURES)
    assert all(map(math.isfinite, figures.values()))
    peak_mb = figures["peak_memory_mb"]
    assert 0 <= figures["memory_growth_mb"] < peak_mb
    assert max(study.values(steady, "memory_mb").values()) <= peak_mb
    assert 0 <= figures["model_memory_mb"] < 1
    assert 3 * figures["training_time_s"] < figures["elapsed_s"]
    assert figures["mean_cpu_percent"] == pytest.approx(100 * figures["cpu_seconds"] / figures["elapsed_s"])
    assert figures["mean_step_time_ms"] * STEPS == pytest.approx(figures["training_time_s"] * 1000)


def test_search_is_held_against_references(study):
    """A forest with its defaults, and a model that ignores all features, have all costs, and stand in the last table.

    Neither is the result, though the forest has the best score of all.
    """
    found = references(study.client, study.run)
    assert sorted(found) == ["reference: forest with its defaults", "reference: ignoring all features"]
    forest, ignoring = (found[name].data.metrics for name in sorted(found))
    assert forest.keys() >= {"training_time_s", "cpu_seconds", "peak_memory_mb", "inference_latency_ms"}
    summary = study.run.data.metrics
    assert ignoring["val_rmse"] == pytest.approx(summary["baseline_val_rmse"])
    assert forest["val_rmse"] < summary["best_val_rmse"] < ignoring["val_rmse"]
    shown = study.command.stdout
    assert re.search(rf"forest with its defaults .* {forest['val_rmse']:.4g} ", shown)
    assert "The search has not beaten a forest with its defaults beyond noise" in shown  # of three folds


def test_diverged_trial_is_finished_and_tagged_but_never_best(study, steady, diverged):
    """A model that diverges is an outcome, not an error; it has no test figures and is not chosen."""
    ids = {run.info.run_id for run in diverged}
    assert ids
    assert not ids & {steady.info.run_id, study.run.data.tags["sysmetrics.best_trial_run_id"]}
    for run in diverged:
        assert run.info.status == "FINISHED"
        assert all(map(math.isfinite, run.data.metrics.values()))
        assert "test_rmse" not in run.data.metrics


def test_study_says_what_came_out(study, diverged):
    """In its own metrics, so that an unfolded row in the UI's table needs no child; its tags name the best trial.

    It names the table that it was trained on, and where that comes from.
    """
    metrics = study.run.data.metrics
    best = study.client.get_run(study.run.data.tags["sysmetrics.best_trial_run_id"])
    lowest = min(run.data.metrics["val_rmse"] for run in study.trials if run not in diverged)
    assert best.data.metrics["val_rmse"] == pytest.approx(lowest)
    assert metrics["best_val_rmse"] == best.data.metrics["val_rmse"]
    assert metrics.keys() >= {"restarts", "forecast_error_percent", "refit_cpu_seconds", "refit_latency_ms"}
    assert (metrics["trials"], metrics["stopped"], metrics["failed"]) == (8, 0, 0)
    assert metrics["diverged"] == len(diverged)
    assert metrics["search_time_s"] < metrics["elapsed_s"] < study.command.seconds
    (given,) = study.run.inputs.dataset_inputs
    assert given.dataset.name == "red_wine"
    assert [tag.value for tag in given.tags] == ["training"]
    assert "openml.org/d/44972" in given.dataset.source


def test_study_has_the_cost_of_its_whole_command(study):
    """Of this process since it began, and of all below it: Ray's, and those of the trials, which are gone by then."""
    metrics = study.run.data.metrics
    of_trials_s = sum(run.data.metrics["cpu_seconds"] for run in study.trials)
    assert of_trials_s + 1 < metrics["command_cpu_seconds"] < 60 + 3 * of_trials_s
    begun_share = 0.8  # `mlflow run` creates the run before the command's process
    assert begun_share * metrics["elapsed_s"] < metrics["command_elapsed_s"] < study.command.seconds


def test_trials_table_agrees_with_the_trials_runs(study):
    """Each row of trials.json holds the parameters and every figure of the run that it names, to the last digit."""
    rows = {row["run_id"]: row for row in study.rows("trials.json")}
    assert set(rows) == {run.info.run_id for run in study.trials}
    for run in study.trials:
        row = rows[run.info.run_id]
        params = run.data.params
        assert {name: str(row.pop(name)) for name in params} == params
        about = {name: row.pop(name) for name in ("run_id", "status", "trial_id", "number", "diverged")}
        assert about["status"] == run.info.status
        for name in ("trial_id", "number", "diverged"):
            assert str(about[name]).lower() == run.data.tags[f"sysmetrics.{name}"]
        figures = {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}
        assert row == pytest.approx(figures)


def test_page_of_a_study_shows_the_columns_that_matter(study):
    """In a sentence, a figure and a table, whose numbers are those of the table among its artifacts."""
    page = study.run.data.tags["mlflow.note.content"]
    rows = study.rows("importance.json")
    column = rows[0]["column"]
    assert len(rows) == 10
    assert f"In this model, shuffled `{column}` makes `rmse` worse by 0." in page
    assert f"\n| {column} | 0." in page
    figure = "figures%2Fimportance.png"
    assert f"![importance](get-artifact?path={figure}&run_uuid={study.run.info.run_id})" in page
    assert study.client.list_artifacts(study.run.info.run_id, "figures")[0].path == "figures/importance.png"
    assert "A leak?" not in page


def test_study_says_what_its_model_will_reach_on_other_rows(study, model_id):
    """As figures of the study and of the model, too; a report that reads them says the same."""
    figures = study.run.data.metrics
    assert figures["test_rmse_low"] < figures["test_rmse"] < figures["test_rmse_high"]
    of_model = {metric.key: metric.value for metric in study.client.get_logged_model(model_id).metrics}
    for name in ("test_rmse", "test_rmse_low", "test_rmse_high"):
        assert of_model[name] == figures[name]
    page = study.run.data.tags["mlflow.note.content"]
    beside_forest, costs, take, *_ = decision.answer(read(study.client, [study.run])).sentences
    assert page.startswith(beside_forest)
    assert costs.startswith("The forest takes ")
    assert take in page
    assert re.search(r"on other rows like these expect rmse 0\.\d+ \(0\.\d+ to 0\.\d+\)", take)


def test_study_has_curves_of_the_best_score_and_of_what_it_has_spent(study):
    """A point as each trial ends."""
    best = _curve(study, study.run, "best_so_far")
    assert best == sorted(best, reverse=True)
    assert best[-1] == pytest.approx(study.run.data.metrics["best_val_rmse"])
    spent_s = _curve(study, study.run, "search_cpu_seconds")
    assert len(spent_s) == len(study.trials)
    assert spent_s[-1] == pytest.approx(sum(run.data.metrics["cpu_seconds"] for run in study.trials))


def test_best_model_predicts_from_raw_columns(study, model_id):
    """It takes the dataset's own columns, and on the test part it has about the RMSE that the study states."""
    table = known.load("red_wine")
    with in_use(study.folder):
        split = load_dict(f"{study.run.info.artifact_uri}/split.json")
        model = mlflow.pyfunc.load_model(f"models:/{model_id}")
    test = table.frame.iloc[split["test"]]
    error = root_mean_squared_error(test[table.target], model.predict(test[list(table.feature_names)]))
    assert error == pytest.approx(study.run.data.metrics["test_rmse"], rel=0.03)
    assert f'Load it with mlflow.pyfunc.load_model("models:/{model_id}").\n' in study.command.stdout


def test_best_model_is_registered_where_that_is_asked_for(study):
    """As the candidate of that name, which the output says."""
    version = study.client.get_model_version_by_alias("red wine", "candidate")
    assert version.run_id == study.run.info.run_id
    assert version.tags["best_val_rmse"] == f"{study.run.data.metrics['best_val_rmse']:.6g}"
    says = f"\nRegistered as version {version.version} of red wine: models:/red wine@candidate\n"
    assert says in study.command.stdout


@cases(
    "line",
    [
        r"Search: 8 trials of 3 folds on 2 CPU cores, about .*\d s",
        r"8/8 trials, best val_rmse 0\.\d{4} \(.*\), .*\d s elapsed",
        r"8 trials: \d ran to the end, \d diverged \(all with learning_rate .*\)\.",
        "15 % of the rows are exact copies of others, and 18.* % of the test rows are in the training part too.*",
    ],
)
def test_output_says_what_is_searched_how_far_it_is_and_what_became_of_all_trials(study, line):
    """In counts that add up, with what those that diverged have in common."""
    assert re.search(f"^{line}$", study.command.stdout, re.MULTILINE)


def test_output_has_nothing_of_ray_or_python(study):
    """Neither their warnings nor the names of their processes."""
    output = study.command.stdout + study.command.stderr
    assert output.count("starting the processes") <= 1
    for text in ("Traceback", "Warning", "WARNING", "(raylet)", "pid="):
        assert text not in output
