"""Each example runs, and leaves in its run what its first line promises."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import mlflow
import pytest
from commands import ROOT, clean_environment, store_uri
from mlflow import MlflowClient
from mlflow.entities import Run

EXAMPLES = ROOT / "examples"
LIMIT_S = 120.0
SUMMARY = {
    *("elapsed_s", "cpu_seconds", "user_cpu_seconds", "system_cpu_seconds", "mean_cpu_percent"),
    *("peak_memory_mb", "memory_growth_mb", "read_mb", "write_mb"),
}
LINES = {
    "sklearn_script": [sys.executable, "sklearn_script.py"],
    "xgboost_rounds": [sys.executable, "xgboost_rounds.py"],
    "training_loop": [sys.executable, "training_loop.py"],
    "tune_script": [sys.executable, "tune_script.py"],
    "tune_artifacts": [sys.executable, "tune_artifacts.py"],
    "project": [
        *(sys.executable, "-m", "mlflow", "run", "project", "--env-manager", "local"),
        *("--backend", "system-metrics"),
    ],
    "notebook": [sys.executable, "-m", "jupyter", "execute", "notebook.ipynb"],
    "ranks": [sys.executable, "ranks.py"],
    "loop_of_runs": [sys.executable, "loop_of_runs.py"],
}
NEEDS = {"xgboost_rounds": ("xgboost",), "notebook": ("nbclient", "ipykernel")}
OTHERS = ("tune_script", "tune_artifacts", "loop_of_runs")  # of several runs
OF_PHASES = {
    "sklearn_script": ("load", "train", "score"),
    "training_loop": ("train",),
    "notebook": ("load", "train"),
}


def runs_after(name: str, folder: Path) -> list[Run]:
    """Run an example in a copy of the folder of all, and return the runs that it leaves."""
    for package in NEEDS.get(name, ()):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    place = folder / "examples"
    shutil.copytree(EXAMPLES, place)
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = clean_environment(
        PATH=scripts, MLFLOW_TRACKING_URI=store_uri(folder), MLFLOW_SYSMETRICS_SPOOL=str(folder / "spools")
    )
    done = subprocess.run(LINES[name], cwd=place, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return MlflowClient(store_uri(folder)).search_runs(["0"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LINES if name not in OTHERS])
def test_example_leaves_its_summary_and_phases(empty_store: Path, name: str) -> None:
    """In one run, FINISHED."""
    (run,) = runs_after(name, empty_store)
    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() >= SUMMARY
    phases = OF_PHASES.get(name, ())
    assert run.data.metrics.keys() >= {f"phase/{phase}/elapsed_s" for phase in phases}
    if name == "xgboost_rounds":
        assert run.data.metrics["steps"] == 100
    if name == "training_loop":
        assert run.data.tags["sysmetrics.stop_reason"].startswith("elapsed_s 2")
    if name == "ranks":
        assert run.data.metrics["ranks"] == 4


@pytest.mark.slow
def test_each_run_of_a_loop_has_its_own_summary(empty_store: Path) -> None:
    """The larger the forest, the more CPU time."""
    runs = sorted(runs_after("loop_of_runs", empty_store), key=lambda run: int(run.data.params["trees"]))
    assert all(run.data.metrics.keys() >= SUMMARY for run in runs)
    seconds = [run.data.metrics["cpu_seconds"] for run in runs]
    assert len(runs) == 3
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_trials_of_the_tune_script_have_their_costs(empty_store: Path) -> None:
    """And the one that takes too much is ended, with the reason."""
    runs = runs_after("tune_script", empty_store)
    trials = {run.data.params["megabytes"]: run for run in runs if run.data.tags["sysmetrics.kind"] == "trial"}
    assert {size: run.info.status for size, run in trials.items()} == {"1": "FINISHED", "30": "KILLED"}
    assert trials["30"].data.tags["sysmetrics.stop_reason"].startswith("memory_growth_mb 2")
    assert all(run.data.metrics.keys() >= SUMMARY for run in trials.values())


@pytest.mark.slow
def test_trials_of_a_tune_script_log_files_into_their_own_runs(empty_store: Path) -> None:
    """Each says the rate of its trial."""
    runs = runs_after("tune_artifacts", empty_store)
    trials = [run for run in runs if run.data.tags["sysmetrics.kind"] == "trial"]
    said = [mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/model.json") for run in trials]
    assert [each["rate"] for each in said] == [float(run.data.params["rate"]) for run in trials]
    assert {run.info.status for run in trials} == {"FINISHED"}


def test_every_example_is_in_the_list_and_runs_in_a_test() -> None:
    """What the folder holds, what its README names, and the table above are the same."""
    files = {path.stem for path in EXAMPLES.iterdir() if path.name != "README.md"}
    text = (EXAMPLES / "README.md").read_text()
    assert files == LINES.keys()
    assert all(name in text for name in files)
