"""Tune studies in which something breaks: what had been reported is stored, once, and the runs say what happened.

They run in a process of their own, which is this file as a script: it breaks something in the course of a small study,
and counts the results that Tune was given, which is what had been reported, those of them that the store has at last,
and those that it has twice: a trial that begins again shows both attempts.
"""

import contextlib
import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import psutil
import pytest
import ray
from commands import ROOT, clean_environment, wait_until
from ray import tune
from ray_nodes import ray_nodes
from servers import TrackingServer
from tune_sweeps import AtResult, environment, fit, place, trainables, tuner

import mlflow_sysmetrics
from entrypoints.compute.workers import without_extras
from mlflow_sysmetrics.common import guard
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.recording.host import Host
from mlflow_sysmetrics.recording.tags import HOST_PREFIX, RETRIED_AFTER, TRIAL_ID

pytestmark = pytest.mark.slow
SCRIPT_S = 900.0
BOTH = ["elapsed_s", "peak_memory_mb"]
LIMIT_S = 60.0
LONG = {"steps": 40, "step_s": 0.3}

_at_last = contextlib.ExitStack()  # what ends with this process


class Reported(tune.Callback):
    """Writes down the results that Tune was given, by trial and loss, which is another in each iteration.

    Acts at the first result of a trial that has begun again.
    """

    def __init__(self, folder, act):
        self.file = folder / "reported"
        self.act = act
        self.begun = set()

    def __getstate__(self):
        return self.__dict__ | {"act": None}  # Tune keeps a copy of callbacks for a restore

    def on_trial_result(self, iteration, trials, trial, result, **info):
        with self.file.open("a") as file:
            file.write(f"{json.dumps([trial.trial_id, result['loss']])}\n")
        if result["training_iteration"] == 1:
            if trial.trial_id in self.begun:
                self.act(trial.trial_id)
            self.begun.add(trial.trial_id)


def left(here, error):
    """What the store has in the end, counted."""
    lines = (here.folder / "reported").read_text().splitlines()
    reported = {tuple(json.loads(line)) for line in lines}
    stored = Counter()
    says = ""
    for run in here.trials():
        tags = run.data.tags
        stored.update((tags[TRIAL_ID], loss) for _, loss in here.history(run, "loss"))
        says += tags.get(RETRIED_AFTER, "")
    return {
        "error": error,
        "reported": len(reported),
        "stored": len(reported & stored.keys()),
        "twice": stored.total() - len(stored),
        "statuses": sorted({run.info.status for run in here.runs()}),
        "says": says,
    }


def study(here, callback, cases, *more, at_restart=lambda trial_id: None, **running):
    """Run a study of functions; the exception that ended it, if any."""
    if not ray.is_initialized():  # two CPU cores, whatever else runs here, and no processes that Tune would not use
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        with without_extras():
            ray.init(address="local", num_cpus=2, **quiet, _system_config={"prestart_worker_first_driver": False})
    callbacks = [Reported(here.folder, at_restart), callback, *more]
    return fit(tuner(callbacks, cases, trainable=trainables()["function"], **running))


def process_is_killed(here):
    """The process of one of three trials is killed with -9, and Tune begins it again."""
    killed = {"killed": 3, "once": str(here.folder / "killed"), "steps": 5}
    again = tune.FailureConfig(max_failures=1)
    return left(here, study(here, SystemMetricsCallback(here.uri), [{}, killed, {}], failure_config=again))


def nodes_lack_the_package(here):
    """Of a cluster's nodes, each of which has a trial, the head alone has it."""
    return _on_three_nodes(here)


def node_is_killed_and_comes_back(here):
    """One of three nodes, which all have it, is killed with its trial; another starts at once under its address."""
    return _on_three_nodes(here, "replace", py_modules=[mlflow_sysmetrics])


def node_announces_its_end(here):
    """The same, but it has said so before, which Tune does not count as a failure of its trial."""
    return _on_three_nodes(here, "announce", max_failures=0, py_modules=[mlflow_sysmetrics])


def _on_three_nodes(here, fate="", max_failures=1, **runtime_env):
    """What is left, and what is known of the processes of each trial; what was warned of, and who measures at last."""
    nodes = _three_nodes()
    said = []

    def act():
        if fate:
            wait_until(_measuring_processes, LIMIT_S, "what measures on other nodes")
            nodes.ask(fate, nodes.ask("others")[0])

    def measured_again(trial_id):
        began_ms = 1000 * time.time()
        (run,) = (run for run in here.trials() if run.data.tags[TRIAL_ID] == trial_id)
        _wait(lambda: _is_read_after(began_ms, here, run))

    warned = mock.patch.object(guard.logger, "warning", lambda text, *words, **more: said.append(text % words))
    at_once = AtResult(12, act, here.folder / "acted")
    again = tune.FailureConfig(max_failures=max_failures)
    ray.shutdown()
    ray.init(nodes.address, runtime_env=runtime_env, log_to_driver=False)
    try:
        with warned:
            callback = SystemMetricsCallback(here.uri)
            error = study(here, callback, [LONG] * 3, at_once, at_restart=measured_again, failure_config=again)
        _wait(lambda: not _measuring_processes())
        measuring_still = _measuring_processes()
    finally:
        ray.shutdown()
    return {
        **left(here, error),
        "runs": [_of_its_process(here, run) for run in here.trials()],
        "warnings": said,
        "measuring_still": measuring_still,
    }


