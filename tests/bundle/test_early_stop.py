"""A study under limits from the command line to its last run in MLflow, beside the same study without limits."""

import re

import pytest
from cases import cases
from commands import copy_store, early_stop

pytestmark = pytest.mark.slow  # it has studies of its own
SEARCHED = ("algorithm", "batch_size", "learning_rate", "alpha")
# A forest is better, and takes ten times the CPU time of a linear model for a row.
SERVED = {
    "limits": "served_cpu_ms<=15",
    "algorithm": "linear,forest",
    "space": "{n_estimators: 500, max_features: 1.0, min_samples_leaf: 3, batch_size: 64, learning_rate: 0.01, "
    "alpha: 0.001}",
    "max_rows": "600",
    "folds": "3",
    "cpus": "1",
    "served": "on",
}


@pytest.fixture(scope="module")
def early(under_limits):
    """The study that stops what breaks the limit on the training time."""
    return under_limits.study


@pytest.fixture(scope="module")
def full(under_limits):
    """The same trials, all to their end."""
    return under_limits.full


def _tag(run, name):
    return str(run.data.tags[f"sysmetrics.{name}"])


def test_every_run_has_ended(early):
    """The study is FINISHED, whatever it stopped, and no run is left RUNNING."""
    assert early.run.info.run_name == "early_stop red_wine"
    assert early.run.info.status == "FINISHED"
    assert len(early.trials) == 6
    assert {run.info.status for run in early.client.search_runs(["0"])} == {"FINISHED", "KILLED"}


def test_trials_that_would_break_the_limit_are_killed_and_say_why(under_limits):
    """Each has the figure and its limit, how that was known, and at which step.

    Where steps took too unequal times for a forecast, a trial has crossed the limit.
    """
    stopped = under_limits.study.sound("2")
    for run in stopped:
        assert run.info.status == "KILLED"
        assert _tag(run, "stop_metric") == "training_time_s"
        assert _tag(run, "feasible") == "false"
    predicted = [run for run in stopped if _tag(run, "stop_how") == "predicted"]
    assert predicted
    for run in predicted:
        value, low, high = re.findall(r"[\d.e+-]+", _tag(run, "stop_prediction"))
        assert under_limits.limit_s < float(low) < float(value) < float(high)
        reason = _tag(run, "stop_reason")
        assert reason.startswith(f"training_time_s {value} > ")
        assert reason.endswith(f" (predicted, step {run.data.metrics['steps']:g})")


def test_trials_are_told_of_what_they_use_of_a_gpu_where_that_is_asked_for(early, full):
    """As a figure, and as series of the card and of the process; without the group there is none."""
    for run in early.sound("256"):
        assert run.data.metrics["peak_gpu_memory_mb"] == 3000
        assert set(early.values(run, "system/gpu_0_power_w").values()) == {250.5}
        assert set(early.values(run, "system/gpu_0_process_memory_mb").values()) == {3000}
    assert [name for run in full.trials for name in run.data.metrics if "gpu" in name] == []


@cases("unit, cost", [("cpu", "cpu_seconds"), ("wall", "elapsed_s")])
def test_study_has_metrics_of_its_budget(early, full, unit, cost):
    """What was spent is what its trials have used, and what was saved is what the full study's used beyond that."""
    metrics = early.run.data.metrics
    spent_s = sum(run.data.metrics[cost] for run in early.trials)
    saved_s = 0.0
    for run in early.sound("2"):
        same = full.trial(**{name: run.data.params[name] for name in SEARCHED})
        saved_s += same.data.metrics[cost] - run.data.metrics[cost]
    assert metrics[f"spent_{unit}_s"] == pytest.approx(spent_s)
    assert metrics[f"saved_{unit}_s"] == pytest.approx(saved_s)
    percent = 100 * saved_s / (spent_s + saved_s)
    assert metrics[f"saved_{unit}_percent"] == pytest.approx(percent)
    assert percent > 50


def test_study_counts_what_it_stopped_against_the_full_one(early, full):
    """In its metrics and in a table."""
    metrics = early.run.data.metrics
    assert (metrics["feasible"], metrics["stopped"]) == (3, 3)
    (row,) = early.rows("limits_saved.json")
    assert (row["trials"], row["counted_against"]) == (3, full.run.info.run_id)


def test_result_is_the_best_model_that_meets_the_limits_as_served(new_store, tmp_path):
    """No trial is stopped for them; figures are on the logged model, its trial's run and the study's."""
    served = early_stop(copy_store(new_store, tmp_path), **SERVED)
    assert served.command.exit_code == 0, served.command.stderr
    forest, linear = (served.trial(algorithm=name) for name in ("forest", "linear"))
    assert forest.info.status == "FINISHED"
    assert forest.data.metrics["val_rmse"] < linear.data.metrics["val_rmse"]
    assert linear.data.metrics["served_cpu_ms"] < 15 < forest.data.metrics["served_cpu_ms"]
    assert (_tag(forest, "feasible"), _tag(linear, "feasible")) == ("false", "true")
    assert _tag(served.run, "best_trial_run_id") == linear.info.run_id
    (model,) = served.run.outputs.model_outputs
    of_model = {metric.key: metric.value for metric in served.client.get_logged_model(model.model_id).metrics}
    for name in ("served_cpu_ms", "served_memory_mb"):
        assert linear.data.metrics[name] == served.run.data.metrics[name] == of_model[name] > 1
    page = served.run.data.tags["mlflow.note.content"]
    assert "the best within the limits of those that were served (2)" in page
    assert re.search(r"\*\*As served\*\* it .*takes \d+ MB and [\d.]+ ms of CPU a row", page)
