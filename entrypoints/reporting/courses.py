"""Finished studies read back from MLflow: what each trial chose, what it cost, and the curves that it left."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from entrypoints.mlflow_io import figures_of
from entrypoints.models.configuration import Configuration
from entrypoints.reporting.replay import Course
from entrypoints.settings import SHARED
from mlflow_sysmetrics.tags import DIVERGED, STOP_STEP

CURVES = (
    "train_loss",
    "val_loss",
    "val_rmse",
    "val_accuracy",
    "mean_step_time_ms",
    "training_time_s",
    "cpu_percent",
    "peak_memory_mb",
    "memory_growth_mb",
)


def read(client: MlflowClient, run_ids: Iterable[str | None]) -> list[Course]:
    """The trials in these runs, in this order, that have a report or were stopped before they had one."""
    courses = [_course(client.get_run(run_id), client) for run_id in run_ids if run_id]
    return [course for course in courses if course.reports or course.stopped_at is not None]


def _course(run: Run, client: MlflowClient) -> Course:
    figures = figures_of(run)
    reports: dict[int, dict[str, float]] = {}
    for name in CURVES:
        if name in figures:
            for point in client.get_metric_history(run.info.run_id, name):
                reports.setdefault(point.step, {})[name] = point.value
    stopped = None
    if run.info.status == "KILLED":  # a scheduler and a time limit leave no step
        stopped = int(run.data.tags.get(STOP_STEP, max(reports, default=0)))
    return Course(
        configuration=_configuration(run.data.params),
        figures=figures,
        reports=reports,
        diverged=run.data.tags.get(DIVERGED) == "true",
        stopped_at=stopped,
    )


def _configuration(params: dict[str, str]) -> Configuration:
    """What a trial trained; its run holds the text of each value."""
    own = {name: _value(params[name]) for name in params if name not in (*SHARED, "algorithm", "batch_size")}
    numbers = {name: int(params[name]) for name in ("batch_size", "seed", "max_steps", "max_epochs", "report_every")}
    return Configuration(algorithm=params["algorithm"], hyperparameters=own, folders=(), **numbers)


def _value(text: str) -> Any:
    """The number, list or switch that Python writes like this, else the word itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
