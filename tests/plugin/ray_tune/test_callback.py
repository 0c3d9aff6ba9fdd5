"""The Ray Tune callback: real experiments with trials of every kind."""

import inspect
import math
import pickle
from types import SimpleNamespace
from unittest.mock import MagicMock, Mock

import mlflow
import numpy as np
import pytest
from cases import cases, tables
from commands import in_use, runs_of_kind
from ray import cloudpickle, tune
from ray.tune.logger.mlflow import MLflowLoggerCallback
from tune_sweeps import tuner

from mlflow_sysmetrics.delivery import Point
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback, payload
from mlflow_sysmetrics.ray_tune.callback import trial_name
from mlflow_sysmetrics.ray_tune.results import points_of
from mlflow_sysmetrics.recording.host import Host

CASES = tables(__file__, "cases.yaml")
NOWHERE = "http://127.0.0.1:9"  # nobody listens there: the store refuses at once


def own_points(result):
    """Two, with times and steps of their own that no clock or counter of Tune's has."""
    return [Point("loss", result + half, 1_000_000 * result, 100 * result + half) for half in (0, 1)]


def carried(result, status=None):
    return payload(own_points(result), status=status, summary={"steps": result})


@pytest.fixture(scope="module")
def experiment(module_store, local_ray, tmp_path_factory):
    """One with a trial of each kind: the runs of its trials, by case, and the run around them."""
    once = str(tmp_path_factory.mktemp("tune") / "once")
    again = {"fails": 3, "once": once, "step_s": 0.5, "losses": {2: math.nan}, "more": {"write_mb": -1.0}}
    trials = {
        "raises": {"fails": "setup"},
        "ends": {"steps": 2, "more": {1: carried(1), 2: carried(2, "FINISHED")}},
        "stopped": {"steps": 9, "more": {1: carried(1), 2: carried(2), 3: carried(3)}},
        "again": again,
    }
    with in_use(module_store) as client:
        callback = SystemMetricsCallback(
            experiment_id="0",
            tags=lambda trial: {"mlflow.user": "somebody", "mlflow.runName": f"case {trial.config['case']['name']}"},
        )
        tuner(
            [callback],
            [{"name": name, **case} for name, case in trials.items()],
            tuning={"reuse_actors": True},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=1),
            stop={"training_iteration": 3},
        ).fit()
        runs = {run.data.params["case/name"]: run for run in runs_of_kind(client, "trial")}
        (study,) = runs_of_kind(client, "study")
        return SimpleNamespace(client=client, callback=callback, study=study, runs=runs)


def history(experiment, case, metric):
    """The points of a metric of a trial."""
    run_id = experiment.runs[case].info.run_id
    found = experiment.client.get_metric_history(run_id, metric)
    points = [Point(metric, each.value, each.timestamp, each.step) for each in found]
    return sorted(points, key=lambda point: point.step)


def own_metrics(experiment, case):
    """What the trainable itself has reported."""
    metrics = experiment.runs[case].data.metrics
    return {name: value for name, value in metrics.items() if not name.startswith(("system/", *SUMMARY))}


def test_each_trial_has_a_run_nested_under_the_study(experiment):
    """With the name that a tag may set, and tags."""
    assert len(experiment.runs) == 4
    for case, run in experiment.runs.items():
        tags = run.data.tags
        assert run.info.run_name == f"case {case}"
        assert tags["mlflow.user"] == "somebody"
        assert tags["mlflow.parentRunId"] == experiment.study.info.run_id
        assert tags["trial_name"].startswith("Steps_")
        assert experiment.callback.run_id(tags["sysmetrics.trial_id"]) == run.info.run_id


@cases("case", ["ends", "stopped", "again"])
def test_trial_of_a_moment_has_its_series_and_its_summary(experiment, case):
    """What is read last comes with the answer at its end: series, and values once, at step 0. So do its host's tags."""
    run = experiment.runs[case].data
    assert run.tags.items() >= Host().tags().items()
    assert run.metrics.keys() >= {"system/process_memory_mb", "peak_memory_mb", "cpu_seconds"}
    (elapsed_s,) = history(experiment, case, "elapsed_s")
    assert elapsed_s.step == 0


def test_trial_that_begins_again_shows_both_attempts(experiment):
    """In its curves and in its summary."""
    steps = [point.step for point in history(experiment, "again", "loss")]
    assert {*steps} == {1, 3}
    assert len(steps) > 2
    run = experiment.runs["again"].data
    assert run.metrics["elapsed_s"] > 2.5  # six steps
    assert run.tags["sysmetrics.retried_after"] == "RuntimeError: broken"


@cases("case, status, tag, text", CASES["how trials end"])
def test_status_of_a_run_says_what_became_of_the_trial(experiment, case, status, tag, text):
    """It ended by itself, Tune ended it, or it failed, here before its first step; a tag says why."""
    run = experiment.runs[case]
    assert run.info.status == status
    assert run.data.tags.get(f"sysmetrics.{tag}", "").endswith(text)


def test_run_around_the_trials_counts_them(experiment):
    """In metrics. Who tries its setup once more does not begin again."""
    study = experiment.study
    assert study.info.status == "FINISHED"
    assert study.data.metrics.items() >= {"trials": 4, "stopped": 1, "failed": 1, "restarts": 1}.items()
    assert study.data.tags.items() >= Host().tags().items()


