"""The Ray Tune callback: one real experiment with trials of every kind, and stores that refuse or hang beside it."""

from __future__ import annotations

import atexit
import inspect
import json
import math
import os
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import mlflow
import numpy as np
import pytest
from commands import store_uri, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from ray import cloudpickle, tune
from ray.tune.logger.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler

from mlflow_sysmetrics.delivery.points import Point
from mlflow_sysmetrics.host import Host
from mlflow_sysmetrics.limits import Criteria
from mlflow_sysmetrics.measurement import FIGURES
from mlflow_sysmetrics.ray_tune import (
    PAYLOAD_KEY,
    STOP_KEY,
    CriteriaStopper,
    SystemMetricsCallback,
    error_line,
    payload,
)
from mlflow_sysmetrics.ray_tune import callback as module
from mlflow_sysmetrics.ray_tune.results import OWN_KEY, points_of
from mlflow_sysmetrics.ray_tune.trial_runs import TrialRuns
from mlflow_sysmetrics.tags import HOST_PREFIX

LIMIT_S = 60.0  # what has not come by then fails the test
CASES = ("ends", "plain", "stopped", "raises", "setup")
NOWHERE = "http://127.0.0.1:9"  # nobody listens there: the store refuses at once


def _trainable() -> type[tune.Trainable]:
    """A trainable of five kinds. It is made in a function so that the workers need not import this module."""

    class Cases(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            if config["case"] == "setup":
                raise ValueError("cannot be set up")
            self.case = config["case"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            number = self.training_iteration + 1
            if self.case == "plain":
                own = {"loss": 1.0 / number, "nested": {"depth": number}, "write_mb": -1.0}
                return {**own, "note": "text", "done": number == 2}
            if self.case == "raises" and number == 2:
                raise RuntimeError("broken in step 2")
            # Two points a result, with times and steps of their own that no clock or counter of Tune's has.
            points = [Point("loss", number + half, 1_000_000 * number, 100 * number + half) for half in (0, 1)]
            ended = self.case == "ends" and number == 3
            status = "FINISHED" if ended else None
            carried = payload(points, tags={"seen": str(number)}, status=status, figures={"steps": number})
            return {"done": ended, "number": number, **carried}

    return Cases


class HangingServer(ThreadingHTTPServer):
    """A tracking server that takes requests and holds them until it is released."""

    daemon_threads = True
    asked, released = threading.Event(), threading.Event()

    def __init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.asked.set()
                server.released.wait(LIMIT_S)
                self.send_error(500)

            def log_message(self, *args: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture(scope="module")
def hanging() -> Iterator[HangingServer]:
    """Released at the end, so that nothing waits for it any longer."""
    server = HangingServer()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    """For the whole module: MLflow's client fails at the first refusal instead of trying for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield patch


@pytest.fixture(scope="module")
def client(module_store: Path, patch: pytest.MonkeyPatch) -> MlflowClient:
    """Of a store of this module's own."""
    client = MlflowClient(store_uri(module_store))
    client.create_experiment("tuning")
    return client


@dataclass(frozen=True)
class Experiment:
    """What a Tune experiment left."""

    client: MlflowClient
    parent: Run
    runs: dict[str, Run]
    callback: SystemMetricsCallback
    results: Any
    uris: set[str]
    store_was_hanging: bool

    def history(self, case: str, metric: str) -> list[tuple[float, int, int]]:
        """A trial's values of a metric, each with its time and step."""
        found = self.client.get_metric_history(self.runs[case].info.run_id, metric)
        return sorted(((each.value, each.timestamp, each.step) for each in found), key=lambda point: point[2])


@pytest.fixture(scope="module")
def experiment(
    client: MlflowClient, hanging: HangingServer, local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> Experiment:
    """One experiment with a trial of each kind, recorded in SQLite, in a store that hangs and in one that is away."""
    experiment_id = client.get_experiment_by_name("tuning").experiment_id
    parent = client.create_run(experiment_id)
    callback = SystemMetricsCallback(
        client.tracking_uri,
        experiment_id=experiment_id,
        parent_run_id=parent.info.run_id,
        tags={"mlflow.user": "somebody"},
        run_name=lambda trial: f"case {trial.config['case']}",
    )
    beside = [
        SystemMetricsCallback(hanging.uri, experiment_id="0", close_timeout_s=0.2),
        SystemMetricsCallback(NOWHERE, experiment_id="0", close_timeout_s=0.2),
        SystemMetricsCallback(client.tracking_uri, experiment_id="0", run_name=lambda trial: str(1 / 0)),
    ]
    uri = mlflow.get_tracking_uri()
    results = tune.Tuner(
        tune.with_resources(_trainable(), {"cpu": 1}),
        param_space={"case": tune.grid_search(list(CASES)), "deep": {"alpha": 0.5}},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path_factory.mktemp("tune")),
            callbacks=[callback, *beside],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            stop=lambda trial_id, result: result["config"]["case"] == "stopped" and result["number"] == 2,
            verbose=0,
        ),
    ).fit()
    hangs = hanging.asked.is_set() and not hanging.released.is_set()
    found = client.search_runs([experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    runs = {run.data.params["case"]: run for run in found}
    assert len(runs) == len(found)
    return Experiment(client, parent, runs, callback, results, {uri, mlflow.get_tracking_uri()}, hangs)


def _own_metrics(run: Run) -> dict[str, float]:
    """What the trainable itself has reported."""
    costs = (
        "system/",
        "mean_cpu_percent",
        "cpu_seconds",
        "peak_memory_mb",
        "memory_growth_mb",
        "elapsed_s",
        "read_mb",
        "write_mb",
    )
    return {name: value for name, value in run.data.metrics.items() if not name.startswith(costs)}


def test_each_trial_has_a_run_nested_under_the_parent(experiment: Experiment) -> None:
    """With its own name, its parameters, flat, and the tags that say what it is."""
    assert set(experiment.runs) == set(CASES)
    for case, run in experiment.runs.items():
        assert run.info.run_name == f"case {case}"
        assert run.data.params == {"case": case, "deep/alpha": "0.5"}
        assert run.data.tags["sysmetrics.kind"] == "trial"
        assert run.data.tags["mlflow.user"] == "somebody"
        assert experiment.callback.run_id(run.data.tags["sysmetrics.trial_id"]) == run.info.run_id


@pytest.mark.parametrize("case", ["plain", "ends", "stopped"])
def test_trial_of_a_moment_has_its_series_and_its_figures(experiment: Experiment, case: str) -> None:
    """What is read last comes with the answer at its end: series by sample, figures once, at step 0. So do its tags."""
    metrics, tags = experiment.runs[case].data.metrics, experiment.runs[case].data.tags
    assert {name: tag for name, tag in tags.items() if name.startswith(HOST_PREFIX)} == Host().tags()
    assert {"system/process_memory_mb", "system/process_memory_mb_max"} <= metrics.keys()
    for name in ("elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb"):
        ((value, _, step),) = experiment.history(case, name)
        assert (value >= 0, step) == (True, 0)


def test_figure_that_a_trial_reports_itself_stays_its_own(experiment: Experiment) -> None:
    """What was read of its process under the same name is not written over it."""
    assert [value for value, _, _ in experiment.history("plain", "write_mb")] == [-1.0, -1.0]
    assert experiment.runs["plain"].data.metrics["read_mb"] >= 0


def test_trial_that_begins_again_has_no_step_twice(client: MlflowClient, local_ray: None, tmp_path: Path) -> None:
    """The values of the first attempt stay, the second adds what it has not had. Its figures are of both."""
    failed, watched, others = tmp_path / "failed", tmp_path / "watched", set(threading.enumerate())

    def touch_once_it_is_watched() -> None:
        def is_read() -> bool:
            return any(each.name == "mlflow-sysmetrics-monitor" for each in set(threading.enumerate()) - others)

        wait_until(is_read, LIMIT_S, "a reading of the trial's process")
        watched.touch()

    def train(config: dict[str, Any]) -> None:
        again = failed.exists()
        while not watched.exists():
            time.sleep(0.05)
        taken = b"x" * (1_000_000 if again else 100_000_000)
        time.sleep(0.5)  # for some readings
        del taken
        for number in (1, 2, 3) if again else (1, 2):
            tune.report({"loss": number + 10.0 * again})
        failed.touch()
        if not again:
            raise RuntimeError("lost")

    experiment_id = client.create_experiment("again")
    thread = threading.Thread(target=touch_once_it_is_watched)
    thread.start()
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            callbacks=[SystemMetricsCallback(client.tracking_uri, experiment_id=experiment_id)],
            failure_config=tune.FailureConfig(max_failures=1),
            verbose=0,
        ),
    ).fit()
    (run,) = client.search_runs([experiment_id], "tags.`sysmetrics.kind` = 'trial'")
    points = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in points) == [(1, 1.0), (2, 2.0), (3, 13.0)]
    assert run.data.metrics["memory_growth_mb"] > 90
    thread.join(LIMIT_S)


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("ends", "FINISHED"),
        ("plain", "FINISHED"),
        ("stopped", "KILLED"),
        ("raises", "FAILED"),
        ("setup", "FAILED"),
    ],
)
def test_status_of_a_run_says_what_became_of_the_trial(experiment: Experiment, case: str, status: str) -> None:
    """It ended by itself, Tune ended it, or it failed, also before its first step; none is left running."""
    info = experiment.runs[case].info
    assert info.status == status
    assert info.start_time <= info.end_time


