"""A study from the command line to its last run in MLflow."""

import math
import re
import shlex
from collections import Counter
from itertools import product

import mlflow
import numpy as np
import pytest
from commands import STUDY, executed, in_use, references
from mlflow.artifacts import load_dict
from records import read

from entrypoints.datasets import known
from entrypoints.reporting.questions import decision
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.tags import HOST_PREFIX


def check_logged_model(study):
    """It takes the dataset's own columns, and on the test part it has about the RMSE that the study states."""
    table = known.load("red_wine")
    (model_id,) = (model.model_id for model in study.run.outputs.model_outputs)
    with in_use(study.folder):
        split = load_dict(f"{study.run.info.artifact_uri}/split.json")
        model = mlflow.pyfunc.load_model(f"models:/{model_id}")
    test = table.frame.iloc[split["test"]]
    assert f'Load it with mlflow.pyfunc.load_model("models:/{model_id}").\n' in study.command.stdout
    error = model.predict(test[list(table.feature_names)]) - test[table.target]
    assert np.sqrt(np.mean(np.square(error))) == pytest.approx(study.run.data.metrics["test_rmse"], rel=0.03)


CURVES = (
    "train_loss",
    "val_loss",
    "val_rmse",
    "val_rmse_sd",
    "step_time_ms",
    "cpu_percent",
    "memory_mb",
    "training_time_s",
)
AT_STEP_0 = ("val_loss", "memory_mb", "training_time_s")  # the curves that have a point before training
COSTS = ("mean_step_time_ms", "mean_cpu_percent", "cpu_seconds", "elapsed_s", "steps")
MEMORY = ("peak_memory_mb", "memory_growth_mb", "model_memory_mb")
INFERENCE = ("inference_latency_ms", "inference_p99_ms", "rows_per_s", "model_size_kb")
ONE_OFF = ("test_rmse", "test_loss", *COSTS, *MEMORY, *INFERENCE)
SERIES = ("system/process_cpu_percent", "system/process_memory_mb", "system/process_memory_mb_max")
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
TAGS = (
    "mlflow.parentRunId",
    "sysmetrics.kind",
    "sysmetrics.trial_id",
    "sysmetrics.node",
    "sysmetrics.pid",
    "sysmetrics.memory_definition",
)
STEPS = 2238
REPORTS = [*range(112, STEPS, 112), STEPS]
SUMMARY = {
    "best_val_rmse",
    "baseline_val_rmse",
    "test_rmse",
    "test_loss",
    *(f"refit_{name}" for name in ("training_time_s", "cpu_seconds", "memory_growth_mb", "latency_ms")),
    "trials",
    "stopped",
    "failed",
    "restarts",
    "diverged",
    "elapsed_s",
    "search_time_s",
    "forecast_time_s",
    "forecast_error_percent",
}


def _steady(study):
    return study.trial(batch_size="2", learning_rate="0.001")


def _diverged(study):
    return [run for run in study.trials if run.data.tags["sysmetrics.diverged"] == "true"]


def _best(study):
    sound = [run for run in study.trials if run.data.tags["sysmetrics.diverged"] == "false"]
    # Equal models differ in the last bits of their scores.
    return min(sound, key=lambda run: (f"{run.data.metrics['val_rmse']:.9e}", run.data.metrics["training_time_s"]))


def test_command_leaves_a_finished_study_with_a_child_per_trial(study):
    """`mlflow run` ends with 0, and the run that it made is the study; no worker starts a run outside of it.

    Eight configurations make eight trials, each tried once. No file is left in the project's folder; the store is where
    the user stands.
    """
    assert (study.command.exit_code, study.run.info.status) == (0, "FINISHED")
    assert study.run.info.run_name == "tune red_wine"
    assert study.run.data.params.items() >= {name: shlex.quote(text) for name, text in STUDY.items()}.items()
    tried = {(run.data.params["batch_size"], run.data.params["learning_rate"]) for run in study.trials}
    assert tried == set(product(["2", "256"], ["0.1", "0.01", "0.003", "0.001"]))
    assert [run.info.status for run in study.trials] == ["FINISHED"] * 8
    kinds = Counter(run.data.tags.get("sysmetrics.kind") for run in study.client.search_runs(["0"]))
    assert kinds == {"study": 1, "trial": 8 + 2}  # with the references
    assert study.written == set()
    assert executed(study.folder) == []  # which has files of many names that libraries ask for
    assert (study.folder / "mlruns").is_dir()


