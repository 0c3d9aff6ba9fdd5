"""What is left of a Tune study in which something breaks: `python tests/support/tune_faults.py DB`.

Each case runs one small study, breaks something in its course, and counts: the results that Tune was given, which is
what had been reported, those of them that the store has at last, points and runs that it has twice, and runs that are
left RUNNING.
"""

import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import mlflow
import psutil
import pytest
import ray
from commands import wait_until
from observations import tell
from ray import tune
from ray_nodes import ray_nodes
from tracking_server import TrackingServer
from tune_sweeps import AtResult, environment, fit, trainables, tuner

import mlflow_sysmetrics
from mlflow_sysmetrics import guard
from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import HOST_PREFIX

LIMIT_S = 60.0
AWAY_S = 6.0  # how long a store is away that comes back; that is noticed after 2 s, when it is next written to
LONG = {"steps": 40, "step_s": 0.3}  # 12 s: it comes back in mid-study

_at_last = contextlib.ExitStack()  # what ends with this process


class Reported(tune.Callback):
    """Writes down the results that Tune was given, by trial and loss, which is another in each iteration."""

    def __init__(self, folder):
        self.file = folder / "reported"

    def on_trial_result(self, iteration, trials, trial, result, **info):
        with self.file.open("a") as file:
            file.write(f"{json.dumps([trial.trial_id, result['loss']])}\n")

    @staticmethod
    def results(folder):
        """Of a study in this folder, and of its continuation."""
        lines = (folder / "reported").read_text().splitlines()
        return {(trial_id, loss) for trial_id, loss in map(json.loads, lines)}


class BeganAgain(tune.Callback):
    """Acts once a trial has begun again, at its first result: of this number of trials the next one that begins."""

    def __init__(self, trials, act):
        self.trials, self.act, self.begun = trials, act, 0

    def __getstate__(self):
        return self.__dict__ | {"act": None}  # Tune keeps a copy of callbacks for a restore

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if result["training_iteration"] == 1:
            self.begun += 1
            if self.begun == self.trials + 1:
                self.act(trial.trial_id)


def left(here, error):
    """What the store has in the end, counted."""
    trials, reported = here.trials(), Reported.results(here.folder)
    stored = Counter()
    for run in trials:
        stored.update((run.data.tags["sysmetrics.trial_id"], loss) for _, loss in here.history(run, "loss"))
    ids = Counter(run.data.tags["sysmetrics.trial_id"] for run in trials)
    texts = [
        run.data.tags.get(f"sysmetrics.{name}")
        for run in trials
        for name in ("error", "retried_after", "cause_of_death")
    ]
    return {
        "error": error,
        "reported": len(reported),
        "stored": len(reported & stored.keys()),
        "twice": sum(count - 1 for count in stored.values()) + sum(count - 1 for count in ids.values()),
        "running": here.statuses().get("RUNNING", 0),
        "trials": here.trial_statuses(),
        "says": [text for text in texts if text],
    }


def study(here, callback, cases, *more, kind="class", **running):
    """Run a study of one kind of trainable; the exception that ended it, if any."""
    return fit(tuner([Reported(here.folder), callback, *more], cases, trainable=trainables()[kind], **running))


def trial_is_killed(here):
    """The process of one of three trials is killed with -9, and Tune gives the trial up."""
    killed = {"killed": 3, "once": str(here.folder / "killed")}
    return left(here, study(here, SystemMetricsCallback(here.uri), [{}, killed, {}]))


def function_is_killed_and_repeated(here):
    """The same of a function, and Tune begins it again."""
    killed = {"killed": 3, "once": str(here.folder / "killed"), "steps": 5}
    again = tune.FailureConfig(max_failures=1)
    error = study(here, SystemMetricsCallback(here.uri), [{}, killed, {}], kind="function", failure_config=again)
    return left(here, error)


def nodes_lack_the_package(here):
    """Of a cluster's nodes, each of which has a trial, the head alone has it."""
    return _on_three_nodes(here)


def node_is_killed_and_comes_back(here):
    """One of three nodes, which all have it, is killed with its trial; another starts at once under its address."""
    return _on_three_nodes(here, "replace", py_modules=[mlflow_sysmetrics])


def node_announces_its_end(here):
    """The same, but it has said so before, which Tune does not count as a failure of its trial."""
    return _on_three_nodes(here, "announce", max_failures=0, py_modules=[mlflow_sysmetrics])


def node_is_killed(here):
    """No other node starts: Tune begins the trial again on one that is left."""
    return _on_three_nodes(here, "kill", py_modules=[mlflow_sysmetrics])


