"""Limits of the callback on what each trial's process uses, for any trainable."""

import re
import time

import pytest
from ray import tune
from tune_sweeps import tuner

from mlflow_sysmetrics.ray_tune import SystemMetricsCallback
from mlflow_sysmetrics.tags import STOP_REASON, STOPPED_BY

MEETING = 10  # trials that meet the limit
LONG_STEP_S = 120.0
REASON = re.compile(r"memory_growth_mb (\d+(?:\.\d+)?) > 250 \(after (\d+\.\d) s\)")


def _trainable(kind, folder):
    """One that takes memory in its first step. It is made in a function so that workers need not import this module."""

    def step(case, kept):
        if not kept:
            kept.append(bytearray(b"x" * (1_000_000 * case["mb"])))
            with (folder / case["name"]).open("a") as file:
                file.write("begun\n")
        time.sleep(case["step_s"])
        return {"loss": 1.0}

    def train(config):
        kept = []
        for _ in range(config["case"]["steps"]):
            tune.report(step(config["case"], kept))

    class Train(tune.Trainable):
        def setup(self, config):
            self.case = config["case"]
            self.kept = []

        def reset_config(self, new_config):
            self.setup(new_config)
            return True

        def step(self):
            return {**step(self.case, self.kept), "done": self.training_iteration + 1 >= self.case["steps"]}

    return train if kind == "function" else Train


def _trials(client):
    runs = client.search_runs(["0"], "tags.`sysmetrics.kind` = 'trial'")
    return {run.data.params["case/name"]: run for run in runs}


@pytest.mark.parametrize("kind", ["function", pytest.param("class", marks=pytest.mark.slow)])
def test_trial_that_breaks_a_limit_is_killed_beside_others_that_meet_it(
    kind, local_ray, store_in_use, tmp_path, monkeypatch
):
    """At its next result, or where none comes by the end of its process: it does not begin again. The reason is there.

    The script of the class knows nothing of it. Results have what the user reports.
    """
    cases = [{"name": f"meets {number}", "mb": 1, "steps": 2, "step_s": 0.1} for number in range(MEETING)]
    cases.insert(1, {"name": "greedy", "mb": 400, "steps": 600, "step_s": 0.2})
    cases.insert(3, {"name": "greedy in one step", "mb": 400, "steps": 1, "step_s": LONG_STEP_S})
    callbacks = []
    if kind == "function":
        callbacks = [SystemMetricsCallback(limits="memory_growth_mb<=250")]
    else:
        monkeypatch.setenv("RAY_TUNE_CALLBACKS", "mlflow_sysmetrics.ray_tune.SystemMetricsCallback")
        monkeypatch.setenv("MLFLOW_SYSMETRICS_LIMITS", "memory_growth_mb<=250")
    more = {"tuning": {"reuse_actors": True}, "failure_config": tune.FailureConfig(max_failures=1)}
    more["checkpoint_config"] = tune.CheckpointConfig(checkpoint_at_end=False)
    results = tuner(callbacks, cases, trainable=_trainable(kind, tmp_path), **more).fit()
    trials = _trials(store_in_use)
    assert len(trials) == len(cases)
    killed = {name: run for name, run in trials.items() if run.info.status != "FINISHED"}
    assert killed.keys() == {"greedy", "greedy in one step"}
    for name, run in killed.items():
        assert (run.info.status, run.data.tags[STOPPED_BY]) == ("KILLED", "limits")
        reason = REASON.fullmatch(run.data.tags[STOP_REASON])
        assert reason is not None, run.data.tags[STOP_REASON]
        assert float(reason[1]) > 250
        print(f"{kind}, {name}: {reason[0]}, ended after {run.data.metrics['elapsed_s']:.1f} s")
        assert float(reason[2]) < run.data.metrics["elapsed_s"] < LONG_STEP_S
        assert (tmp_path / name).read_text() == "begun\n"
    assert all("memory_growth_mb" not in result.metrics for result in results if result.metrics)


@pytest.mark.parametrize("limits", ["peak_memry_mb<=5", "loss<=1", "elapsed_s<=2x median"])
def test_limit_that_is_none_of_a_process_is_refused_at_construction(limits, monkeypatch):
    """Also that of the environment."""
    with pytest.raises(ValueError, match=r"^limits="):
        SystemMetricsCallback(limits=limits)
    monkeypatch.setenv("MLFLOW_SYSMETRICS_LIMITS", limits)
    with pytest.raises(ValueError, match=r"^limits="):
        SystemMetricsCallback()