def test_trial_has_params_and_tags(study):
    """What was tried, and where it ran, stands in the trial's run: the costs of two machines can be told apart."""
    trial = _steady(study)
    assert trial.data.params == PARAMS
    assert set(TAGS) <= set(trial.data.tags)
    assert trial.info.run_name == "b2 lr0.001"
    for run in (study.run, *study.trials):
        assert {name: tag for name, tag in run.data.tags.items() if name.startswith(HOST_PREFIX)} == Host().tags()


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *((name, [0] * (name in AT_STEP_0) + REPORTS) for name in CURVES),
        *((name, [0]) for name in ONE_OFF),
    ],
)
def test_trial_that_ran_to_its_end_has_each_metric_of_the_contract(study, name, steps):
    """Curves over the training step, about twenty times; other figures once, at step 0: the UI draws a bar."""
    points = study.client.get_metric_history(_steady(study).info.run_id, name)
    assert sorted(point.step for point in points) == steps
    assert all(math.isfinite(point.value) for point in points)


def test_figures_of_cost_fit_together(study):
    """Growth is part of the peak, the series never exceeds it, and training is part of the trial's time."""
    trial = _steady(study)
    figures = trial.data.metrics
    assert 0 <= figures["memory_growth_mb"] < figures["peak_memory_mb"]
    during = study.client.get_metric_history(trial.info.run_id, SERIES[2])[:-1]
    assert max(point.value for point in during) <= figures["peak_memory_mb"] + 1e-6
    assert max(study.values(trial, "memory_mb").values()) <= figures["peak_memory_mb"] + 1e-6
    assert 0 <= figures["model_memory_mb"] < 1
    assert figures["mean_cpu_percent"] == pytest.approx(100 * figures["cpu_seconds"] / figures["elapsed_s"])
    assert figures["steps"] == STEPS
    assert 3 * figures["training_time_s"] < figures["elapsed_s"]
    assert figures["mean_step_time_ms"] * STEPS == pytest.approx(figures["training_time_s"] * 1000)


def test_search_is_held_against_references(study):
    """A forest with its defaults, and a model that ignores all features, have all costs, and stand in the last table.

    Neither is the result, though the forest has the best score of all.
    """
    found = references(study.client, study.run)
    assert sorted(found) == ["reference: forest with its defaults", "reference: ignoring all features"]
    forest, ignoring = (found[name].data for name in sorted(found))
    assert {*COSTS, *MEMORY, *INFERENCE} <= forest.metrics.keys()
    assert forest.params["algorithm"] == "forest"
    assert ignoring.metrics["val_rmse"] == pytest.approx(study.run.data.metrics["baseline_val_rmse"])
    best = study.run.data.metrics["best_val_rmse"]
    assert forest.metrics["val_rmse"] < best < ignoring.metrics["val_rmse"]
    said = study.command.stdout
    assert re.search(rf"forest with its defaults .* {forest.metrics['val_rmse']:.4g} ", said)
    assert re.search(r"ignoring all features .* 0\.\d+ ", said)
    assert f"best val_rmse {best:.4f} (" in said
    assert (
        "The search has not beaten a forest with its defaults beyond noise: it has val_rmse" in said
    )  # of three folds


def test_diverged_trial_is_finished_and_tagged_but_never_best(study):
    """A model that diverges is an outcome, not an error; it has no test figures and is not chosen."""
    diverged = _diverged(study)
    assert _steady(study).info.run_id not in {run.info.run_id for run in diverged}
    assert diverged
    for run in diverged:
        assert run.info.status == "FINISHED"
        assert all(math.isfinite(value) for value in run.data.metrics.values())
        assert "test_rmse" not in run.data.metrics
        assert run.info.run_id != study.run.data.tags["sysmetrics.best_trial_run_id"]


def test_study_says_what_came_out(study):
    """In its own metrics, so that an unfolded row in the UI's table needs no child; its tags name the best trial.

    It names the table that it was trained on, and where that comes from.
    """
    best, tags, metrics = _best(study), study.run.data.tags, study.run.data.metrics
    assert tags["sysmetrics.best_trial_run_id"] == best.info.run_id
    assert set(metrics) >= SUMMARY
    assert metrics["best_val_rmse"] == best.data.metrics["val_rmse"] < metrics["baseline_val_rmse"] < 0.9
    assert (metrics["trials"], metrics["stopped"], metrics["failed"]) == (8, 0, 0)
    assert metrics["diverged"] == len(_diverged(study))
    assert metrics["search_time_s"] < metrics["elapsed_s"] < study.command.seconds
    (given,) = study.run.inputs.dataset_inputs
    assert given.dataset.name == "red_wine"
    assert [tag.value for tag in given.tags if tag.key == "mlflow.data.context"] == ["training"]
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
        assert row["trial_id"] == run.data.tags["sysmetrics.trial_id"]
        assert row["status"] == run.info.status
        assert str(row["diverged"]).lower() == run.data.tags["sysmetrics.diverged"]
        assert {name: str(row[name]) for name in PARAMS} == {name: run.data.params[name] for name in PARAMS}
        assert str(row["number"]) == run.data.tags["sysmetrics.number"]
        about = {"trial_id", "run_id", "status", "number", "repeat", "diverged", *run.data.params}
        figures = {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}
        assert {name: value for name, value in row.items() if name not in about} == pytest.approx(figures)