def _wait(condition):
    """For what a test sees in the end."""
    with contextlib.suppress(pytest.fail.Exception):
        wait_until(condition, LIMIT_S, "")


@functools.cache
def _three_nodes():
    """The cluster of all."""
    folder = Path(_at_last.enter_context(tempfile.TemporaryDirectory()))
    return _at_last.enter_context(ray_nodes(folder, [1, 1, 1]))


def _measuring_processes():
    """How many processes measure trials of other nodes."""
    lines = (" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))
    return sum("NodeMeasurements" in line for line in lines)


def _of_its_process(here, run):
    """What a run says of its trial's process, also of the second half of its time, which is its last attempt."""
    return {
        "summary": [name for name in BOTH if name in run.data.metrics],
        "host": {name: tag for name, tag in run.data.tags.items() if name.startswith(HOST_PREFIX)},
        "is_read": _is_read_after(0, here, run),
        "is_read_at_last": _is_read_after((run.info.start_time + run.info.end_time) / 2, here, run),
    }


def _is_read_after(time_ms, here, run):
    series = here.client.get_metric_history(run.info.run_id, "system/process_memory_mb")
    return any(point.timestamp > time_ms for point in series)


def server_is_away_to_the_end(here):
    """The tracking server is killed, and a new one starts when the study is over; then `mlflow-sysmetrics sync`."""
    server = TrackingServer(here.folder, here.uri)
    _at_last.callback(server.kill)
    server.start()
    with environment(MLFLOW_SYSMETRICS_SPOOL=str(here.folder / "spool")):
        callback = SystemMetricsCallback(server.uri, close_timeout_s=3.0)
        away = AtResult(8, server.kill, here.folder / "away")
        error = study(here, callback, [{"steps": 16, "step_s": 0.3}] * 2, away)
        server.start()
        for _ in range(2):  # the second has nothing to add
            sync = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "sync", "--tracking-uri", server.uri]
            subprocess.run(sync, check=False, capture_output=True)
    return left(here, error)


# What tags of the trials' runs say of it, where a trial was hit.
FAULTS = {
    process_is_killed: "worker process has died",
    server_is_away_to_the_end: "",
    nodes_lack_the_package: "",
    node_is_killed_and_comes_back: "The actor",
    node_announces_its_end: "The actor",
}
BEGIN_AGAIN = (process_is_killed, node_is_killed_and_comes_back, node_announces_its_end)  # of trials


def main(store):
    """Be the script: break one thing after the other, and print what is left."""
    logging.disable(logging.CRITICAL)
    observed = {}
    with _at_last, tempfile.TemporaryDirectory() as folder:
        for fault in FAULTS:
            with place(Path(store), Path(folder) / fault.__name__) as here:
                observed[fault.__name__] = fault(here)
    print(json.dumps(observed))


@pytest.fixture(scope="module")
def observed(new_store):
    """What is left of a study with each fault."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    # Not in the environment of a test process, which may have run a search of the bundle's.
    env = clean_environment(RAY_worker_niceness="0", PYTHONPATH=path)
    done = subprocess.run(
        [sys.executable, __file__, str(new_store / "mlflow.db")],
        cwd=tempfile.gettempdir(),
        env=env,
        capture_output=True,
        text=True,
        timeout=SCRIPT_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("fault", FAULTS)
def test_study_in_which_something_breaks_is_whole_and_says_so(fault, observed):
    """What breaks is a trial's process, its node, or the tracking server."""
    left = observed[fault.__name__]
    assert left["error"] is None
    assert left["stored"] == left["reported"] > 0
    assert left["twice"] == 0 or fault in BEGIN_AGAIN
    assert left["statuses"] == ["FINISHED"]
    assert FAULTS[fault] in left["says"]


@pytest.mark.parametrize("fault", [node_is_killed_and_comes_back, node_announces_its_end])
def test_node_that_dies_costs_its_trial_the_summary(fault, observed):
    """That begins again, also where it may not fail. Those on other nodes have all, and what measured them is gone."""
    case = observed[fault.__name__]
    lost, *others = sorted(case["runs"], key=lambda run: run["summary"])
    assert lost["summary"] == []
    assert lost["is_read_at_last"]
    for run in others:
        assert run["is_read_at_last"]
        assert run["summary"] == BOTH
        assert run["host"] == Host().tags()
    assert case["measuring_still"] == 0


def test_node_without_the_package_is_told_how_to_get_it(observed):
    """Nothing of its process is read, and of the one here all."""
    case = observed["nodes_lack_the_package"]
    assert case["warnings"]
    assert all("runtime_env={'py_modules': [mlflow_sysmetrics]}" in said for said in case["warnings"])
    *there, here = sorted(case["runs"], key=lambda run: run["summary"])
    for run in there:
        assert run == {"summary": [], "host": {}, "is_read": False, "is_read_at_last": False}
    assert here["summary"] == BOTH


if __name__ == "__main__":
    main(*sys.argv[1:])
