"""Ray's own Tune examples, as they are in its wheel, with our callback: each trial's run is whole and has its process.

Most run unmodified, with the callback's name in RAY_TUNE_CALLBACKS. In the example of Ray's MLflow callback that name
is replaced by ours, as a user would do it.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import clean_environment, store_uri
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.tune import examples

EXAMPLES = Path(str(examples.__file__)).parent
CALLBACK = "mlflow_sysmetrics.ray_tune.SystemMetricsCallback"
LIMIT_S = 600.0
FINAL = {"FINISHED", "KILLED", "FAILED"}
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Example:
    """A script, how many trials its smoke test has, one metric that they report, and a package that it needs."""

    script: str
    trials: int
    metric: str
    needs: str = "ray"


UNMODIFIED = [
    Example("tune_basic_example", 10, "mean_loss"),  # a function
    Example("async_hyperband_example", 20, "mean_loss"),  # ASHA
    Example("hyperband_example", 20, "episode_reward_mean"),  # a class
    Example("hyperband_function_example", 20, "episode_reward_mean"),
    Example("pbt_example", 8, "mean_accuracy"),  # a class whose processes are kept; the stock callback ends it
    Example("pbt_function", 8, "mean_accuracy"),  # the stock callback ends it
    Example("logging_example", 5, "mean_loss"),  # with a callback of its own
    Example("custom_func_checkpointing", 5, "mean_loss"),
    Example("custom_checkpointing_with_callback", 3, "mean_loss"),  # a class
    Example("optuna_example", 10, "mean_loss", needs="optuna"),
]


def run_script(script: Path, folder: Path, *arguments: str, **environment: str) -> None:
    """Run a script to its end with the store in a folder, which is its home as well."""
    env = clean_environment(
        MLFLOW_TRACKING_URI=store_uri(folder), HOME=str(folder), RAY_ADDRESS="local", RAY_AUTH_MODE="disabled"
    )
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=env | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "training goes on" not in done.stderr  # what a hook says that went wrong


def runs_in(folder: Path, experiment: str | None = None) -> list[Run]:
    """All runs of one experiment or of all."""
    client = MlflowClient(store_uri(folder))
    experiments = [each for each in client.search_experiments() if experiment in (None, each.name)]
    return list(client.search_runs([each.experiment_id for each in experiments]))


def assert_whole(runs: list[Run], trials: int, metric: str) -> None:
    """So many trials, all ended, each with its metric, its process's series and a parent."""
    of_trials = [run for run in runs if run.data.tags.get("sysmetrics.kind") == "trial"]
    assert len(of_trials) == trials
    assert {run.info.status for run in runs} <= FINAL, Counter(run.info.status for run in runs)
    assert "FAILED" not in {run.info.status for run in of_trials}
    known = {run.info.run_id for run in runs}
    for run in of_trials:
        assert metric in run.data.metrics, run.data
        assert "system/process_memory_mb" in run.data.metrics, run.data
        assert run.data.tags["mlflow.parentRunId"] in known


@pytest.mark.parametrize("example", UNMODIFIED, ids=[example.script for example in UNMODIFIED])
def test_example_of_ray_runs_unmodified(example: Example, empty_store: Path) -> None:
    """Only the environment names the callback."""
    if importlib.util.find_spec(example.needs) is None:
        pytest.skip(f"{example.needs} is not installed")
    run_script(EXAMPLES / f"{example.script}.py", empty_store, "--smoke-test", RAY_TUNE_CALLBACKS=CALLBACK)
    assert_whole(runs_in(empty_store), example.trials, example.metric)


def test_mlflow_example_of_ray_runs_unmodified(empty_store: Path) -> None:
    """Beside the stock callback, whose runs it leaves alone.

    The example's second half fails with any callback, since it names no experiment to `setup_mlflow`: that is recorded.
    """
    arguments = ("--tracking-uri", store_uri(empty_store))
    run_script(EXAMPLES / "mlflow_example.py", empty_store, *arguments, RAY_TUNE_CALLBACKS=CALLBACK)
    runs = [run for run in runs_in(empty_store) if "sysmetrics.kind" in run.data.tags]
    second = [run for run in runs if str(run.info.run_name).startswith("train_function_mlflow")]
    assert_whole([run for run in runs if run not in second], 5, "mean_loss")
    assert [run.info.status for run in second] == ["FAILED"] * 5
    assert all("create an MLflow experiment" in run.data.tags["sysmetrics.error"] for run in second)
    assert Counter(run.info.status for run in runs_in(empty_store, "example")) == {"FINISHED": 5}  # the stock one's


def test_mlflow_example_of_ray_runs_with_the_name_replaced(empty_store: Path) -> None:
    """Two lines of it name the callback. Its experiment has the trials' runs and theirs around them."""
    text = (EXAMPLES / "mlflow_example.py").read_text()
    ours = "from ray.air.integrations.mlflow import setup_mlflow\nfrom mlflow_sysmetrics.ray_tune import {}\n"
    text, imports = re.subn(r"from ray\.air.* import MLflowLoggerCallback, setup_mlflow\n", ours, text)
    text = text.replace("MLflowLoggerCallback(", "SystemMetricsCallback(").replace("{}", "SystemMetricsCallback")
    assert imports == 1
    script = empty_store / "example.py"
    script.write_text(text)
    run_script(script, empty_store, "--tracking-uri", store_uri(empty_store))
    assert_whole(runs_in(empty_store, "example"), 5, "mean_loss")
