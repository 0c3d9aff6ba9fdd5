"""The Ray Tune callback: one real experiment with trials of every kind, recorded by several callbacks at once."""

from __future__ import annotations

import inspect
import math
import os
import pickle
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_stack
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
from commands import runs_of_kind, store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from ray import cloudpickle, tune
from ray.tune.logger.mlflow import MLflowLoggerCallback
from tune_sweeps import tuner

from mlflow_sysmetrics.delivery.operations import Point
from mlflow_sysmetrics.delivery.writer import Writer
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.metrics import SUMMARY
from mlflow_sysmetrics.ray_tune import PAYLOAD_KEY, SystemMetricsCallback, destination, payload
from mlflow_sysmetrics.ray_tune.results import points_of
from mlflow_sysmetrics.tags import HOST_PREFIX

CASES = ("ends", "plain", "stopped", "again", "raises")
NOWHERE = "http://127.0.0.1:9"  # nobody listens there: the store refuses at once


def _trainable(begun):
    """A trainable of five kinds. It is made in a function so that the workers need not import this module."""

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
            if self.case == "plain":
                own = {"loss": 1.0 / number, "nested": {"depth": number}, "write_mb": -1.0, "gone": math.nan}
                arrays = {"accuracy": np.array(0.5), "ok": np.bool_(True), "by_class": np.ones(2)}
                return {**own, **arrays, "note": "12345_0", "done": number == 2}
            if self.case == "again":
                if not self.is_second and number == 3:
                    raise RuntimeError("lost")
                self.kept = b"x" * (100_000_000 if number == 2 and not self.is_second else 1_000_000)
                time.sleep(0.5)  # for some readings
                return {"loss": number + 10.0 * self.is_second, "same": 1.0, "done": number == 3}
            if self.case == "raises" and number == 2:
                raise RuntimeError("broken in step 2")
            # Two points a result, with times and steps of their own that no clock or counter of Tune's has.
            points = [Point("loss", number + half, 1_000_000 * number, 100 * number + half) for half in (0, 1)]
            ended = self.case == "ends" and number == 3
            status = "FINISHED" if ended else None
            carried = payload(points, tags={"seen": str(number)}, status=status, summary={"steps": number})
            return {"done": ended, "number": number, **carried}

    return Cases


@pytest.fixture(scope="module")
def hanging():
    """The address of a tracking server that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def client(module_store):
    """Of a store of this module's own; MLflow's client fails at the first refusal instead of trying for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.setenv("MLFLOW_SYSMETRICS_SPOOL", str(module_store / "spool"))
        client = MlflowClient(store_uri(module_store))
        for name in ("tuning", "own"):
            client.create_experiment(name, (module_store / "artifacts" / name).as_uri())
        yield client


@dataclass(frozen=True)
class Experiment:
    """What a Tune experiment left: the runs of one callback, and of another beside it, by case."""

    client: MlflowClient
    runs: dict[str, Run]
    others: dict[str, Run]
    study: Run
    callback: SystemMetricsCallback
    results: Any
    logged: str
    spool: str

    def history(self, case, metric):
        """A trial's values of a metric, each with its time and step."""
        found = self.client.get_metric_history(self.runs[case].info.run_id, metric)
        return sorted(((each.value, each.timestamp, each.step) for each in found), key=lambda point: point[2])


