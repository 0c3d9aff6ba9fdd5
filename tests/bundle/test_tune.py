"""A study from the command line to its last run in MLflow."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from statistics import fmean
from urllib.parse import unquote

import pytest
from commands import STUDY, Study, copy_store, in_use
from logged_models import check_logged_model
from mlflow.entities import Run

from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.tags import HOST_PREFIX

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
PARAMS = ("algorithm", "batch_size", "learning_rate", "alpha", "dataset", "folds", "seed", "max_steps")
TAGS = (
    "mlflow.parentRunId",
    "sysmetrics.kind",
    "sysmetrics.trial_id",
    "sysmetrics.node",
    "sysmetrics.pid",
    "sysmetrics.memory_definition",
)
VARIED = ("batch_size", "learning_rate")
REPORTS = list(range(50, 2001, 50))
SUMMARY = {
    "best_val_rmse",
    "test_rmse",
    "test_loss",
    *(f"refit_{name}" for name in ("training_time_s", "cpu_seconds", "memory_growth_mb", "latency_ms")),
    "trials",
    "stopped",
    "failed",
    "restarts",
    "diverged",
    "converged",
    "elapsed_s",
    "search_time_s",
    "forecast_time_s",
    "forecast_error_percent",
}
NETWORK = "sklearn.neural_network.MLPClassifier"
MIXTURE = {
    "dataset": "diabetes",
    "max_rows": "500",
    "algorithm": f"logistic,{NETWORK}",
    "space": '{"batch_size": 32, "hidden_layer_sizes": [[4], [8, 4]], "activation": ["relu", "tanh"], "alpha": 0.01}',
    "search": "random",
    "max_trials": "5",  # of eight
    "folds": "3",
    "max_steps": "200",
    "cpus": "2",
}
# At equal epochs a batch of two rows takes a hundred times as long as one of 512.
LIMITED = {
    "space": "{batch_size: [512, 2], learning_rate: [0.01, 0.001], alpha: [0.001, 0.01]}",
    "folds": "3",
    "max_steps": "none",
    "max_epochs": "800",
    "time_limit_s": "15",
    "cpus": "2",
    "report_every": "100",  # so that the long ones have a point by then
    "seed": "34",  # in whose order the short trials come first
}


@pytest.fixture(autouse=True)
def _in_the_store(study: Study) -> Iterator[None]:
    with in_use(study.folder):
        yield


@pytest.fixture(scope="module")
def mixture(study: Study, run_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A random search among a built-in algorithm and one of the user's choice, on a part of the rows."""
    return run_study(copy_store(study.folder, tmp_path_factory.mktemp("mixture")), **MIXTURE)