@pytest.mark.parametrize(
    ("case", "error"), [("raises", "RuntimeError: broken in step 2"), ("setup", "ValueError: cannot be set up")]
)
def test_failed_trial_has_its_error_in_a_tag(experiment: Experiment, case: str, error: str) -> None:
    """The exception and its message in one line; other trials have no such tag."""
    assert experiment.runs[case].data.tags["sysmetrics.error"].endswith(error)
    for other in ("ends", "plain", "stopped"):
        assert "sysmetrics.error" not in experiment.runs[other].data.tags


@pytest.mark.parametrize(("case", "results"), [("ends", 3), ("stopped", 2), ("raises", 1)])
def test_points_of_a_payload_keep_their_own_time_and_step(experiment: Experiment, case: str, results: int) -> None:
    """All points of every result, also of a trial that then failed or was stopped, and the figures of the last one.

    These are at step 0. Nothing else is a metric.
    """
    assert experiment.history(case, "loss") == [
        (number + half, 1_000_000 * number, 100 * number + half) for number in range(1, results + 1) for half in (0, 1)
    ]
    assert _own_metrics(experiment.runs[case]) == {"loss": results + 1.0, "steps": results}
    assert [(value, step) for value, _, step in experiment.history(case, "steps")] == [(results, 0)]
    assert experiment.runs[case].data.tags["seen"] == str(results)


