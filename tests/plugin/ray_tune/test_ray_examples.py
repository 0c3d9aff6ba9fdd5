"""Ray's own Tune examples, as they are in its wheel, with our callback: each trial's run is whole and has its process.

They run unmodified, with the callback's name in RAY_TUNE_CALLBACKS, but with fewer samples than theirs.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import clean_environment, copy_store, store_uri
from mlflow import MlflowClient
from ray.tune import examples

RUN_THEM = Path(__file__).parents[2] / "support" / "ray_examples.py"
CALLBACK = "mlflow_sysmetrics.ray_tune.SystemMetricsCallback"
SAMPLES = 3  # one of them waits for a CPU core, or others wait for it: HyperBand and PBT pause them
LIMIT_S = 600.0
EXAMPLES = {  # with a metric that its trials report
    "hyperband_function_example": "episode_reward_mean",  # a function, whose trials are paused
    "pbt_example": "mean_accuracy",  # a class whose processes are kept; the stock callback ends it
    "logging_example": "mean_loss",  # with a callback of its own
    "optuna_example": "mean_loss",
}
POSSIBLE = [each for each in EXAMPLES if each != "optuna_example" or importlib.util.find_spec("optuna")]


@pytest.fixture(scope="module")
def ran(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all have run to their ends, each in one of its own with a store."""
    folder = tmp_path_factory.mktemp("examples")
    words = [str(SAMPLES), str(folder)]
    for example in POSSIBLE:
        copy_store(new_store, folder / example)
        words += [str(Path(str(examples.__file__)).with_name(f"{example}.py")), "--smoke-test"]
    env = clean_environment(RAY_AUTH_MODE="disabled", RAY_TUNE_CALLBACKS=CALLBACK)
    line = [sys.executable, str(RUN_THEM), *words]
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "training goes on" not in done.stderr  # what a hook says that went wrong
    assert json.loads(done.stdout.splitlines()[-1]) == {}  # errors
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("example", POSSIBLE)
def test_example_of_ray_runs_unmodified(example: str, ran: Path) -> None:
    """All trials are there, all ended, each with its metric, its process's series and a parent."""
    client = MlflowClient(store_uri(ran / example))
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    trials = [run for run in runs if run.data.tags.get("sysmetrics.kind") == "trial"]
    assert len(trials) == SAMPLES
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for run in trials:
        assert {EXAMPLES[example], "system/process_memory_mb"} <= run.data.metrics.keys()
        assert run.data.tags["mlflow.parentRunId"] in {each.info.run_id for each in runs}