def _on_three_nodes(here, fate="", max_failures=1, **runtime_env):
    """What is left, and what is known of the processes of each trial; what was warned of, and who measures at last."""
    nodes, said = _three_nodes(), list[str]()

    def act():
        if fate:
            wait_until(_measuring_processes, LIMIT_S, "what measures on other nodes")
            nodes.ask(fate, nodes.ask("others")[0])

    def measured_again(trial_id):
        began_ms = 1000 * time.time()
        (run,) = (run for run in here.trials() if run.data.tags["sysmetrics.trial_id"] == trial_id)
        with contextlib.suppress(pytest.fail.Exception):  # it is seen at the end
            wait_until(lambda: _is_read_after(began_ms, here, run), LIMIT_S, "readings of the trial that began again")

    warned = mock.patch.object(guard.logger, "warning", lambda text, *words, **more: said.append(text % words))
    kept, at_once = SystemMetricsCallback(here.uri), AtResult(12, act, here.folder / "acted")
    again, cases = tune.FailureConfig(max_failures=max_failures), [{"steps": 40, "step_s": 0.3}] * 3
    ray.init(nodes.address, runtime_env=runtime_env, log_to_driver=False)
    try:
        with warned:
            error = study(here, kept, cases, at_once, BeganAgain(3, measured_again), failure_config=again)
        with contextlib.suppress(pytest.fail.Exception):
            wait_until(lambda: not _measuring_processes(), LIMIT_S, "the end of what measures")
        measuring_still = _measuring_processes()
    finally:
        ray.shutdown()
    return {
        **left(here, error),
        "unmeasured": sum(not _measured_at_last(here, run) for run in here.trials()) if fate else 0,
        "runs": [_of_its_process(here, run) for run in here.trials()],
        "warnings": said,
        "measuring_still": measuring_still,
    }


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
    """What a run says of its trial's process."""
    tags = run.data.tags
    return {
        "points": len(here.history(run, "system/process_memory_mb")),
        "summary": sorted(name for name in run.data.metrics if name in ("elapsed_s", "peak_memory_mb")),
        "host": {name: tag for name, tag in tags.items() if name.startswith(HOST_PREFIX)},
        "is_placed": {"sysmetrics.node", "sysmetrics.pid"} <= tags.keys(),
    }


def _measured_at_last(here, run):
    """Whether there are readings of its process from the second half of its time, which is its last attempt."""
    return _is_read_after((run.info.start_time + run.info.end_time) / 2, here, run)


def _is_read_after(time_ms, here, run):
    series = here.client.get_metric_history(run.info.run_id, "system/process_memory_mb")
    return any(point.timestamp > time_ms for point in series)


def server_is_killed_and_restarted(here):
    """The tracking server is killed, and a new one starts after a while on its port and store."""
    with _server(here) as server:
        back = threading.Timer(AWAY_S, server.start)
        away = AtResult(3, lambda: (server.kill(), back.start()), here.folder / "away")
        error = study(here, SystemMetricsCallback(server.uri), [LONG, LONG], away)
        back.join()
    return left(here, error)


def server_is_away_to_the_end(here):
    """The tracking server is killed, and a new one starts when the study is over; then `mlflow-sysmetrics sync`."""
    with _server(here) as server, environment(MLFLOW_SYSMETRICS_SPOOL=str(here.folder / "spool")):
        mine = SystemMetricsCallback(server.uri, close_timeout_s=3.0)
        away = AtResult(8, server.kill, here.folder / "away")
        error = study(here, mine, [{"steps": 16, "step_s": 0.3}] * 2, away)
        server.start()
        for _ in range(2):  # the second has nothing to add
            sync = [sys.executable, "-m", "mlflow_sysmetrics.command.cli", "sync", "--tracking-uri", server.uri]
            subprocess.run(sync, check=False, capture_output=True)
    return left(here, error)


@contextlib.contextmanager
def _server(here):
    """A server on the place's store, which MLflow uses."""
    server = TrackingServer(here.folder, here.uri)
    try:
        server.start()
        mlflow.set_tracking_uri(server.uri)
        yield server
    finally:
        server.kill()
        mlflow.set_tracking_uri(here.uri)


# What tags of the trials' runs say of it, where a trial was hit. In this order: after the last there is a node less.
SAYS = {
    trial_is_killed: "worker process has died",
    function_is_killed_and_repeated: "worker process has died",
    server_is_killed_and_restarted: "",
    server_is_away_to_the_end: "",
    nodes_lack_the_package: "",
    node_is_killed_and_comes_back: "The actor",
    node_announces_its_end: "The actor",
    node_is_killed: "The actor",
}
FAULTS = {case.__name__: case for case in SAYS}
STARTS_RAY = [fault for fault in FAULTS if "node" in fault]


def wrong_with(fault, observed):
    """What is wrong with what is left of a study."""
    if "broken" in observed:
        return [str(observed["broken"])]
    said = SAYS[FAULTS[fault]]
    wrong = {
        f"the study ended with {observed['error']}": observed["error"] is not None,
        "results are lost": observed["stored"] < observed["reported"] or not observed["reported"],
        "something is there twice": observed["twice"] > 0,
        "runs are left RUNNING": observed["running"] > 0,
        "processes are not measured": observed.get("unmeasured", 0) > 0,
        "nothing says what happened": said != "" and not any(said in text for text in observed["says"]),
    }
    return [what for what, is_so in wrong.items() if is_so]


if __name__ == "__main__":
    with _at_last:
        tell([*SAYS], sys.argv[1], without_ray=STARTS_RAY)
