"""What criteria may limit: every cost and curve of a trial, each judged by how it moves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from entrypoints.datasets.tables import Task
from entrypoints.limits.costs import BESIDE, COSTS, OF_GROUP, USUAL_NOISE, metrics, readable
from entrypoints.limits.judging import check_readable
from entrypoints.settings import DEFAULT_CRITERIA
from mlflow_sysmetrics.limits import Criteria, Kind
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("peak_memory_mb", Kind.GROWING, id="peak"),
        pytest.param("memory_growth_mb", Kind.GROWING, id="growth"),
        pytest.param("training_time_s", Kind.GROWING, id="training time"),
        pytest.param("elapsed_s", Kind.GROWING, id="elapsed"),
        pytest.param("cpu_seconds", Kind.GROWING, id="CPU time"),
        pytest.param("user_cpu_seconds", Kind.GROWING, id="user CPU time"),
        pytest.param("system_cpu_seconds", Kind.GROWING, id="system CPU time"),
        pytest.param("peak_rss_mb", Kind.GROWING, id="resident peak"),
        pytest.param("model_memory_mb", Kind.GROWING, id="model"),
        pytest.param("mean_step_time_ms", Kind.MEAN, id="step time"),
        pytest.param("mean_cpu_percent", Kind.MEAN, id="CPU"),
        pytest.param("inference_latency_ms", Kind.FACT, id="latency"),
        pytest.param("model_size_kb", Kind.FACT, id="size"),
        pytest.param("train_loss", Kind.CURVE, id="training loss"),
        pytest.param("val_loss", Kind.CURVE, id="validation loss"),
        pytest.param("val_rmse", Kind.CURVE, id="score"),
    ],
)
def test_metric_is_judged_by_how_it_moves(name: str, kind: Kind) -> None:
    """What only grows can be judged at once, a mean on evidence, a curve at the end."""
    assert {metric.name: metric.kind for metric in metrics("regression")}[name] is kind


@pytest.mark.parametrize(
    ("task", "higher"),
    [
        pytest.param("regression", {"mean_cpu_percent", "rows_per_s"}, id="regression"),
        pytest.param("classification", {"mean_cpu_percent", "rows_per_s", "val_accuracy"}, id="classification"),
    ],
)
def test_better_is_higher_only_for_accuracy_use_and_throughput(task: Task, higher: set[str]) -> None:
    """Patience and the best of a relative limit go by it."""
    assert {metric.name for metric in metrics(task) if metric.higher_is_better} == higher


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


def test_usual_noise_is_of_every_cost_but_the_size() -> None:
    """A model has the same size each time; nothing else that is measured is the same twice."""
    assert set(USUAL_NOISE) == {*COSTS, *BESIDE} - {"model_size_kb"} | {"mean_cpu_percent", "rows_per_s"}
    assert all(0 < share <= 0.5 for share in USUAL_NOISE.values())
