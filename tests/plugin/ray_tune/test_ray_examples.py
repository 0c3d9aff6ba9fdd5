"""Ray's own Tune examples, as they are in its wheel, with our callback: each trial's run is whole and has its process.

Most run unmodified, with the callback's name in RAY_TUNE_CALLBACKS, but with fewer samples than theirs. In the example
of Ray's MLflow callback that name is replaced by ours, as a user would do it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import clean_environment, copy_store, store_uri
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.tune import examples

EXAMPLES = Path(str(examples.__file__)).parent
RUN_THEM = Path(__file__).parents[2] / "support" / "ray_examples.py"
SAMPLES = 3  # one of them waits for a CPU core, or others wait for it: HyperBand and PBT pause them
CALLBACK = "mlflow_sysmetrics.ray_tune.SystemMetricsCallback"
LIMIT_S = 600.0
FINAL = {"FINISHED", "KILLED", "FAILED"}
pytestmark = pytest.mark.slow
MLFLOW_EXAMPLE = """
import sys
from ray.tune.examples import mlflow_example

mlflow_example.tune_with_callback(sys.argv[1], finish_fast=True)
mlflow_example.tune_with_setup(sys.argv[1], finish_fast=True)
"""


@dataclass(frozen=True)
class Example:
    """A script, how many trials it has here, one metric that they report, and a package that it needs."""

    script: str
    trials: int
    metric: str
    needs: str = "ray"

    @property
    def is_possible(self) -> bool:
        """Whether that package is installed."""
        return importlib.util.find_spec(self.needs) is not None


UNMODIFIED = [
    Example("tune_basic_example", 2 * SAMPLES, "mean_loss"),  # a function
    Example("async_hyperband_example", SAMPLES, "mean_loss"),  # ASHA
    Example("hyperband_example", SAMPLES, "episode_reward_mean"),  # a class
    Example("hyperband_function_example", SAMPLES, "episode_reward_mean"),
    Example("pbt_example", SAMPLES, "mean_accuracy"),  # a class whose processes are kept; the stock callback ends it
    Example("pbt_function", SAMPLES, "mean_accuracy"),  # the stock callback ends it
    Example("logging_example", SAMPLES, "mean_loss"),  # with a callback of its own
    Example("custom_func_checkpointing", SAMPLES, "mean_loss"),
    Example("custom_checkpointing_with_callback", SAMPLES, "mean_loss"),  # a class
    Example("optuna_example", SAMPLES, "mean_loss", needs="optuna"),
]


@dataclass(frozen=True)
class Ran:
    """Folders of examples with a store each, and the error of each that failed."""

    folder: Path
    errors: dict[str, str]

    def store(self, example: str) -> Path:
        """Where its store is. The example has come to its end."""
        assert example not in self.errors, self.errors[example]
        return self.folder / example


def run_examples(new_store: Path, folder: Path, *lines: list[str | Path], **environment: str) -> Ran:
    """Run scripts with few samples to their ends; each line names one, and its arguments."""
    for script, *_ in lines:
        copy_store(new_store, folder / Path(script).stem)
    done = subprocess.run(
        [sys.executable, str(RUN_THEM), str(SAMPLES), str(folder), *(str(word) for line in lines for word in line)],
        cwd=folder,
        env=clean_environment(RAY_AUTH_MODE="disabled", **environment),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "training goes on" not in done.stderr  # what a hook says that went wrong
    return Ran(folder, json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def unmodified(new_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All that are here unmodified. Only the environment names the callback."""
    folder = tmp_path_factory.mktemp("unmodified")
    short = folder / "mlflow_example.py"
    short.write_text(MLFLOW_EXAMPLE)
    lines = [[EXAMPLES / f"{each.script}.py", "--smoke-test"] for each in UNMODIFIED if each.is_possible]
    lines.append([short, store_uri(folder / short.stem)])
    return run_examples(new_store, folder, *lines, RAY_TUNE_CALLBACKS=CALLBACK)


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
def test_example_of_ray_runs_unmodified(example: Example, unmodified: Ran) -> None:
    """With the runs that it would have with the stock callback, whole."""
    if not example.is_possible:
        pytest.skip(f"{example.needs} is not installed")
    assert_whole(runs_in(unmodified.store(example.script)), example.trials, example.metric)


def test_mlflow_example_of_ray_runs_unmodified(unmodified: Ran) -> None:
    """Beside the stock callback, whose runs it leaves alone. Its functions are called as its main does, to be short.

    The example's second half fails with any callback, since it names no experiment to `setup_mlflow`: that is recorded.
    """
    store = unmodified.store("mlflow_example")
    runs = [run for run in runs_in(store) if "sysmetrics.kind" in run.data.tags]
    second = [run for run in runs if str(run.info.run_name).startswith("train_function_mlflow")]
    assert_whole([run for run in runs if run not in second], SAMPLES, "mean_loss")
    assert [run.info.status for run in second] == ["FAILED"] * SAMPLES
    assert all("create an MLflow experiment" in run.data.tags["sysmetrics.error"] for run in second)
    assert Counter(run.info.status for run in runs_in(store, "example")) == {"FINISHED": SAMPLES}  # the stock one's


def test_mlflow_example_of_ray_runs_with_the_name_replaced(new_store: Path, tmp_path: Path) -> None:
    """Two lines of it name the callback. Its experiment has the trials' runs and theirs around them."""
    text = (EXAMPLES / "mlflow_example.py").read_text()
    ours = "from ray.air.integrations.mlflow import setup_mlflow\nfrom mlflow_sysmetrics.ray_tune import {}\n"
    text, imports = re.subn(r"from ray\.air.* import MLflowLoggerCallback, setup_mlflow\n", ours, text)
    text = text.replace("MLflowLoggerCallback(", "SystemMetricsCallback(").replace("{}", "SystemMetricsCallback")
    text = text.replace("5 if finish_fast else 100", "5")  # steps of 0.1 s
    assert imports == 1
    script = tmp_path / "replaced.py"
    script.write_text(text)
    ran = run_examples(new_store, tmp_path, [script, "--tracking-uri", store_uri(tmp_path / script.stem)])
    assert_whole(runs_in(ran.store(script.stem), "example"), SAMPLES, "mean_loss")
