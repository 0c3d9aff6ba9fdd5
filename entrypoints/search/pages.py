"""The pages of a study in the MLflow UI: there from its start, and made again as its trials have turned out."""

from __future__ import annotations

from typing import Any

import click
import mlflow
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from entrypoints import views
from entrypoints.frame import Frame, frame_of
from entrypoints.links import how_to_open
from entrypoints.reporting.questions.decision import differing_costs
from entrypoints.runs import RecordedRun
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record
from mlflow_sysmetrics.delivery import points_now, writer_for
from mlflow_sysmetrics.ui import save


def save_pages(run: RecordedRun, plan: Plan, record: Record, frame: Frame) -> dict[str, str]:
    """Save the pages of a study and of its experiment in the UI, and return their links by the names in ``views``."""
    searched = frame.hyperparameters or plan.varied or plan.searched
    pages = views.of_study(frame, run.start, searched, record.limits, differing_costs(frame))
    links = save(run.client, run.experiment_id, run.run_id, pages)
    return links | save(run.client, run.experiment_id, views.EXPERIMENT, views.of_experiment(record.score))


def open_from_the_start(run: RecordedRun, plan: Plan, record: Record) -> None:
    """Save the pages while no trial of this command has begun, and say how to watch them fill."""
    links = save_pages(run, plan, record, frame_of([record.rows(run.run_id, {"name": plan.table.name}, plan)]))
    click.echo("Watch the trials in the MLflow UI:")
    click.echo(how_to_open(links[views.SCORE], mlflow.get_tracking_uri()))


class BestSoFar(tune.Callback):
    """Curves in the study's run, a point as each trial ends: the best score, and the CPU seconds of all trials."""

    def __init__(self, run: RecordedRun, record: Record) -> None:
        self._record = record
        self._run = writer_for(mlflow.get_tracking_uri()).open(run.run_id)

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune writes its callbacks to disk."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Add a point."""
        ended = [each for each in self._record.trials.values() if each.status != "RUNNING"]
        values = {views.SPENT_CPU_S: sum(each.figures.get("cpu_seconds", 0.0) for each in ended)}
        best = self._record.best_score()
        if best is not None:
            values[views.BEST_SO_FAR] = best
        self._run.log(points_now(values, len(ended)))