@pytest.fixture(scope="module")
def limited(study: Study, run_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study whose time is up after its short trials and before its long ones, of which two run at a time."""
    return run_study(copy_store(study.folder, tmp_path_factory.mktemp("limited")), **LIMITED)


def _steady(study: Study) -> Run:
    return study.trial(batch_size="2", learning_rate="0.001")


def _diverged(study: Study) -> list[Run]:
    return [run for run in study.trials if run.data.tags["sysmetrics.diverged"] == "true"]


def _best(study: Study) -> Run:
    sound = [run for run in study.trials if run.data.tags["sysmetrics.diverged"] == "false"]
    return min(sound, key=lambda run: (run.data.metrics["val_rmse"], run.data.metrics["training_time_s"]))


def _figures(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}


def test_command_leaves_a_finished_study_with_a_child_per_trial_and_one_for_its_data(study: Study) -> None:
    """`mlflow run` ends with 0, and the run that it made is the study; no worker starts a run outside of it.

    Eight configurations make eight trials, each tried once. No file is left in the project's folder; the store is where
    the user stands.
    """
    assert (study.command.exit_code, study.run.info.status) == (0, "FINISHED")
    assert study.run.info.run_name == "tune red_wine"
    assert study.run.data.params.items() >= {name: shlex.quote(text) for name, text in STUDY.items()}.items()
    tried = {(run.data.params["batch_size"], run.data.params["learning_rate"]) for run in study.trials}
    assert tried == set(product(["2", "256"], ["0.1", "0.01", "0.003", "0.001"]))
    assert [run.info.status for run in (*study.trials, *study.prepares)] == ["FINISHED"] * 9
    assert study.run.data.tags["sysmetrics.prepare_run_id"] == study.prepares[0].info.run_id
    kinds = Counter(run.data.tags.get("sysmetrics.kind") for run in study.client.search_runs(["0"]))
    assert kinds == {"study": 1, "prepare": 1, "trial": 8}
    assert study.written == set()
    assert (study.folder / "mlruns").is_dir()


def test_trial_has_params_and_tags(study: Study) -> None:
    """What was tried, and where it ran, stands in the trial's run: the costs of two machines can be told apart."""
    trial = _steady(study)
    assert set(PARAMS) <= set(trial.data.params)
    assert set(TAGS) <= set(trial.data.tags)
    assert trial.data.params["dataset"] == "red_wine"
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
def test_trial_that_ran_to_its_end_has_each_metric_of_the_contract(study: Study, name: str, steps: list[int]) -> None:
    """Curves over the training step, every `report_every` steps; other figures once, at step 0: the UI draws a bar."""
    points = study.client.get_metric_history(_steady(study).info.run_id, name)
    assert sorted(point.step for point in points) == steps
    assert all(math.isfinite(point.value) for point in points)


@pytest.mark.parametrize("name", SERIES)
def test_system_series_goes_on_over_increasing_steps(study: Study, name: str) -> None:
    """The thread's series has several points, each at a later time and a larger sample number: a line in the UI."""
    points = study.client.get_metric_history(_steady(study).info.run_id, name)
    places = [(point.timestamp, point.step) for point in points]
    assert len(places) > 1
    assert places == sorted(places)
    assert len({step for _, step in places}) == len(places)


def test_figures_of_cost_fit_together(study: Study) -> None:
    """Growth is part of the peak, the series never exceeds it, and training is part of the trial's time."""
    trial = _steady(study)
    figures = trial.data.metrics
    assert 0 <= figures["memory_growth_mb"] < figures["peak_memory_mb"]
    during = study.client.get_metric_history(trial.info.run_id, SERIES[2])[:-1]
    assert max(point.value for point in during) <= figures["peak_memory_mb"] + 1e-6
    assert max(study.values(trial, "memory_mb").values()) <= figures["peak_memory_mb"] + 1e-6
    assert 0 <= figures["model_memory_mb"] < 1
    assert figures["mean_cpu_percent"] == pytest.approx(100 * figures["cpu_seconds"] / figures["elapsed_s"])
    assert figures["steps"] == 2000
    assert 3 * figures["training_time_s"] < figures["elapsed_s"]
    assert figures["mean_step_time_ms"] * 2000 == pytest.approx(figures["training_time_s"] * 1000)


def test_diverged_trial_is_finished_and_tagged_but_never_best(study: Study) -> None:
    """A model that diverges is an outcome, not an error; it has no test figures and is not chosen."""
    diverged = _diverged(study)
    assert _steady(study).info.run_id not in {run.info.run_id for run in diverged}
    assert diverged
    for run in diverged:
        assert run.info.status == "FINISHED"
        assert all(math.isfinite(value) for value in run.data.metrics.values())
        assert "test_rmse" not in run.data.metrics
        assert run.info.run_id != study.run.data.tags["sysmetrics.best_trial_run_id"]


def test_study_names_its_best_trial(study: Study) -> None:
    """The ids and the parameters of the trial with the lowest validation RMSE are tags of the study."""
    best, tags = _best(study), study.run.data.tags
    assert tags["sysmetrics.best_trial_run_id"] == best.info.run_id
    assert tags["sysmetrics.best_trial_id"] == best.data.tags["sysmetrics.trial_id"]
    for name in ("algorithm", "batch_size", "learning_rate", "alpha"):
        assert tags[f"sysmetrics.best_{name}"] == best.data.params[name]


def test_study_has_summary_metrics(study: Study) -> None:
    """Its own metrics say what came out: an unfolded row in the UI's table needs no child to be read."""
    metrics = study.run.data.metrics
    assert set(metrics) >= SUMMARY
    assert metrics["best_val_rmse"] == _best(study).data.metrics["val_rmse"]
    assert (metrics["trials"], metrics["stopped"], metrics["failed"]) == (8, 0, 0)
    assert metrics["diverged"] == len(_diverged(study))
    assert metrics["search_time_s"] < metrics["elapsed_s"] < study.command.seconds


def test_study_has_its_dataset_as_input(study: Study) -> None:
    """The study's run names the table it was trained on, and where that comes from."""
    (given,) = study.run.inputs.dataset_inputs
    assert given.dataset.name == "red_wine"
    assert "openml.org/d/44972" in given.dataset.source
    assert [tag.value for tag in given.tags if tag.key == "mlflow.data.context"] == ["training"]


def test_trials_table_agrees_with_the_trials_runs(study: Study) -> None:
    """Each row of trials.json holds the parameters and every figure of the run that it names, to the last digit."""
    rows = {row["run_id"]: row for row in study.rows("trials.json")}
    assert set(rows) == {run.info.run_id for run in study.trials}
    for run in study.trials:
        row = rows[run.info.run_id]
        assert row["trial_id"] == run.data.tags["sysmetrics.trial_id"]
        assert row["status"] == run.info.status
        assert str(row["diverged"]).lower() == run.data.tags["sysmetrics.diverged"]
        assert {name: str(row[name]) for name in PARAMS} == {name: run.data.params[name] for name in PARAMS}
        assert str(row["place"]) == run.data.tags["sysmetrics.place"]
        assert row["converged"] is False
        about = {"trial_id", "run_id", "status", "place", "repeat", "diverged", "converged", *run.data.params}
        assert {name: value for name, value in row.items() if name not in about} == pytest.approx(_figures(run))


def test_folds_table_agrees_with_the_trials_runs(study: Study) -> None:
    """A sound trial has a row for each fold, and their means are its run's figures; a diverged one has none."""
    rows = study.rows("folds.json")
    for run in study.trials:
        own = [row for row in rows if row["trial_id"] == run.data.tags["sysmetrics.trial_id"]]
        if run in _diverged(study):
            assert own == []
            continue
        assert [row["fold"] for row in own] == [0, 1, 2]
        for name in ("val_loss", "val_rmse", "test_loss", "test_rmse", "training_time_s"):
            assert fmean(row[name] for row in own) == pytest.approx(run.data.metrics[name])


def test_description_links_to_what_to_open_next(study: Study) -> None:
    """The study's page links to its views, which the experiment has, the comparison, and the best trial."""
    text = study.run.data.tags["mlflow.note.content"]
    links = {words: unquote(link) for words, link in re.findall(r"\[([^\]]*)\]\((#[^)]*)\)", text)}
    score, table, training, studies, best, process, compared = links.values()
    tags = study.client.get_experiment("0").tags
    for link, shown in ((score, "CHART"), (table, "TABLE"), (training, "CHART"), (studies, "TABLE")):
        view = re.search(rf"&viewStateShareKey=([^&]*)&compareRunsMode={shown}$", link)
        assert view
        assert f"mlflow.sharedViewState.{view[1]}" in tags
    assert compared.startswith("#/compare-runs?")
    assert _best(study).info.run_id in compared
    assert f"/{_best(study).info.run_id}/overview" in best
    assert f"/{_best(study).info.run_id}/system-metrics" in process
    assert text.startswith(f"**Take {', '.join(f'{name}={_best(study).data.params[name]}' for name in VARIED)}**")
    assert f"val_rmse {_best(study).data.metrics['val_rmse']:.4g}" in text


def test_logged_model_predicts_from_raw_columns(study: Study) -> None:
    """The best configuration, refitted."""
    check_logged_model(study)


def test_best_model_is_registered_where_that_is_asked_for(study: Study) -> None:
    """As the candidate of that name, which the output says."""
    version = study.client.get_model_version_by_alias("red wine", "candidate")
    assert version.run_id == study.run.info.run_id
    assert version.tags["best_val_rmse"] == f"{study.run.data.metrics['best_val_rmse']:.6g}"
    assert (
        f"\nRegistered as version {version.version} of red wine: models:/red wine@candidate\n" in study.command.stdout
    )


def test_output_tells_the_forecast_and_the_progress(study: Study) -> None:
    """The user sees what is searched, how long it will take, and how far it has come."""
    assert re.search(r"^Search: 8 trials of 3 folds on 2 CPU cores, about .*\d s$", study.command.stdout, re.M)
    assert re.search(r"^8/8 trials, best val_rmse 0\.\d{4}, .*\d s elapsed$", study.command.stdout, re.M)


def test_output_ends_with_the_best_trials_and_how_to_see_all(study: Study) -> None:
    """The closing table starts with the best trial; the server's command and the link to the charts follow it."""
    output, best = study.command.stdout, _best(study)
    header, first = re.search(r"^ +(.* val_rmse .*)\n(1 .*)$", output, re.M).groups()  # type: ignore[union-attr]
    for name in VARIED:
        assert first.split()[1:][header.split().index(name)] == best.data.params[name]
    assert first.split()[1:][header.split().index("val_rmse")] == f"{best.data.metrics['val_rmse']:.4g}"
    assert f"  mlflow-sysmetrics ui --tracking-uri {study.uri}\n" in output
    charts = re.search(r"\]\((#[^)]*CHART)\)", study.run.data.tags["mlflow.note.content"])
    assert charts
    assert f"  http://127.0.0.1:5000/{charts[1]}\n" in output


def test_output_says_what_became_of_all_trials(study: Study) -> None:
    """In counts that add up, with what those that diverged have in common, and nothing of Ray's or Python's own."""
    diverged = len(_diverged(study))
    says = rf"^8 trials: {8 - diverged} ran to the end, {diverged} diverged \(all with learning_rate .*\)\.$"
    assert re.search(says, study.command.stdout, re.M)
    assert study.command.stdout.count("starting the processes") <= 1
    for text in ("Traceback", "Warning", "WARNING", "(raylet)", "pid="):
        assert text not in study.command.stdout + study.command.stderr


@pytest.mark.slow
def test_mixture_has_so_many_trials_of_all_algorithms_as_were_asked_for(mixture: Study) -> None:
    """A random search draws from both; no configuration comes twice, and each has the parameters of its algorithm."""
    assert [run.info.status for run in mixture.trials] == ["FINISHED"] * 5
    assert mixture.run.data.metrics["trials"] == 5
    assert {run.data.params["algorithm"] for run in mixture.trials} == {"logistic", NETWORK}
    shared = {"dataset", "target", "max_rows", "folds", "seed", "max_steps", "max_epochs", "report_every"}
    tried = []
    for run in mixture.trials:
        params = run.data.params
        own = {name: value for name, value in params.items() if name not in {*shared, "algorithm", "batch_size"}}
        if params["algorithm"] == NETWORK:
            assert own.keys() == {"hidden_layer_sizes", "activation", "alpha"}
            assert own["hidden_layer_sizes"] in {"[4]", "[8, 4]"}
        else:
            assert own.keys() == {"learning_rate", "alpha"}
        assert (params["max_rows"], params["batch_size"]) == ("500", "32")
        assert str(run.info.run_name).startswith(f"{params['algorithm'].split('.')[-1]} ")
        assert own not in tried
        tried.append(own)


@pytest.mark.slow
def test_mixture_is_in_one_table(mixture: Study) -> None:
    """Rows of trials.json have the hyperparameters of their own algorithm, as they were given, and every figure.

    They were trained on 70 % of 500 of the 768 rows, as was asked for.
    """
    rows = {row["run_id"]: row for row in mixture.rows("trials.json")}
    assert rows.keys() == {run.info.run_id for run in mixture.trials}
    for run in mixture.trials:
        row = rows[run.info.run_id]
        assert {name: str(row[name]) for name in run.data.params} == run.data.params
        assert ("learning_rate" in row) == (row["algorithm"] == "logistic")
        assert {name: row[name] for name in _figures(run)} == pytest.approx(_figures(run))
        assert run.data.metrics.keys() >= {name.replace("rmse", "accuracy") for name in (*CURVES, *ONE_OFF)}
    (prepare,) = mixture.prepares
    assert (prepare.data.metrics["rows"], prepare.data.metrics["train_rows"]) == (500, 350)
    assert "350 training and 150 test rows" in mixture.command.stdout


@pytest.mark.slow
@pytest.mark.alone
def test_study_ends_when_its_time_is_up_with_the_best_by_then(limited: Study) -> None:
    """FINISHED, with the best of the trials that had come to their end, refitted.

    Those that still ran are KILLED and say why; what was measured until then stays.
    """
    finished = [run for run in limited.trials if run.info.status == "FINISHED"]
    best = min(finished, key=lambda run: run.data.metrics["val_rmse"])
    assert limited.run.info.status == "FINISHED"
    assert limited.run.data.tags["sysmetrics.best_trial_run_id"] == best.info.run_id
    assert limited.run.data.metrics["best_val_rmse"] == best.data.metrics["val_rmse"]
    assert limited.run.data.metrics["test_rmse"] < 0.8
    assert limited.run.data.metrics["search_time_s"] < 15 + 5
    assert {run.info.status for run in limited.client.search_runs(["0"])} == {"FINISHED", "KILLED"}
    killed = [run for run in limited.trials if run.info.status == "KILLED"]
    assert limited.run.data.metrics["stopped"] == len(killed) == 2
    for run in killed:
        assert run.data.params["batch_size"] == "2"
        assert run.data.tags["sysmetrics.stop_reason"] == "time_limit_s=15 of the study"
        assert run.data.metrics["val_rmse"] > 0
        assert 0 < run.data.metrics["elapsed_s"] < 20  # and what it had cost
    assert [run for run in finished if "sysmetrics.stop_reason" in run.data.tags] == []


@pytest.mark.slow
@pytest.mark.alone
def test_study_says_how_many_trials_its_time_was_enough_for(limited: Study) -> None:
    """On the terminal, where the limit is announced too, and on the study's page."""
    output = limited.command.stdout
    assert re.search(r"^Search: 8 trials of 3 folds on 2 CPU cores, about .*, at most 15 s$", output, re.M)
    says = "8 trials: 4 ran to the end, 2 cut off by time_limit_s=15, 2 not started."
    assert f"\n{says}\n" in output
    assert f"\n- {says}\n" in limited.run.data.tags["mlflow.note.content"]
    assert "forecast_error_percent" not in limited.run.data.metrics
    for text in ("Traceback", "Warning", "WARNING", "Reached timeout"):
        assert text not in output + limited.command.stderr