@cases("case, results", {"ends": 2, "stopped": 3}.items())
def test_points_of_a_payload_keep_their_own_time_and_step(experiment, case, results):
    """All points of every result, and the summary of the last one, at step 0. Nothing else is a metric."""
    points = [point for result in range(results) for point in own_points(result + 1)]
    assert history(experiment, case, "loss") == points
    assert own_metrics(experiment, case) == {"loss": results + 1, "steps": results}
    (steps,) = history(experiment, case, "steps")
    assert steps.step == 0


def test_plain_results_are_written_without_the_bookkeeping_of_ray(experiment):
    """One under the name of a value that is measured stays the trial's own."""
    assert own_metrics(experiment, "again") == {"loss": pytest.approx(1 / 3)}
    metrics = experiment.runs["again"].data.metrics
    assert metrics["write_mb"] == -1.0
    assert metrics["read_mb"] >= 0


def test_store_that_is_away_or_a_mistake_ends_no_experiment(local_ray, store_in_use, journals, caplog):
    """What waits for a store is on disk. A callback beside them has all as it was asked for.

    Here one trial sends a summary that is none; it ends as it would.
    """
    mine = SystemMetricsCallback(
        experiment_name="mine",
        params=lambda trial: {"layers": [8, 4]},
        log_params_on_trial_end=True,
        save_artifact=True,
    )
    away = SystemMetricsCallback(NOWHERE, experiment_id="0", close_timeout_s=0.2)
    wrong = SystemMetricsCallback(experiment_id="0", run_name=lambda trial: str(1 / 0))
    sends = payload([], status="FINISHED")
    sends["sysmetrics"]["summary"] = None
    results = tuner([mine, away, wrong], [{"steps": 1, "more": sends}, {"fails": 1}]).fit()
    assert (len(results), results.num_errors) == (2, 1)
    assert sum(NOWHERE in path.read_text() for path in journals.iterdir()) == 3
    for failed in ("SystemMetricsCallback.log_trial_start", "the summary of a trial"):
        assert f"{failed} failed; the program goes on" in caplog.text
    experiment = store_in_use.get_experiment_by_name("mine")
    trials = store_in_use.search_runs([experiment.experiment_id], "tags.`sysmetrics.kind` = 'trial'")
    failed, ended = sorted(trials, key=lambda run: run.info.status)
    assert (failed.info.status, ended.info.status) == ("FAILED", "FINISHED")
    assert ended.data.params == {"layers": "[8, 4]"}
    assert "mlflow.source.name" in ended.data.tags
    assert "error.txt" in [file.path for file in store_in_use.list_artifacts(failed.info.run_id)]


@cases("params, name", CASES["names"])
def test_run_is_named_by_the_parameters_in_which_trials_differ(params, name):
    trial = MagicMock(evaluated_params=params)
    trial.__str__.return_value = "train_1"
    assert trial_name(trial) == name


def test_runs_end_with_the_script_where_tune_says_nothing(store_in_use, monkeypatch):
    """As at SIGTERM, by which Ray exits the interpreter."""
    at_exit = Mock()
    monkeypatch.setattr("atexit.register", at_exit)
    callback = SystemMetricsCallback()
    callback.setup()
    callback.close()
    at_exit.assert_any_call(callback.close)


def test_wrong_argument_is_refused_at_construction():
    """Not when the experiment ends, where it would cost what waits."""
    with pytest.raises(ValueError, match="close_timeout_s"):
        SystemMetricsCallback(close_timeout_s=math.nan)


def test_callback_is_one_of_rays_with_its_arguments():
    """Whoever looks for Ray's among the callbacks finds it, and can make it so."""
    assert issubclass(SystemMetricsCallback, MLflowLoggerCallback)
    ours = inspect.signature(SystemMetricsCallback).parameters
    for name, argument in inspect.signature(MLflowLoggerCallback).parameters.items():
        assert ours[name].default == argument.default


def test_pickle_of_a_callback_holds_no_secret(store_in_use):
    """Tune writes it to the driver's disk. A restored one has the login of MLflow's settings."""
    uri = "http://me:hush42@127.0.0.1:9"
    kept = cloudpickle.dumps(SystemMetricsCallback(uri, registry_uri=uri, tracking_token="hush42"))
    assert b"hush42" not in kept
    mlflow.set_tracking_uri("http://you:hush43@127.0.0.1:9")
    assert cloudpickle.loads(kept).tracking_uri == "http://you:hush43@127.0.0.1:9"


def test_callback_can_be_pickled_before_it_is_set_up_and_after_without_what_it_recorded(store_in_use):
    """Tune does so before each experiment. The next one has runs of its own."""
    callback = SystemMetricsCallback(experiment_id="0", run_name=lambda trial: "name")
    studies = set()
    for _ in range(2):
        copy = pickle.loads(cloudpickle.dumps(callback))
        assert (copy.run_name(None), copy.get_state()) == ("name", {})
        callback.setup()
        studies.add(callback.get_state()["study_id"])
        callback.on_experiment_end([])
    assert len(studies) == 2


@cases("at, step", [({}, 2), ({"timesteps_total": 640}, 640)])
def test_points_of_a_result_are_its_numbers_at_its_time_step(at, step):
    """Nested ones flat; or at Tune's number of the result. Names need not be text."""
    result = {"training_iteration": 2, "array": np.array(0.5), "many": np.ones(2), "note": "12345_0", 0: {"f1": 1.0}}
    points = points_of(result | at)
    assert {point.name: point.step for point in points} == {"array": step, "0/f1": step}
