"""The stop tag, typed on a run's page of the MLflow UI; and a Tune script that writes down when its trials end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

# Trials that report ten times a second for ten minutes, one after the other. When one has ended, or the experiment has,
# the file `ended` gets a line: when, and what.
TUNE_SCRIPT = """
import pathlib, sys, time

import ray
from ray import tune

from mlflow_sysmetrics import SystemMetricsCallback

class Ends(tune.Callback):
    def on_trial_complete(self, iteration, trials, trial, **info):
        write(trial.trial_id)

def write(what):
    with pathlib.Path("ended").open("a") as file:
        file.write(f"{time.time()} {what}\\n")

def train(config):
    for step in range(6000):
        tune.report({"loss": 1.0})
        time.sleep(0.1)

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
for number in range(int(sys.argv[1])):
    tune.Tuner(
        train,
        param_space={"number": tune.grid_search(list(range(20)))},
        run_config=tune.RunConfig(
            name=f"study-{number}", storage_path=str(pathlib.Path.cwd() / "tune"),
            callbacks=[SystemMetricsCallback(views=False), Ends()], verbose=0,
        ),
    ).fit()
    write("study")
"""


def tune_line(folder: Path, studies: int) -> list[str]:
    """The command of the script, which is written into the folder, for this number of studies, one after the other."""
    script = folder / "tune_trials.py"
    script.write_text(TUNE_SCRIPT)
    return [sys.executable, str(script), str(studies)]


def ended(folder: Path) -> list[tuple[float, str]]:
    """What has ended, and when."""
    file = folder / "ended"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(float(when), what) for when, what in map(str.split, lines)]


def type_stop_tag(page: Any, server: str, run_id: str) -> None:
    """Type the tag on the page of a run of experiment 0, as a user does; it is not saved yet."""
    page.goto("about:blank")  # a change of the fragment alone does not reload the page
    page.goto(f"{server}/#/experiments/0/runs/{run_id}/overview?workflowType=machine_learning")
    page.get_by_role("button", name="Edit tags").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("sysmetrics.stop")
    page.keyboard.press("Enter")
    dialog.get_by_placeholder("Type a value").fill("enough")
    dialog.get_by_role("button", name="Add tag").click()


def save_tags(page: Any) -> float:
    """Save it; return when, in seconds since 1970."""
    saved = time.time()
    page.get_by_role("dialog").get_by_role("button", name="Save tags").click()
    return saved
