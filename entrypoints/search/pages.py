"""The pages of a study in the MLflow UI: there from its start, and made again as its trials have turned out."""

from __future__ import annotations

import click
import mlflow

from entrypoints import views
from entrypoints.frame import Frame, frame_of
from entrypoints.links import how_to_open
from entrypoints.reporting.questions.decision import differing_costs
from entrypoints.runs import RecordedRun
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record
from entrypoints.search.run_names import searched, varied
from mlflow_sysmetrics.ui import save


def save_pages(run: RecordedRun, plan: Plan, record: Record, frame: Frame) -> dict[str, str]:
    """Save the pages of a study and of its experiment in the UI, and return their links by the names in ``views``."""
    names = frame.hyperparameters or varied(plan.trials) or searched(plan.trials)
    pages = views.of_study(frame, run.start, names, record.limits, differing_costs(frame))
    links = save(run.client, run.experiment_id, run.run_id, pages)
    return links | save(run.client, run.experiment_id, views.EXPERIMENT, views.of_experiment(record.score))


def open_from_the_start(run: RecordedRun, plan: Plan, record: Record) -> None:
    """Save the pages while no trial of this command has begun, and say how to watch them fill."""
    links = save_pages(run, plan, record, frame_of([record.rows(run.run_id, {"name": plan.table.name}, plan.trials)]))
    click.echo("Watch the trials in the MLflow UI:")
    click.echo(how_to_open(links[views.SCORE], mlflow.get_tracking_uri()))
