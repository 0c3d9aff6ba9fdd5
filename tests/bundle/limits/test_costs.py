"""What criteria may limit: every cost and curve of a trial, each judged by how it moves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from entrypoints.datasets.tables import Task
from entrypoints.limits.costs import COSTS, OF_GROUP, metrics, readable
from entrypoints.limits.judging import check_readable
from entrypoints.settings import DEFAULT_CRITERIA
from mlflow_sysmetrics.limits import Criteria
from mlflow_sysmetrics.sampling import import_nvml, open_gpus

TASKS: list[Task] = ["regression", "classification"]


@pytest.mark.parametrize("task", TASKS)
def test_criteria_can_name_all_that_the_docs_say_a_trial_has(project: Path, task: Task) -> None:
    """Its summary but the test scores, the steps and what it reads and writes, and the curves of how well it learns."""
    summary = (project / "docs" / "metrics.md").read_text().partition("| summary |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in summary.splitlines() if line.startswith("| `")]
    listed = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell) if not name.startswith("test_")}
    learning = {"train_loss", "val_loss", "val_rmse" if task == "regression" else "val_accuracy"}
    costs = listed - {"steps", "read_mb", "write_mb"} | {"training_time_s"}
    assert {metric.name for metric in metrics(task)} == costs | learning
    assert set(COSTS) < costs


@pytest.mark.parametrize("task", TASKS)
def test_memory_that_cannot_be_read_cannot_be_limited(task: Task) -> None:
    """Everything else can, wherever a process's memory is unknown."""
    everything = {metric.name for metric in metrics(task)} - OF_GROUP.keys()
    assert readable(task, sample=lambda: {"process_memory_mb": 1.0}) == everything
    assert readable(task, sample=dict) == everything - {"peak_memory_mb", "memory_growth_mb"}


def test_device_that_is_not_there_cannot_be_limited_here() -> None:
    """On another machine it may be there."""
    here = {"peak_gpu_memory_mb"} if open_gpus(import_nvml()) else set()
    asked = readable("regression", ("process", *OF_GROUP.values())) & OF_GROUP.keys()
    assert asked == here
    assert readable("regression", [*OF_GROUP.values()], here=False) >= OF_GROUP.keys()


def test_this_machine_can_read_what_is_limited_by_default() -> None:
    """The real process is asked."""
    check_readable(Criteria.parse(DEFAULT_CRITERIA, metrics("regression")), readable("regression"))
