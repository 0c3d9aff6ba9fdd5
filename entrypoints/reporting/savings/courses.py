"""The trials of a study as rules are replayed over them: what each chose, what it cost, and the curves that it left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from entrypoints.mlflow_io import figures_of, runs_with_points
from entrypoints.models.configuration import Configuration, parsed
from entrypoints.reporting.savings.replay import Course
from entrypoints.search.trial_end import TrialEnd
from entrypoints.settings import SHARED
from mlflow_sysmetrics.criteria.judge import Stop
from mlflow_sysmetrics.tags import DIVERGED, STOP_METRIC, STOP_STEP

CURVES = (
    "train_loss",
    "val_loss",
    "val_rmse",
    "val_accuracy",
    "step_time_ms",
    "training_time_s",
    "cpu_percent",
    "memory_mb",
)


def read(client: MlflowClient, run_ids: Iterable[str | None]) -> list[Course]:
    """The trials in these runs of one study, in this order, that have a report or were stopped before they had one.

    Without those that failed, which would be charged with a part of their cost.
    """
    known = [run_id for run_id in run_ids if run_id]
    ran = ((run, points) for run, points in runs_with_points(client, known, CURVES) if run.info.status != "FAILED")
    courses = [_course(run, points) for run, points in ran]
    return [course for course in courses if course.reports or course.stopped_at is not None]


def _course(run: Run, curves: Mapping[str, Iterable[Metric]]) -> Course:
    figures = figures_of(run)
    points: dict[int, dict[str, float]] = {}
    for name in CURVES:
        for point in curves.get(name, ()):
            points.setdefault(point.step, {})[name] = point.value
    reports = {step: values for step, values in points.items() if step > 0 and set(values) != {"training_time_s"}}
    _add_figures(reports, figures)
    stopped = None
    if run.info.status == "KILLED":  # a scheduler and a time limit leave no step
        stopped = int(run.data.tags.get(STOP_STEP, max(reports, default=0)))
    return Course(
        configuration=_configuration(run.data.params),
        figures=figures,
        reports=reports,
        diverged=run.data.tags.get(DIVERGED) == "true",
        stopped_at=stopped,
        stopped_by=None if stopped is None else _stopped_by(run),
        run_id=run.info.run_id,
        began_ms=run.info.start_time or 0,
        ended_ms=run.info.end_time or 0,
        untrained_loss=points.get(0, {}).get("val_loss", Course.untrained_loss),
    )


def _stopped_by(run: Run) -> Stop | None:
    """The criterion that stopped a trial; of a study by an earlier version its metric alone is known."""
    end, metric = TrialEnd.read(run.data.tags), run.data.tags.get(STOP_METRIC)
    if end and end.ending:
        return end.ending.stop
    return Stop(metric, metric, math.nan, math.nan) if metric else None


def _add_figures(reports: dict[int, dict[str, float]], figures: dict[str, float]) -> None:
    """Add to each report what the trial's figures were then, as far as its curves tell."""
    peak_mb, cpu_sum = 0.0, 0.0
    for number, step in enumerate(sorted(reports), 1):
        report = reports[step]
        if "training_time_s" in report:
            report["mean_step_time_ms"] = 1e3 * report["training_time_s"] / step
        if "cpu_percent" in report:
            cpu_sum += report["cpu_percent"]
            report["mean_cpu_percent"] = cpu_sum / number
        if "memory_mb" in report and {"peak_memory_mb", "memory_growth_mb"} <= figures.keys():
            peak_mb = max(peak_mb, report["memory_mb"])
            report["peak_memory_mb"] = peak_mb
            report["memory_growth_mb"] = peak_mb - (figures["peak_memory_mb"] - figures["memory_growth_mb"])


def _configuration(params: dict[str, str]) -> Configuration:
    """What a trial trained; its run holds the text of each value."""
    own = {name: parsed(params[name]) for name in params if name not in (*SHARED, "algorithm", "batch_size", "tol")}
    numbers = {name: int(params[name]) for name in ("batch_size", "seed", "max_steps", "max_epochs", "report_every")}
    tol = float(params["tol"]) if "tol" in params else None
    return Configuration(algorithm=params["algorithm"], hyperparameters=own, tol=tol, folders=(), **numbers)