def test_page_of_a_study_shows_the_columns_that_matter(study):
    """In a sentence, a figure and a table, whose numbers are those of the table among its artifacts."""
    page, strongest = study.run.data.tags["mlflow.note.content"], study.rows("importance.json")
    assert [row["importance"] for row in strongest] == sorted((row["importance"] for row in strongest), reverse=True)
    assert len(strongest) == 10
    assert f"In this model, shuffled `{strongest[0]['column']}` makes `rmse` worse by 0." in page
    assert f"![importance](get-artifact?path=figures%2Fimportance.png&run_uuid={study.run.info.run_id})" in page
    assert [each.path for each in study.client.list_artifacts(study.run.info.run_id, "figures")] == [
        "figures/importance.png"
    ]
    assert f"\n| {strongest[0]['column']} | 0." in page
    assert "A leak?" not in page + study.command.stdout


def test_study_says_what_its_model_will_reach_on_other_rows(study):
    """As figures of the study and of the model, too; a report that reads them says the same."""
    figures, page = study.run.data.metrics, study.run.data.tags["mlflow.note.content"]
    low, expected, high = (figures[f"test_rmse{end}"] for end in ("_low", "", "_high"))
    assert low < expected < high
    (model_id,) = (model.model_id for model in study.run.outputs.model_outputs)
    of_model = {metric.key: metric.value for metric in study.client.get_logged_model(model_id).metrics}
    assert of_model.items() >= {name: value for name, value in figures.items() if "test_rmse" in name}.items()
    beside_forest, costs, first, *_ = decision.answer(read(study.client, [study.run])).sentences
    assert page.startswith(beside_forest)
    assert costs.startswith("The forest takes ")
    assert first in page
    assert re.search(r"on other rows like these expect rmse 0\.\d+ \(0\.\d+ to 0\.\d+\)", first)
    assert "val_rmse" not in first


def test_study_has_curves_of_the_best_score_and_of_what_it_has_spent(study):
    """A point as each trial ends."""
    points = {
        name: sorted(study.client.get_metric_history(study.run.info.run_id, name), key=lambda point: point.step)
        for name in ("best_so_far", "search_cpu_seconds")
    }
    best, spent = ([point.value for point in each] for each in points.values())
    assert best == sorted(best, reverse=True)
    assert best[-1] == pytest.approx(study.run.data.metrics["best_val_rmse"])
    assert len(spent) == len(study.trials)
    assert spent[-1] == pytest.approx(sum(run.data.metrics["cpu_seconds"] for run in study.trials))


def test_best_model_predicts_from_raw_columns_and_is_registered_where_that_is_asked_for(study):
    """As the candidate of that name, which the output says."""
    check_logged_model(study)
    version = study.client.get_model_version_by_alias("red wine", "candidate")
    assert version.run_id == study.run.info.run_id
    assert version.tags["best_val_rmse"] == f"{study.run.data.metrics['best_val_rmse']:.6g}"
    says = f"\nRegistered as version {version.version} of red wine: models:/red wine@candidate\n"
    assert says in study.command.stdout


def test_output_says_what_is_searched_how_far_it_is_and_what_became_of_all_trials(study):
    """In counts that add up, with what those that diverged have in common, and nothing of Ray's or Python's own."""
    diverged = len(_diverged(study))
    assert re.search(r"^Search: 8 trials of 3 folds on 2 CPU cores, about .*\d s$", study.command.stdout, re.M)
    assert re.search(r"^8/8 trials, best val_rmse 0\.\d{4} \(.*\), .*\d s elapsed$", study.command.stdout, re.M)
    says = rf"^8 trials: {8 - diverged} ran to the end, {diverged} diverged \(all with learning_rate .*\)\.$"
    assert re.search(says, study.command.stdout, re.M)
    assert "\n15 % of the rows are exact copies of others, by which" in study.command.stdout
    assert study.command.stdout.count("starting the processes") <= 1
    for text in ("Traceback", "Warning", "WARNING", "(raylet)", "pid="):
        assert text not in study.command.stdout + study.command.stderr
