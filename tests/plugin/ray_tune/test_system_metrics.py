"""The wrapper around any trainable: what its results say of its process. In one process, and through real Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from commands import ROOT
from mlflow import MlflowClient
from ray import tune
from ray.tune.logger.mlflow import MLflowLoggerCallback
from ray.tune.result import RESULT_DUPLICATE
from tune_sweeps import tuner

from mlflow_sysmetrics import Limits
from mlflow_sysmetrics.ray_tune import LimitsStopper, SystemMetricsCallback, system_metrics

WHOLE = {"elapsed_s", "cpu_seconds", "mean_cpu_percent", "peak_memory_mb", "memory_growth_mb"}


# A program, so that no children count in. A class takes this many megabytes at each step, and works for some thirty
# milliseconds: a trial of less than one reading has no CPU time. It reports a value under a name of the wrapper's.
GROWING = """
import json
from ray import tune
from mlflow_sysmetrics.ray_tune import system_metrics

class Growing(tune.Trainable):
    def setup(self, config):
        self.kept = []
        self.config = config

    def reset_config(self, new_config):
        self.setup(new_config)
        return True

    def step(self):
        self.kept.append(b"x" * (1_000_000 * self.config["mb"]))
        sum(range(3_000_000))
        return {"kept": len(self.kept), "elapsed_s": -1.0}

trainable = system_metrics(Growing)({"mb": 50})
results = [trainable.train(), trainable.train()]
assert trainable.reset({"mb": 1})
results.append(trainable.train())
trainable.stop()
print(json.dumps([{name: value for name, value in each.items() if name != "config"} for each in results]))
"""


def test_results_of_a_class_hold_its_costs() -> None:
    """Since the last result, and since the trial began or the process was given the next; its own stay as they were."""
    argv = [sys.executable, "-c", GROWING]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    first, second, of_the_next = json.loads(done.stdout.splitlines()[-1])
    assert first.keys() >= WHOLE
    assert first["memory_growth_mb"] == pytest.approx(50, abs=10)
    assert first["process_memory_mb_max"] >= 50
    assert first["elapsed_s"] == -1.0
    assert first["sysmetrics_own"] == ["elapsed_s"]  # a tuple, in JSON
    assert second["memory_growth_mb"] == pytest.approx(100, abs=20)
    assert of_the_next["memory_growth_mb"] < 50


def test_scheduler_limits_and_loggers_see_the_costs_of_a_function(local_ray: None, store_in_use: MlflowClient) -> None:
    """A limit on memory ends the one that grows; processes are kept, and each trial's summary is its own.

    Ray's own logger has the summary so far. Ours has what describes an interval, and that of the whole trial.
    """

    def train(config: dict[str, Any]) -> None:
        kept = []
        for _ in range(4):
            kept.append(b"x" * (1_000_000 * config["case"]["mb"]))
            sum(range(3_000_000))
            tune.report({"kept": len(kept)})

    client, uri = store_in_use, store_in_use.tracking_uri
    callbacks = [MLflowLoggerCallback(uri, experiment_name="stock"), SystemMetricsCallback(uri, experiment_name="ours")]
    limit = LimitsStopper(Limits.parse("memory_growth_mb<=250"))
    cases = [{"mb": megabytes} for megabytes in (0, 100, 1)]
    more: dict[str, Any] = {"name": None, "tuning": {"reuse_actors": True}, "stop": limit}
    results = tuner(callbacks, cases, trainable=system_metrics(train), **more).fit()
    last = {result.metrics["config"]["case"]["mb"]: result.metrics for result in results}
    assert {mb: metrics["kept"] for mb, metrics in last.items()} == {0: 4, 100: 3, 1: 4}
    assert all(metrics.keys() >= WHOLE for metrics in last.values())
    assert RESULT_DUPLICATE not in last[0]
    runs = client.search_runs([client.get_experiment_by_name("stock").experiment_id])
    assert {run.data.params["case/mb"]: run.data.metrics["peak_memory_mb"] for run in runs} == {
        str(mb): pytest.approx(metrics["peak_memory_mb"]) for mb, metrics in last.items()
    }
    ours = client.get_experiment_by_name("ours").experiment_id
    trials = client.search_runs([ours], "tags.`sysmetrics.kind` = 'trial'")
    assert len(trials) == len(last)
    (ended,) = (run for run in trials if run.info.status == "KILLED")
    assert ended.data.tags["sysmetrics.stop_reason"].startswith("memory_growth_mb 3")
    for run in trials:
        points = {name: client.get_metric_history(run.info.run_id, name) for name in (*WHOLE, "kept", "memory_mb")}
        steps = {name: sorted(point.step for point in each) for name, each in points.items()}
        of_results = list(range(1, last[int(run.data.params["case/mb"])]["kept"] + 1))
        assert steps == {name: [0] for name in WHOLE} | {"kept": of_results, "memory_mb": of_results}
