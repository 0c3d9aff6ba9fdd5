"""The Ray Tune callback: real experiments with trials of every kind."""

import inspect
import math
import pickle
import time
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
from cases import cases
from commands import runs_of_kind, store_uri
from mlflow import MlflowClient
from ray import cloudpickle, tune
from ray.tune.logger.mlflow import MLflowLoggerCallback
from tune_sweeps import tuner

from mlflow_sysmetrics.delivery.operations import Point
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY, SystemMetricsCallback, payload
from mlflow_sysmetrics.ray_tune.results import points_of

CASES = ("ends", "stopped", "again", "raises")
NOWHERE = "http://127.0.0.1:9"  # nobody listens there: the store refuses at once


def _trainable(begun):
    """A trainable of four kinds. It is made in a function so that the workers need not import this module."""

    class Cases(tune.Trainable):
        def setup(self, config):
            self.case, self.kept = config["case"], b""
            self.is_second = (begun / self.case).exists()
            (begun / self.case).touch()
            if self.case == "raises" and self.is_second:
                raise ValueError("cannot be set up")

        def reset_config(self, new_config):
            self.setup(new_config)
            return True

        def step(self):
            number = self.training_iteration + 1
            if self.case == "again":
                if not self.is_second and number == 3:
                    raise RuntimeError("lost")
                self.kept = b"x" * (100_000_000 if number == 2 and not self.is_second else 1_000_000)
                time.sleep(0.5)  # for some readings
                own = {"loss": number + 10.0 * self.is_second, "same": 1.0, "write_mb": -1.0, "gone": math.nan}
                return {**own, "done": number == 3}
            if self.case == "raises" and number == 2:
                raise RuntimeError("broken in step 2")
            # Two points a result, with times and steps of their own that no clock or counter of Tune's has.
            points = [Point("loss", number + half, 1_000_000 * number, 100 * number + half) for half in (0, 1)]
            ended = self.case == "ends" and number == 3
            status = "FINISHED" if ended else None
            carried = payload(points, status=status, summary={"steps": number})
            return {"done": ended, "number": number, **carried}

    return Cases


class Experiment:
    """What a Tune experiment left: the runs of its trials, by case, and the run around them."""

    def __init__(self, client, callback):
        self.client, self.callback = client, callback
        (self.study,) = runs_of_kind(client, "study")
        trials = runs_of_kind(client, "trial")
        self.runs = {run.data.params["case"]: run for run in trials}
        assert len(self.runs) == len(trials)

    def history(self, case, metric):
        """A trial's values of a metric, each with its time and step."""
        found = self.client.get_metric_history(self.runs[case].info.run_id, metric)
        return sorted(((each.value, each.timestamp, each.step) for each in found), key=lambda point: point[2])

    def own_metrics(self, case):
        """What the trainable itself has reported."""
        metrics = self.runs[case].data.metrics
        return {name: value for name, value in metrics.items() if not name.startswith(("system/", *SUMMARY))}


@pytest.fixture(scope="module")
def experiment(module_store, local_ray, tmp_path_factory):
    """One with a trial of each kind."""
    folder = tmp_path_factory.mktemp("tune")
    client = MlflowClient(store_uri(module_store))
    callback = SystemMetricsCallback(
        client.tracking_uri,
        experiment_id="0",
        tags=lambda trial: {"mlflow.user": "somebody", "mlflow.runName": f"case {trial.config['case']}"},
    )
    tune.Tuner(
        tune.with_resources(_trainable(folder), {"cpu": 1}),
        param_space={"case": tune.grid_search(list(CASES)), "deep": {"alpha": 0.5}},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            callbacks=[callback],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=1),
            stop=lambda trial_id, result: result["config"]["case"] == "stopped" and result["number"] == 2,
            verbose=0,
        ),
    ).fit()
    return Experiment(client, callback)


def test_each_trial_has_a_run_nested_under_the_study(experiment):
    """With the name that a tag may set, its parameters, flat, and tags."""
    assert experiment.runs.keys() == set(CASES)
    for case, run in experiment.runs.items():
        assert run.info.run_name == f"case {case}"
        assert run.data.params == {"case": case, "deep/alpha": "0.5"}
        assert run.data.tags["mlflow.user"] == "somebody"
        assert run.data.tags["mlflow.parentRunId"] == experiment.study.info.run_id
        assert run.data.tags["trial_name"].startswith("Cases_")
        assert experiment.callback.run_id(run.data.tags["sysmetrics.trial_id"]) == run.info.run_id