def test_plain_results_are_written_without_the_bookkeeping_of_ray(experiment: Experiment) -> None:
    """Every number that the trainable reports, nested ones flat, at its training iteration; text and times are not."""
    assert _own_metrics(experiment.runs["plain"]) == {"loss": 0.5, "nested/depth": 2.0}
    assert [(value, step) for value, _, step in experiment.history("plain", "loss")] == [(1.0, 1), (0.5, 2)]
    run = experiment.runs["plain"].info
    for _, time_ms, _ in experiment.history("plain", "loss"):
        assert run.start_time <= time_ms <= run.end_time


def test_trial_without_a_result_has_a_run_without_points(experiment: Experiment) -> None:
    """A trial that failed while it was set up is not lost."""
    assert experiment.runs["setup"].data.metrics == {}


def test_store_that_hangs_or_refuses_does_not_hold_up_or_end_the_experiment(experiment: Experiment) -> None:
    """All trials came to their own end while one store held its first request and another was away."""
    assert experiment.store_was_hanging
    assert len(experiment.results) == len(CASES)
    assert len(experiment.results.errors) == 2


def test_tracking_uri_of_the_process_is_left_alone(experiment: Experiment) -> None:
    """Recording elsewhere does not move what the program itself logs."""
    assert len(experiment.uris) == 1


def test_restore_with_a_new_callback_goes_on_in_the_same_runs(
    client: MlflowClient, local_ray: None, tmp_path: Path
) -> None:
    """Tune makes a new one from RAY_TUNE_CALLBACKS. The trial that failed comes to its end now."""
    failed, experiment_id = tmp_path / "failed", client.create_experiment("new callback")

    def train(config: dict[str, Any]) -> None:
        tune.report({"loss": 1.0})
        if not failed.exists():
            failed.touch()
            raise RuntimeError("lost")

    for resume in (False, "AUTO+ERRORED"):
        tune.run(
            tune.with_resources(train, {"cpu": 1}),
            name="sweep",
            storage_path=str(tmp_path),
            callbacks=[SystemMetricsCallback(client.tracking_uri, experiment_id=experiment_id)],
            resume=resume,
            raise_on_failed_trial=False,
            verbose=0,
        )
    runs = {run.data.tags["sysmetrics.kind"]: run for run in client.search_runs([experiment_id])}
    assert len(client.search_runs([experiment_id])) == len(runs) == 2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert "sysmetrics.error" not in runs["trial"].data.tags
    assert len(client.get_metric_history(runs["trial"].info.run_id, "loss")) == 1


# --- hooks, without Tune -----------------------------------------------------------------------------------


def _trial(trial_id: str = "t1", error: str | None = None, folder: Path | None = None) -> Any:
    """What the callback reads of one of Tune's trials, which keeps its errors in a file."""
    error_file = None
    if error is not None and folder is not None:
        error_file = folder / "error.txt"
        error_file.write_text(error)
    return SimpleNamespace(
        trial_id=trial_id,
        config={"alpha": 0.5},
        run_metadata=SimpleNamespace(last_result={}),
        temporary_state=SimpleNamespace(ray_actor=None),
        status="RUNNING",
        get_trainable_cls=lambda: None,
        get_error=lambda: error,
        error_file=error_file and str(error_file),
    )


def _set_up(uri: str, **settings: Any) -> SystemMetricsCallback:
    callback = SystemMetricsCallback(
        uri, **{"experiment_id": "0", "run_name": lambda trial: trial.trial_id, **settings}
    )
    callback.setup()
    return callback