class Impatient(SystemMetricsCallback):
    """Asks its store for half a second only."""

    def setup(self, *args, **kwargs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(destination, "ANSWER_S", 0.5)
            super().setup(*args, **kwargs)


@pytest.fixture(scope="module")
def experiment(client, hanging, local_ray, tmp_path_factory):
    """One experiment with a trial of each kind: recorded twice, in a store that hangs and in one that is away."""
    folder = tmp_path_factory.mktemp("tune")
    of = {each.name: each.experiment_id for each in client.search_experiments()}
    parent = client.create_run(of["tuning"])
    callback = SystemMetricsCallback(
        client.tracking_uri,
        experiment_id=of["tuning"],
        parent_run_id=parent.info.run_id,
        tags=lambda trial: {"mlflow.user": "somebody", "mlflow.runName": f"case {trial.config['case']}"},
    )
    beside = [
        SystemMetricsCallback(
            client.tracking_uri,
            experiment_name="own",
            params=lambda trial: {"case": trial.config["case"], "layers": [8, 4]},
            log_params_on_trial_end=True,
            save_artifact=True,
        ),
        Impatient(hanging, experiment_id="0", close_timeout_s=0.2),
        SystemMetricsCallback(NOWHERE, experiment_id="0"),
        SystemMetricsCallback(client.tracking_uri, experiment_id="0", run_name=lambda trial: str(1 / 0)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        logged = []

        def interrupt_waiting(text, *words):
            logged.append(text)
            if text.startswith("waiting up to") and words > (10.0,):  # seconds: for the store that refuses
                threading.Thread(target=interrupt_in, args=[Writer._wait.__code__]).start()

        patch.setattr("mlflow_sysmetrics.ray_tune.runs.logger.warning", interrupt_waiting)
        patch.setattr(
            "mlflow_sysmetrics.guard.logger.warning", lambda text, *words, **more: logged.append(text % words)
        )
        results = tune.Tuner(
            tune.with_resources(_trainable(folder), {"cpu": 1}),
            param_space={"case": tune.grid_search(list(CASES)), "deep": {"alpha": 0.5}},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(folder),
                callbacks=[callback, *beside],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=1),
                stop=lambda trial_id, result: result["config"]["case"] == "stopped" and result["number"] == 2,
                verbose=0,
            ),
        ).fit()
    found = client.search_runs([of["tuning"]], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    own = client.search_runs([of["own"]])
    runs, others = ({run.data.params["case"]: run for run in each if run.data.params} for each in (found, own))
    assert len(runs) == len(found)
    (study,) = (run for run in own if run.data.tags["sysmetrics.kind"] == "study")
    spool = os.environ["MLFLOW_SYSMETRICS_SPOOL"]
    return Experiment(client, runs, others, study, callback, results, "\n".join(logged), spool)


def interrupt_in(code):
    """Press Ctrl-C once the main thread runs this."""
    main = threading.main_thread().ident

    def is_there():
        return any(frame.f_code is code for frame, _ in walk_stack(sys._current_frames()[main]))

    wait_until(is_there, 60.0, "the wait for the store", every_s=0.01)
    signal.pthread_kill(main, signal.SIGINT)


def _own_metrics(run):
    """What the trainable itself has reported."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith(("system/", *SUMMARY))}


def test_each_trial_has_a_run_nested_under_the_parent(experiment):
    """With its name, which a tag may set; by default its parameters that vary. Its parameters, flat, and tags."""
    assert set(experiment.runs) == set(CASES)
    for case, run in experiment.runs.items():
        assert run.info.run_name == f"case {case}"
        assert run.data.params == {"case": case, "deep/alpha": "0.5"}
        assert run.data.tags["sysmetrics.kind"] == "trial"
        assert run.data.tags["mlflow.user"] == "somebody"
        assert run.data.tags["trial_name"].startswith("Cases_")
        assert experiment.callback.run_id(run.data.tags["sysmetrics.trial_id"]) == run.info.run_id
    assert {case: run.info.run_name for case, run in experiment.others.items()} == {it: f"case={it}" for it in CASES}
    for run in experiment.others.values():  # who ran it, and from what
        assert all(run.data.tags[name] for name in ("mlflow.user", "mlflow.source.name", "mlflow.source.type"))


@pytest.mark.parametrize("case", ["plain", "ends", "stopped", "again"])
def test_trial_of_a_moment_has_its_series_and_its_summary(experiment, case):
    """What is read last comes with the answer at its end: series, and values once, at step 0. So do its host's tags."""
    metrics, tags = experiment.runs[case].data.metrics, experiment.runs[case].data.tags
    assert {name: tag for name, tag in tags.items() if name.startswith(HOST_PREFIX)} == Host().tags()
    assert {"system/process_memory_mb", "system/process_memory_mb_max"} <= metrics.keys()
    for name in ("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb"):
        ((value, _, step),) = experiment.history(case, name)
        assert (value >= 0, step) == (True, 0)


def test_trial_that_begins_again_shows_both_attempts(experiment):
    """The values of the first stay beside those of the second, but not where they are equal. Its summary is of both."""
    both = sorted((step, value) for value, _, step in experiment.history("again", "loss"))
    assert both == [(1, 1.0), (1, 11.0), (2, 2.0), (2, 12.0), (3, 13.0)]
    assert [step for _, _, step in experiment.history("again", "same")] == [1, 2, 3]
    run = experiment.runs["again"]
    assert run.data.metrics["memory_growth_mb"] > 90
    assert run.data.metrics["elapsed_s"] > 2  # five steps
    assert run.data.tags["sysmetrics.retried_after"] == "RuntimeError: lost"
    assert experiment.study.data.metrics["restarts"] == 2.0


@pytest.mark.parametrize(
    ("case", "status", "tag"),
    [
        ("ends", "FINISHED", {}),
        ("plain", "FINISHED", {"sysmetrics.not_finite": "gone is nan at step 1"}),
        ("again", "FINISHED", {}),
        ("stopped", "KILLED", {"sysmetrics.stop_reason": "Tune ended it at iteration 2"}),
        ("raises", "FAILED", {"sysmetrics.error": "ValueError: cannot be set up"}),
    ],
)
def test_status_of_a_run_says_what_became_of_the_trial(experiment, case, status, tag):
    """It ended by itself, Tune ended it, or it failed again, now before its first step; a tag says why."""
    info, tags = experiment.runs[case].info, experiment.runs[case].data.tags
    assert info.status == status
    assert info.start_time <= info.end_time
    names = ("sysmetrics.not_finite", "sysmetrics.stop_reason", "sysmetrics.error")
    assert {name: tags[name].rpartition("): ")[2] for name in names if name in tags} == tag


def test_run_around_the_trials_counts_them(experiment):
    """In metrics."""
    study = experiment.study
    assert study.info.status == "FINISHED"
    counts = {name: study.data.metrics[name] for name in ("trials", "stopped", "failed")}
    assert counts == {"trials": 5.0, "stopped": 1.0, "failed": 1.0}
    assert study.data.tags.items() >= Host().tags().items()


@pytest.mark.parametrize(("case", "results"), [("ends", 3), ("stopped", 2), ("raises", 1)])
def test_points_of_a_payload_keep_their_own_time_and_step(experiment, case, results):
    """All points of every result, also of a trial that then failed or was stopped, and the summary of the last one.

    This is at step 0. Nothing else is a metric.
    """
    assert experiment.history(case, "loss") == [
        (number + half, 1_000_000 * number, 100 * number + half) for number in range(1, results + 1) for half in (0, 1)
    ]
    assert _own_metrics(experiment.runs[case]) == {"loss": results + 1.0, "steps": results}
    assert [(value, step) for value, _, step in experiment.history(case, "steps")] == [(results, 0)]


def test_plain_results_are_written_without_the_bookkeeping_of_ray(experiment):
    """Every number that the trainable reports, nested ones flat, at its training iteration; text and times are not.

    One under the name of a value that is measured stays the trial's own.
    """
    assert [value for value, _, _ in experiment.history("plain", "write_mb")] == [-1.0, -1.0]
    assert experiment.runs["plain"].data.metrics["read_mb"] >= 0
    assert _own_metrics(experiment.runs["plain"]) == {"loss": 0.5, "nested/depth": 2.0, "accuracy": 0.5, "ok": 1.0}
    assert [(value, step) for value, _, step in experiment.history("plain", "loss")] == [(1.0, 1), (0.5, 2)]


def test_parameters_and_files_are_those_that_were_asked_for(experiment):
    """Made of the trial, logged at its end; and what Tune keeps of it."""
    assert {run.data.params["layers"] for run in experiment.others.values()} == {"[8, 4]"}
    files = [each.path for each in experiment.client.list_artifacts(experiment.others["raises"].info.run_id)]
    assert "error.txt" in files


def test_store_that_hangs_or_refuses_does_not_hold_up_or_end_the_experiment(experiment):
    """All trials came to their own end while one store held its first request, and a callback had a mistake.

    What waits for a store that is away is on disk, although Ctrl-C ended the wait for it.
    """
    assert len(experiment.results) == len(CASES)
    journals = [path.read_text() for path in Path(experiment.spool).glob("*.jsonl")]
    assert sum(NOWHERE in each for each in journals) == len(CASES) + 1
    assert len(experiment.results.errors) == 1
    assert "SystemMetricsCallback.log_trial_start failed; the program goes on" in experiment.logged
    assert "not all files were copied" not in experiment.logged  # none were to be


def test_error_at_the_end_of_a_run_is_logged_and_the_run_ends_as_the_trial_did(local_ray, store_in_use, caplog):
    """Here a trainable sends a summary that is none."""
    sends = {PAYLOAD_KEY: {"points": [], "tags": {}, "status": "FINISHED", "summary": None}}
    tuner([SystemMetricsCallback()], [{"steps": 1, "more": sends}]).fit()
    (trial,) = runs_of_kind(store_in_use, "trial")
    assert (trial.info.status, trial.data.tags.get("sysmetrics.stop_reason")) == ("FINISHED", None)
    assert "the summary of a trial failed" in caplog.text


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


def test_callback_can_be_pickled_before_it_is_set_up_and_after_without_what_it_recorded(client):
    """Tune does so before each experiment. The next one has runs of its own."""
    callback = SystemMetricsCallback(client.tracking_uri, experiment_id="0", run_name=lambda trial: "name")
    studies = set()
    for _ in range(2):
        copy = pickle.loads(cloudpickle.dumps(callback))
        assert (copy.experiment_id, copy.run_name(None), copy.get_state()) == ("0", "name", {})
        callback.setup()
        studies.add(callback.get_state()["study_id"])
        callback.on_experiment_end([])
    assert len(studies) == 2


@pytest.mark.parametrize(
    ("result", "points"),
    [
        pytest.param({"training_iteration": 2, "timesteps_total": 640, "loss": 1}, {"loss": 640}, id="time step"),
        pytest.param({0: 1.0, 1: {"f1": 1.0}}, {"0": 0, "1/f1": 0}, id="keys that are not text"),
    ],
)
def test_points_of_a_result_are_at_its_time_step(result, points):
    """Or at Tune's number of the result."""
    assert {point.name: point.step for point in points_of(result)} == points
