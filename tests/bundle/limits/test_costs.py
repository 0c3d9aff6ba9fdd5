"""What criteria may limit: every cost and curve of a trial, each judged by how it moves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from entrypoints.datasets.tables import Task
from entrypoints.limits.costs import COSTS, metrics, unreadable
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


def test_device_that_is_not_there_cannot_be_limited_here() -> None:
    """On another machine it may be there. What this process can read is limited by default."""
    gpu = "peak_gpu_memory_mb"
    absent = [] if open_gpus(import_nvml()) else [gpu]
    assert unreadable([metric.name for metric in metrics("regression")]) == absent
    assert unreadable([gpu], here=False) == []
    assert unreadable([]) == []