HOOKS: list[Any] = [
    pytest.param(lambda callback, trial: callback.on_trial_start(0, [], trial), id="start"),
    pytest.param(lambda callback, trial: callback.on_trial_result(0, [], trial, {"loss": 1.0}), id="result"),
    pytest.param(
        lambda callback, trial: callback.on_trial_result(0, [], trial, {PAYLOAD_KEY: {"points": 1}}), id="odd-payload"
    ),
    pytest.param(lambda callback, trial: callback.on_trial_complete(0, [], trial), id="complete"),
    pytest.param(lambda callback, trial: callback.on_trial_error(0, [], trial), id="error"),
]


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_that_goes_wrong_is_logged_and_does_not_raise(
    hook: Callable[[Any, Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in the record must not end the training that it records. Here the callback was not even set up."""
    hook(SystemMetricsCallback(), _trial())
    assert "training goes on" in caplog.text


def test_experiment_end_marks_runs_killed_that_tune_did_not_end(client: MlflowClient, tmp_path: Path) -> None:
    """After a time budget or Ctrl-C Tune does not tell what became of its trials; runs that ended keep their status."""
    callback = _set_up(client.tracking_uri)
    for trial_id in ("open", "complete", "failed"):
        callback.on_trial_start(0, [], _trial(trial_id))
    callback.on_trial_result(0, [], _trial("open"), payload([], figures={"elapsed_s": 7.0}))
    callback.on_trial_complete(0, [], _trial("complete"))
    callback.on_trial_error(0, [], _trial("failed", "ValueError: x", tmp_path))
    callback.on_experiment_end([])
    assert client.get_run(str(callback.run_id("open"))).data.metrics["elapsed_s"] == 7.0
    statuses = {}
    for trial_id in ("open", "complete", "failed"):
        run_id = callback.run_id(trial_id)
        assert run_id is not None
        statuses[trial_id] = client.get_run(run_id).info.status
    assert statuses == {"open": "KILLED", "complete": "FINISHED", "failed": "FAILED"}
    assert callback.close() is True


@pytest.mark.parametrize("goes_on", [True, False], ids=["with one trial", "with none"])
def test_restored_experiment_ends_the_runs_of_trials_that_do_not_begin_again(
    client: MlflowClient, goes_on: bool
) -> None:
    """Its driver was killed, and the next one ends before it comes to them. What had ended stays as it was."""
    experiment_id = client.create_experiment(f"restored, {goes_on}")
    killed = SystemMetricsCallback(client.tracking_uri, experiment_id=experiment_id)
    kept = cloudpickle.dumps(killed)  # as Tune does
    killed.setup()
    for trial_id in ("ended", "interrupted", "again"):
        killed.on_trial_start(0, [], _trial(trial_id))
    killed.on_trial_complete(0, [], _trial("ended"))
    left = {"RUNNING": 3, "FINISHED": 1}  # with the run around them
    wait_until(lambda: Counter(run.info.status for run in client.search_runs([experiment_id])) == left, LIMIT_S, "runs")
    atexit.unregister(killed.close)
    restored = cloudpickle.loads(kept)
    restored.setup()
    if goes_on:
        restored.on_trial_start(0, [], _trial("again"))
        restored.on_trial_complete(0, [], _trial("again"))
    restored.on_experiment_end([])
    runs = client.search_runs([experiment_id])
    statuses = {run.data.tags.get("sysmetrics.trial_id", "study"): run.info.status for run in runs}
    again = "FINISHED" if goes_on else "KILLED"
    assert statuses == {"ended": "FINISHED", "again": again, "interrupted": "KILLED", "study": "KILLED"}
    (study,) = [run for run in runs if run.data.tags["sysmetrics.kind"] == "study"]
    assert (study.data.metrics["trials"], study.data.metrics["stopped"]) == (3.0, 1.0 if goes_on else 2.0)


def test_figures_of_a_study_that_was_interrupted_and_restored_are_of_both_parts(client: MlflowClient) -> None:
    """Somebody has pressed Ctrl-C. What was KILLED then and came to its end now is counted once."""
    experiment_id = client.create_experiment("interrupted and restored")
    interrupted = SystemMetricsCallback(client.tracking_uri, experiment_id=experiment_id)
    kept = cloudpickle.dumps(interrupted)
    restored = cloudpickle.loads(kept)

    def figures(callback: SystemMetricsCallback) -> dict[str, float]:
        callback.setup()
        callback.on_trial_start(0, [], _trial("a"))
        callback.on_trial_recover(0, [], _trial("a"))
        callback.on_trial_start(0, [], _trial("a"))
        if callback is restored:
            callback.on_trial_complete(0, [], _trial("a"))
        callback.on_experiment_end([])
        (study,) = client.search_runs([experiment_id], "tags.`sysmetrics.kind` = 'study'")
        return study.data.metrics

    before, after = figures(interrupted), figures(restored)
    assert (before.pop("stopped"), after.pop("stopped")) == (1.0, 0.0)
    assert (before.pop("restarts"), after.pop("restarts")) == (1.0, 2.0)
    assert after.pop("elapsed_s") > before.pop("elapsed_s")
    assert before == after == {"trials": 1.0, "failed": 0.0}


def test_process_of_a_paused_or_failed_trial_is_let_go(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: another trial may get it. Tune does not tell that it has paused one."""
    let_go: list[str] = []
    monkeypatch.setattr(TrialRuns, "pause", lambda runs, trial_id: let_go.append(trial_id))
    callback, trial = _set_up(client.tracking_uri), _trial()
    for number in (1, 2):
        trial.status = "RUNNING"
        callback.on_trial_start(0, [], trial)
        callback.on_step_end(0, [])
        trial.status = "PAUSED"
        callback.on_step_end(0, [])
        callback.on_step_end(0, [])
        assert let_go == ["t1"] * number
    callback.on_trial_recover(0, [], trial)
    assert let_go == ["t1"] * 3
    assert callback.close()


@pytest.mark.parametrize(("says", "status"), [(None, "KILLED"), ("FINISHED", "FINISHED")])
def test_trial_that_came_to_its_end_is_not_said_to_be_stopped_by_a_person(
    client: MlflowClient, says: Literal["FINISHED"] | None, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody asked, and it was done before it was ended. Here the store is asked more often."""
    monkeypatch.setattr(module, "StopButton", partial(module.StopButton, every_s=0.1))
    callback, trial = _set_up(client.tracking_uri), _trial()
    trial.stopping_criterion = {}
    callback.on_trial_start(0, [], trial)
    wait_until(lambda: callback.run_id("t1"), LIMIT_S, "the run")
    client.set_tag(str(callback.run_id("t1")), "sysmetrics.stop", "enough")
    wait_until(lambda: trial.stopping_criterion, LIMIT_S, "the callback's word to Tune")
    trial.run_metadata.last_result = {**payload([], status=says), "done": True}
    callback.on_trial_result(0, [], trial, trial.run_metadata.last_result)
    callback.on_trial_complete(0, [], trial)
    assert callback.close()
    run = client.get_run(str(callback.run_id("t1")))
    assert (run.info.status, "sysmetrics.stopped_by" in run.data.tags) == (status, says is None)


def test_end_of_the_experiment_does_not_overtake_what_a_trainable_says(client: MlflowClient) -> None:
    """Whose word the trial's end was is known just before, and still has to be acted on."""

    class Slow(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            time.sleep(0.2)
            return super().result(timeout)

    state, trial = Slow(), _trial()
    remote = SimpleNamespace(remote=lambda *arguments: SimpleNamespace(future=lambda: state))
    trial.should_stop = lambda result: False
    trial.stopping_criterion = {}
    callback = _set_up(client.tracking_uri, groups=())
    callback.on_trial_start(0, [], trial)
    trial.temporary_state.ray_actor = SimpleNamespace(get_state=remote)
    callback.on_trial_result(0, [], trial, {"loss": 1.0, "training_iteration": 1, "done": True})
    callback.on_trial_complete(0, [], trial)
    threading.Thread(target=lambda: state.set_result({"last_result": {"done": True}})).start()
    assert callback.close()
    assert client.get_run(str(callback.run_id("t1"))).info.status == "FINISHED"


def test_trial_that_ends_before_it_started_has_a_run(client: MlflowClient, tmp_path: Path) -> None:
    """So it is with one that fails while it is set up."""
    callback = _set_up(client.tracking_uri)
    callback.on_trial_error(0, [], _trial("early", "Traceback\nValueError: x", tmp_path))
    assert callback.close()
    run_id = callback.run_id("early")
    assert run_id is not None
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["sysmetrics.error"]) == ("FAILED", "ValueError: x")
    assert run.data.params == {"alpha": "0.5"}


def test_params_of_a_run_are_those_that_are_made_of_the_trial(client: MlflowClient) -> None:
    """Instead of its config, which may hold what nobody searches, or an object of the caller's own."""
    callback = _set_up(client.tracking_uri, params=lambda trial: {"alpha": 2 * trial.config["alpha"], "layers": [8, 4]})
    callback.on_trial_start(0, [], _trial("own"))
    callback.on_trial_complete(0, [], _trial("own"))
    assert callback.close()
    run_id = callback.run_id("own")
    assert run_id is not None
    assert client.get_run(run_id).data.params == {"alpha": "1.0", "layers": "[8, 4]"}


@pytest.mark.parametrize(
    ("at_end", "ends", "rate"),
    [
        pytest.param(False, True, "0.1", id="start"),
        pytest.param(True, True, "0.7", id="end"),
        pytest.param(True, False, "0.7", id="end of the experiment"),
    ],
)
def test_params_are_logged_at_the_start_or_at_the_end(
    client: MlflowClient, at_end: bool, ends: bool, rate: str
) -> None:
    """A scheduler changes one in between: MLflow keeps the first value that it is told."""
    callback = _set_up(client.tracking_uri, log_params_on_trial_end=at_end)
    trial = _trial("changed")
    for trial.config in ({"rate": 0.1, "depth": 3}, {"rate": 0.7, "depth": 3}):
        callback.on_trial_start(0, [], trial)
    if ends:
        callback.on_trial_complete(0, [], trial)
    assert callback.close()
    data = client.get_run(str(callback.run_id("changed"))).data
    assert data.params == {"rate": rate, "depth": "3"}
    assert data.tags["sysmetrics.changed.rate"] == "0.7"


def test_restarted_trial_keeps_its_run(client: MlflowClient) -> None:
    """Tune starts a trial again after a pause; the points before and after are one curve."""
    experiment_id = client.create_experiment("restarted")
    callback = _set_up(client.tracking_uri, experiment_id=experiment_id)
    for number in (1, 2):
        callback.on_trial_start(0, [], _trial())
        callback.on_trial_result(0, [], _trial(), {"loss": float(number), "training_iteration": number})
    callback.on_trial_complete(0, [], _trial())
    assert callback.close()
    (run,) = client.search_runs([experiment_id], "tags.`sysmetrics.kind` = 'trial'")
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2


def test_close_is_bounded_while_the_store_hangs(hanging: HangingServer, caplog: pytest.LogCaptureFixture) -> None:
    """It says that the record is incomplete."""
    callback = _set_up(hanging.uri)
    callback.on_trial_start(0, [], _trial())
    assert hanging.asked.wait(LIMIT_S)
    assert callback.close(timeout_s=0.1) is False
    assert "incomplete" in caplog.text
    assert callback.run_id("t1") is None
    assert not hanging.released.is_set()


@pytest.mark.parametrize("timeout_s", [-1.0, math.nan])
def test_time_limit_that_is_none_is_refused_at_construction(timeout_s: float) -> None:
    """Not when the experiment ends, where it would cost what waits."""
    with pytest.raises(ValueError, match=f"close_timeout_s={timeout_s}"):
        SystemMetricsCallback(close_timeout_s=timeout_s)


def test_close_of_a_callback_that_was_not_set_up_has_nothing_to_write() -> None:
    """The search may end before Tune began."""
    assert SystemMetricsCallback().close() is True
    assert SystemMetricsCallback().run_id("t1") is None


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_experiment_is_found_by_its_name_or_created(client: MlflowClient, known: bool) -> None:
    """Ray's own argument keeps its meaning."""
    name = f"by name, {known}"
    created = client.create_experiment(name) if known else None
    callback = _set_up(client.tracking_uri, experiment_id=None, experiment_name=name)
    callback.on_trial_start(0, [], _trial())
    assert callback.close()
    experiment_id = client.get_experiment_by_name(name).experiment_id
    assert created in (None, experiment_id)
    assert len(client.search_runs([experiment_id], "tags.`sysmetrics.kind` = 'trial'")) == 1


def test_experiment_that_does_not_exist_is_refused_before_the_first_trial() -> None:
    """A search whose record has no place is a mistake to be told at once."""
    with pytest.raises(mlflow.exceptions.MlflowException):
        SystemMetricsCallback(NOWHERE, experiment_name="x").setup()


def test_callback_is_one_of_rays_with_its_arguments() -> None:
    """Whoever looks for Ray's among the callbacks finds it, and can make it so."""
    ours, rays = (inspect.signature(kind).parameters for kind in (SystemMetricsCallback, MLflowLoggerCallback))
    assert issubclass(SystemMetricsCallback, MLflowLoggerCallback)
    assert {name: ours[name].default for name in rays} == {name: each.default for name, each in rays.items()}
    own = vars(SystemMetricsCallback)
    assert {name for name, hook in vars(MLflowLoggerCallback).items() if inspect.isfunction(hook)} <= own.keys()


def test_callback_can_be_pickled_before_it_is_set_up() -> None:
    """Tune does so."""
    callback = SystemMetricsCallback(NOWHERE, experiment_id="7", run_name=lambda trial: "name", parent_run_id="p")
    copy = pickle.loads(cloudpickle.dumps(callback))
    assert (copy.tracking_uri, copy.experiment_id, copy.parent_run_id, copy.run_name(None)) == (
        NOWHERE, "7", "p", "name",
    )  # fmt: skip


def test_callback_records_one_experiment_after_the_other(client: MlflowClient) -> None:
    """Tune pickles it before each. Each has runs of its own, in which a restored copy goes on."""
    experiment_id = client.create_experiment("one after the other")
    callback, fresh = (SystemMetricsCallback(client.tracking_uri, experiment_id=experiment_id) for _ in range(2))
    kept = []
    for number in (1, 2):
        kept.append(cloudpickle.dumps(callback))
        assert vars(cloudpickle.loads(kept[-1])).keys() == vars(fresh).keys()
        callback.setup()
        callback.on_trial_start(0, [], _trial(f"t{number}"))
        callback.on_experiment_end([])
    before = client.search_runs([experiment_id])
    assert Counter(run.data.tags["sysmetrics.kind"] for run in before) == {"study": 2, "trial": 2}
    assert len({run.data.tags["sysmetrics.study_id"] for run in before}) == 2
    for number, pickled in enumerate(kept, 1):
        restored = cloudpickle.loads(pickled)
        restored.setup()
        restored.on_trial_start(0, [], _trial(f"t{number}"))
        restored.on_trial_complete(0, [], _trial(f"t{number}"))
        restored.on_experiment_end([])
    after = client.search_runs([experiment_id])
    assert {run.info.run_id for run in after} == {run.info.run_id for run in before}
    assert {run.info.status for run in after} == {"FINISHED"}


def test_pickle_of_a_callback_holds_no_secret() -> None:
    """Tune writes it to the driver's disk."""
    uri = "http://me:hush42@127.0.0.1:9"
    kept = cloudpickle.dumps(SystemMetricsCallback(uri, registry_uri=uri, tracking_token="token42"))
    assert b"hush42" not in kept
    assert b"token42" not in kept


def test_restored_callback_has_the_login_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the same address, and the token in MLFLOW_TRACKING_TOKEN."""
    kept = cloudpickle.dumps(SystemMetricsCallback("http://me:hush42@127.0.0.1:9", tracking_token="token42"))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://you:hush43@127.0.0.1:9")
    try:
        restored = cloudpickle.loads(kept)
    finally:
        mlflow.set_tracking_uri(before)
    assert restored.tracking_uri == "http://you:hush43@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token43")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(mlflow.exceptions.MlflowException) as error:
        restored.setup()
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == "token43"
    assert "hush43" not in str(error.value)


@pytest.mark.parametrize(
    ("counts", "step"),
    [({"training_iteration": 2, "timesteps_total": 640}, 640), ({"training_iteration": 2}, 2), ({}, 0)],
    ids=["time-steps", "iteration", "none"],
)
def test_point_of_a_result_is_at_its_time_step(counts: dict[str, int], step: int) -> None:
    """As Ray counts them, where the trainable reports them; else at its iteration."""
    (point,) = points_of({"loss": 1.0, **counts})
    assert (point.name, point.value, point.step) == ("loss", 1.0, step)


@pytest.mark.parametrize(
    ("own", "expected"),
    [((), {"loss", "memory_mb"}), (("elapsed_s",), {"loss", "memory_mb", "elapsed_s"})],
    ids=["none", "one of the trainable's own"],
)
def test_figures_so_far_of_one_process_are_no_points(own: tuple[str, ...], expected: set[str]) -> None:
    """What describes an interval is, and so is what the trainable itself reports under the name of a figure."""
    result = {"loss": 1.0, "memory_mb": 90.0, "elapsed_s": 3.0, "peak_memory_mb": 92.0}
    marked = {**result, OWN_KEY: own} if own else result
    assert {point.name for point in points_of(marked, FIGURES)} == expected
    assert {point.name for point in points_of(marked)} == result.keys()


def test_payload_is_made_of_plain_values() -> None:
    """It can be read by a driver that does not have this package's classes at hand, and written as JSON."""
    carried = payload([Point("loss", 0.5, 1000, 3)], tags={"a": "b"}, status="FINISHED", figures={"steps": 3.0})
    point = ("loss", 0.5, 1000, 3)
    assert carried == {
        PAYLOAD_KEY: {"points": [point], "tags": {"a": "b"}, "status": "FINISHED", "figures": {"steps": 3.0}}
    }
    assert type(carried[PAYLOAD_KEY]["points"][0]) is tuple
    of_numpy = Point("loss", np.float32(0.5), np.int64(1000), np.int32(3))
    again = payload([of_numpy], tags={"a": "b"}, status="FINISHED", figures={"steps": np.float32(3)})
    assert json.dumps(again) == json.dumps(carried)
    assert payload([]) == {PAYLOAD_KEY: {"points": [], "tags": {}, "status": None, "figures": {}}}


@pytest.mark.parametrize(
    ("traceback", "line"),
    [
        pytest.param(
            "Traceback (most recent call last):\n  File x\nValueError: no\n\n", "ValueError: no", id="last-line"
        ),
        pytest.param("Error: x\nIt died. Some common causes include: (1) a\n", "It died.", id="without-guesses"),
        pytest.param("E: http://me:hush42@there", "E: http://there", id="without-a-password"),
        pytest.param(None, "unknown error", id="none"),
        pytest.param("\n \n", "unknown error", id="blank"),
    ],
)
def test_error_line_is_the_exception_and_its_message(traceback: str | None, line: str, tmp_path: Path) -> None:
    """The end of the traceback."""
    assert error_line(_trial("t1", traceback, tmp_path)) == line


# One after the other on one core. The first one is wide, too, but nothing is known then that it could be compared with.
WIDTHS = (100, 1, 1, 100, 1)
STOPPED = 3  # the place of the one that the criterion ends
CRITERION = "costs/memory_mb<=2x median after 3"


def _somebodys(kind: str) -> Any:
    """A trainable that knows nothing of this package. Made in a function so that workers need not import this module.

    Each has three results; the last trial's loss is the worst.
    """

    def result(case: dict[str, Any], number: int, began: float) -> dict[str, Any]:
        costs = {"memory_mb": case["width"] * number, "unit": "MB"}
        return {"loss": case["loss"], "gone": float("nan"), "costs": costs, "began": began, "reported": time.time()}

    def train(config: dict[str, Any]) -> None:
        began = time.time()
        for number in (1, 2, 3):
            tune.report(result(config["case"], number, began))

    class Train(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.case, self.began = config["case"], time.time()

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            number = self.training_iteration + 1
            return {**result(self.case, number, self.began), "done": number == 3}

    return train if kind == "function" else Train


@dataclass(frozen=True)
class Stopped:
    """What an experiment with a CriteriaStopper left: results and runs in the order of the trials, and its own run."""

    kind: str
    results: list[Any]
    runs: list[Run]
    study: Run


@pytest.fixture(scope="module", params=["function", pytest.param("class", marks=pytest.mark.slow), "class under ASHA"])
def stopped(
    client: MlflowClient,
    local_ray: None,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    patch: pytest.MonkeyPatch,
) -> Stopped:
    """Five trials of somebody's trainable, one at a time in one process, of which a relative criterion stops one.

    They are recorded in the store in use, in a new experiment.
    """
    kind, before = request.param, mlflow.get_tracking_uri()
    callback = SystemMetricsCallback(experiment_name=f"stopped, {kind}")
    mlflow.set_tracking_uri(client.tracking_uri)
    patch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    cases = [{"width": width, "loss": 1.0 + (place == len(WIDTHS) - 1)} for place, width in enumerate(WIDTHS)]
    asha = ASHAScheduler(time_attr="training_iteration", max_t=100, grace_period=1, reduction_factor=2)
    scheduling = {"scheduler": asha, "metric": "loss", "mode": "min"} if "ASHA" in kind else {}
    grid = tune.Tuner(
        tune.with_resources(_somebodys(kind), {"cpu": 1}),
        param_space={"case": tune.grid_search(cases)},
        tune_config=tune.TuneConfig(reuse_actors=True, **scheduling),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path_factory.mktemp("stopped")),
            callbacks=[callback],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            stop=CriteriaStopper(Criteria.parse(CRITERION)),
            verbose=0,
        ),
    ).fit()
    patch.delenv("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(before)
    runs = [client.get_run(str(callback.run_id(result.metrics["trial_id"]))) for result in grid]
    return Stopped(kind, list(grid), runs, client.get_run(runs[0].data.tags["mlflow.parentRunId"]))


def test_results_of_any_trainable_are_recorded(client: MlflowClient, stopped: Stopped) -> None:
    """Below a run of the whole experiment, which tells of them; a value that is not finite is left out."""
    run = stopped.runs[0]
    assert run.info.status == stopped.study.info.status == "FINISHED"
    assert client.get_experiment_by_name(f"stopped, {stopped.kind}").experiment_id == run.info.experiment_id
    assert run.data.params == {"case/loss": "1.0", "case/width": "100"}
    assert _own_metrics(run).keys() == {"loss", "costs/memory_mb", "began", "reported"}
    assert run.data.tags["sysmetrics.not_finite"] == "gone is nan at step 1"
    assert stopped.study.data.tags.items() >= Host().tags().items()
    assert stopped.study.data.tags["sysmetrics.kind"] == "study"
    assert (stopped.study.data.metrics["trials"], stopped.study.data.metrics["failed"]) == (5.0, 0.0)
    assert "**5 trials**: " in stopped.study.data.tags["mlflow.note.content"]
    history = client.get_metric_history(run.info.run_id, "costs/memory_mb")
    assert sorted((each.step, each.value) for each in history) == [(1, 100.0), (2, 200.0), (3, 300.0)]


def test_criterion_ends_a_trial_of_any_trainable(stopped: Stopped) -> None:
    """At its first result, without an error; the limit is twice the median of the three that had ended by then."""
    assert [result.error for result in stopped.results] == [None] * len(WIDTHS)
    last = 1 if "ASHA" in stopped.kind else 3
    assert [result.metrics["training_iteration"] for result in stopped.results] == [3, 3, 3, 1, last]
    run = stopped.runs[STOPPED]
    assert run.info.status == "KILLED"
    assert run.data.tags["sysmetrics.stop_reason"] == "costs/memory_mb 100 > 6 (2x median after 3, step 1)"
    assert run.data.tags["sysmetrics.stop_metric"] == "costs/memory_mb"
    assert run.data.tags["sysmetrics.stop_step"] == "1"
    assert run.data.metrics["costs/memory_mb"] == 100


def test_criterion_leaves_other_trials_alone(stopped: Stopped) -> None:
    """Also the first, which cost as much when there was nothing to compare it with; ASHA ends the last for its loss."""
    others = stopped.runs[:STOPPED] + stopped.runs[STOPPED + 1 :]
    by_asha = {"sysmetrics.stop_reason": "Tune ended it at iteration 1"} if "ASHA" in stopped.kind else {}
    assert [run.info.status for run in others] == ["FINISHED"] * 3 + ["KILLED" if by_asha else "FINISHED"]
    reasons = [{name: run.data.tags[name] for name in run.data.tags if "stop_reason" in name} for run in others]
    assert reasons == [{}, {}, {}, by_asha]
    assert [result for result in stopped.results if STOP_KEY in result.metrics] == [stopped.results[STOPPED]]


def test_core_of_a_stopped_trial_is_free_within_a_second(stopped: Stopped) -> None:
    """The next trial begins on it, by the clock of the two trials themselves."""
    ended, following = stopped.results[STOPPED].metrics, stopped.results[STOPPED + 1].metrics
    assert ended["pid"] == following["pid"]
    assert 0 < following["began"] - ended["reported"] < 1