@cases("case", ["ends", "stopped", "again"])
def test_trial_of_a_moment_has_its_series_and_its_summary(experiment, case):
    """What is read last comes with the answer at its end: series, and values once, at step 0. So do its host's tags."""
    run = experiment.runs[case].data
    assert run.tags.items() >= Host().tags().items()
    assert run.metrics.keys() >= {"system/process_memory_mb", "system/process_memory_mb_max"}
    for name in ("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb"):
        ((value, _, step),) = experiment.history(case, name)
        assert (value >= 0, step) == (True, 0)


def test_trial_that_begins_again_shows_both_attempts(experiment):
    """The values of the first stay beside those of the second, but not where they are equal. Its summary is of both."""
    both = sorted((step, value) for value, _, step in experiment.history("again", "loss"))
    assert both == [(1, 1.0), (1, 11.0), (2, 2.0), (2, 12.0), (3, 13.0)]
    assert [step for _, _, step in experiment.history("again", "same")] == [1, 2, 3]
    run = experiment.runs["again"].data
    assert run.metrics["memory_growth_mb"] > 90
    assert run.metrics["elapsed_s"] > 2  # five steps
    assert run.tags["sysmetrics.retried_after"] == "RuntimeError: lost"


@cases(
    "case, status, tag",
    {
        "ends": ("ends", "FINISHED", {}),
        "ends again": ("again", "FINISHED", {"not_finite": "gone is nan at step 1"}),
        "stopped": ("stopped", "KILLED", {"stop_reason": "Tune ended it at iteration 2"}),
        "fails again": ("raises", "FAILED", {"error": "ValueError: cannot be set up"}),
    },
)
def test_status_of_a_run_says_what_became_of_the_trial(experiment, case, status, tag):
    """It ended by itself, Tune ended it, or it failed again, now before its first step; a tag says why."""
    run = experiment.runs[case]
    assert (run.info.status, run.info.start_time <= run.info.end_time) == (status, True)
    tags = {name: run.data.tags.get(f"sysmetrics.{name}") for name in ("not_finite", "stop_reason", "error")}
    assert {name: text.rpartition("): ")[2] for name, text in tags.items() if text} == tag


def test_run_around_the_trials_counts_them(experiment):
    """In metrics."""
    study = experiment.study
    assert study.info.status == "FINISHED"
    assert study.data.metrics.items() >= {"trials": 4, "stopped": 1, "failed": 1, "restarts": 2}.items()
    assert study.data.tags.items() >= Host().tags().items()


@cases("case, results", {"ends": 3, "stopped": 2, "raises": 1}.items())
def test_points_of_a_payload_keep_their_own_time_and_step(experiment, case, results):
    """All points of every result, also of a trial that then failed or was stopped, and the summary of the last one.

    This is at step 0. Nothing else is a metric.
    """
    assert experiment.history(case, "loss") == [
        (number + half, 1_000_000 * number, 100 * number + half) for number in range(1, results + 1) for half in (0, 1)
    ]
    assert experiment.own_metrics(case) == {"loss": results + 1.0, "steps": results}
    assert [(value, step) for value, _, step in experiment.history(case, "steps")] == [(results, 0)]


