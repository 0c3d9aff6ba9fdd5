"""`Tuner.restore`: the runs go on, and a summary is of the whole trial or is not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from cases import cases
from commands import ROOT, clean_environment
from mlflow import MlflowClient
from ray import tune
from tune_sweeps import AtResult, trainables, tuner

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback

STEPS, STEP_S = 6, 0.2
LIMIT_S = 120.0
# As `sweep` below, in a process that is killed once the store has the results: `python -c DRIVER ray uri kind`.
DRIVER = """
import os, signal, sys
import commands, ray, test_restore

def end():
    commands.wait_until(lambda: test_restore.are_stored(sys.argv[2]), test_restore.LIMIT_S, "the results")
    os.kill(os.getpid(), signal.SIGKILL)

ray.init(sys.argv[1], log_to_driver=False)
test_restore.sweep(*sys.argv[2:], end).fit()
"""


def are_stored(uri):
    """Whether the trial that is ended has its run, and all its results so far in the store."""
    client = MlflowClient(uri)
    trials = [run.info.run_id for run in client.search_runs(["1"], f"params.`case/steps` = '{STEPS}'")]
    points = [point for each in trials for point in client.get_metric_history(each, "loss")]
    return len(points) >= STEPS // 2


def sweep(uri, kind, end):
    """Trials, one after the other, the first of which fails. It is ended when the last has done half of its steps."""
    callback = SystemMetricsCallback(uri, experiment_id="1")
    ended = AtResult(STEPS // 2, end, Path("ended"))
    cases = [{"fails": 1}, {"steps": 1}, {"steps": STEPS, "step_s": STEP_S}]
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=int(kind != "function"))
    more = {"checkpoint_config": checkpoints, "tuning": {"reuse_actors": True}}
    return tuner([callback, ended], cases, trainable=trainables()[kind], **more)


def run_and_kill_driver(uri, kind):
    """The same in a process of its own, which is killed where this one would be interrupted."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support", Path(__file__).parent)))
    joins = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]}
    joins["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # it listens on loopback
    command = [sys.executable, "-c", DRIVER, ray.get_runtime_context().gcs_address, uri, kind]
    env = clean_environment(PYTHONPATH=paths, **joins)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == -signal.SIGKILL, done.stderr


@cases("kind", ["class", pytest.param("function", marks=pytest.mark.slow)])
def test_summary_of_a_restored_trial_is_of_all_of_it_or_is_absent(kind, client, local_ray, tmp_path, monkeypatch):
    """What the processes before had is added, where the run has it; it is unknown where the driver was killed.

    The driver of a class is interrupted, and that of a function is killed.
    No run is new, but for one that had failed and is restarted, which counts once, or left RUNNING, and each result is
    there.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)  # a study of the bundle has its own
    is_killed = kind == "function"
    if is_killed:
        run_and_kill_driver(client.tracking_uri, kind)
    else:
        sweep(client.tracking_uri, kind, lambda: os.kill(os.getpid(), signal.SIGINT)).fit()
    before = runs_by_id(client)
    assert ("RUNNING" in {run.info.status for run in before.values()}) == is_killed
    kept = str(tmp_path / "tune" / "sweep")
    results = tune.Tuner.restore(kept, trainables()[kind], resume_unfinished=True, restart_errored=True).fit()
    after = runs_by_id(client)
    assert after.keys() == before.keys()
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    study, *trials = sorted(after.values(), key=lambda run: run.data.tags["sysmetrics.kind"])
    assert len(trials) == 2
    assert study.data.metrics.items() >= {"trials": len(results), "failed": results.num_errors}.items()
    (run,) = (run for run in trials if run.data.params["case/steps"] == str(STEPS))
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
    assert {*steps} == {*range(1, STEPS + 1)}
    assert ("elapsed_s" in run.data.metrics) is not is_killed
    if not is_killed:
        before_s = before[run.info.run_id].data.metrics["elapsed_s"]
        assert run.data.metrics["elapsed_s"] >= before_s + STEP_S


def runs_by_id(client):
    """Those that did not fail."""
    return {run.info.run_id: run for run in client.search_runs(["1"]) if run.info.status != "FAILED"}
