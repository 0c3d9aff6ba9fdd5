"""The trials of a study as rules are replayed over them: what each chose, what it cost, and the curves that it left."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from entrypoints.mlflow_io import runs_with_points
from entrypoints.models.configuration import Configuration, parsed
from entrypoints.reporting.savings.replay import Course
from entrypoints.search.trial_end import TrialEnd
from entrypoints.settings import SHARED
from entrypoints.trial_run import TrialRun
from mlflow_sysmetrics.limits import Stop

CURVES = (
    "train_loss",
    "val_loss",
    "val_rmse",
    "val_accuracy",
    "step_time_ms",
    "training_time_s",
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
    trial = TrialRun.of(run)
    points: dict[int, dict[str, float]] = {}
    for name in CURVES:
        for point in curves.get(name, ()):
            points.setdefault(point.step, {})[name] = point.value
    reports = {step: values for step, values in points.items() if step > 0 and set(values) != {"training_time_s"}}
    _add_figures(reports, trial.figures)
    stopped = None
    if trial.status == "KILLED":  # a scheduler and a time limit leave no step
        stopped = max(reports, default=0) if trial.stop_step is None else trial.stop_step
    return Course(
        configuration=_configuration(trial.params),
        figures=trial.figures,
        reports=reports,
        diverged=trial.diverged,
        stopped_at=stopped,
        stopped_by=None if stopped is None else _stopped_by(trial, TrialEnd.read(run.data.tags)),
        run_id=trial.run_id,
        began_ms=trial.began_ms or 0,
        ended_ms=trial.ended_ms or 0,
        untrained_loss=points.get(0, {}).get("val_loss", Course.untrained_loss),
    )


def _stopped_by(trial: TrialRun, end: TrialEnd | None) -> Stop | None:
    """The criterion that stopped a trial; of a study by an earlier version its metric alone is known."""
    if end and end.ending:
        return end.ending.stop
    metric = trial.stop_metric
    return Stop(metric, metric, math.nan, math.nan) if metric else None


def _add_figures(reports: dict[int, dict[str, float]], figures: dict[str, float]) -> None:
    """Add to each report what the trial's figures were then, as far as its curves tell."""
    peak_mb = 0.0
    for step in sorted(reports):
        report = reports[step]
        if "training_time_s" in report:
            report["mean_step_time_ms"] = 1e3 * report["training_time_s"] / step
        if "memory_mb" in report and {"peak_memory_mb", "memory_growth_mb"} <= figures.keys():
            peak_mb = max(peak_mb, report["memory_mb"])
            report["peak_memory_mb"] = peak_mb
            report["memory_growth_mb"] = peak_mb - (figures["peak_memory_mb"] - figures["memory_growth_mb"])


def _configuration(params: dict[str, str]) -> Configuration:
    """What a trial trained; its run holds the text of each value."""
    own = {name: parsed(params[name]) for name in params if name not in (*SHARED, "algorithm", "batch_size", "tol")}
    names = ("batch_size", "seed", "max_steps", "max_epochs", "report_every")
    numbers = {name: int(params[name]) if params[name].isdigit() else 0 for name in names}
    tol = float(params["tol"]) if "tol" in params else None
    return Configuration(algorithm=params["algorithm"], hyperparameters=own, tol=tol, folders=(), **numbers)