def test_plain_results_are_written_without_the_bookkeeping_of_ray(experiment):
    """One under the name of a value that is measured stays the trial's own."""
    assert experiment.own_metrics("again") == {"loss": 13.0, "same": 1.0}
    assert experiment.runs["again"].data.metrics["write_mb"] == -1.0
    assert experiment.runs["again"].data.metrics["read_mb"] >= 0


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
    sends = {PAYLOAD_KEY: {"points": [], "tags": {}, "status": "FINISHED", "summary": None}}
    results = tuner([mine, away, wrong], [{"steps": 1, "more": sends}, {"fails": 1}]).fit()
    assert (len(results), results.num_errors) == (2, 1)
    assert sum(NOWHERE in path.read_text() for path in journals.iterdir()) == 3
    for said in ("SystemMetricsCallback.log_trial_start", "the summary of a trial"):
        assert f"{said} failed; the program goes on" in caplog.text
    assert "for MLflow to take what is left; Ctrl-C leaves it on disk at once" in caplog.text
    experiment = store_in_use.get_experiment_by_name("mine")
    trials = store_in_use.search_runs([experiment.experiment_id], "tags.`sysmetrics.kind` = 'trial'")
    failed, ended = sorted(trials, key=lambda run: run.info.status)
    assert (failed.info.status, ended.info.status) == ("FAILED", "FINISHED")
    assert "sysmetrics.stop_reason" not in ended.data.tags
    assert ended.data.params == {"layers": "[8, 4]"}
    assert ended.data.tags.keys() >= {"mlflow.user", "mlflow.source.name", "mlflow.source.type"}
    assert "error.txt" in [file.path for file in store_in_use.list_artifacts(failed.info.run_id)]


def test_trial_that_has_not_begun_does_not_begin_again(store_in_use):
    """Its setup failed, and Tune tries it once more."""
    callback = SystemMetricsCallback(run_name=lambda trial: "name")
    trial = SimpleNamespace(trial_id="t", config={}, experiment_dir_name="sweep", error_file=None)
    callback.setup()
    callback.on_trial_recover(0, [trial], trial)
    callback.on_experiment_end([trial])
    (study,) = runs_of_kind(store_in_use, "study")
    assert study.data.metrics["restarts"] == 0


def test_wrong_argument_is_refused_at_construction():
    """Not when the experiment ends, where it would cost what waits."""
    with pytest.raises(ValueError, match="close_timeout_s"):
        SystemMetricsCallback(close_timeout_s=math.nan)


def test_callback_is_one_of_rays_with_its_arguments():
    """Whoever looks for Ray's among the callbacks finds it, and can make it so."""
    ours, rays = (inspect.signature(kind).parameters for kind in (SystemMetricsCallback, MLflowLoggerCallback))
    assert issubclass(SystemMetricsCallback, MLflowLoggerCallback)
    assert {name: ours[name].default for name in rays} == {name: each.default for name, each in rays.items()}
    own = vars(SystemMetricsCallback)
    assert {name for name, hook in vars(MLflowLoggerCallback).items() if inspect.isfunction(hook)} <= own.keys()


def test_pickle_of_a_callback_holds_no_secret(monkeypatch, store_in_use):
    """Tune writes it to the driver's disk. A restored one has the login of MLflow's settings."""
    uri = "http://me:hush42@127.0.0.1:9"
    kept = cloudpickle.dumps(SystemMetricsCallback(uri, registry_uri=uri, tracking_token="token42"))
    assert b"hush42" not in kept
    assert b"token42" not in kept
    mlflow.set_tracking_uri("http://you:hush43@127.0.0.1:9")
    assert cloudpickle.loads(kept).tracking_uri == "http://you:hush43@127.0.0.1:9"


def test_callback_can_be_pickled_before_it_is_set_up_and_after_without_what_it_recorded(store_in_use):
    """Tune does so before each experiment. The next one has runs of its own."""
    callback = SystemMetricsCallback(experiment_id="0", run_name=lambda trial: "name")
    studies = set()
    for _ in range(2):
        copy = pickle.loads(cloudpickle.dumps(callback))
        assert (copy.experiment_id, copy.run_name(None), copy.get_state()) == ("0", "name", {})
        callback.setup()
        studies.add(callback.get_state()["study_id"])
        callback.on_experiment_end([])
    assert len(studies) == 2


@cases("at, step", [({}, 0), ({"training_iteration": 2}, 2), ({"training_iteration": 2, "timesteps_total": 640}, 640)])
def test_points_of_a_result_are_its_numbers_at_its_time_step(at, step):
    """Nested ones flat; or at Tune's number of the result. Names need not be text."""
    numbers = {"loss": 1, "array": np.array(0.5), "ok": np.bool_(True), 0: {"f1": 1.0}}
    points = points_of({**numbers, "many": np.ones(2), "note": "12345_0", **at})
    assert {point.name: point.step for point in points} == dict.fromkeys(["loss", "array", "ok", "0/f1"], step)
