"""The pages of a study in the MLflow UI: there from its start, and made again as its trials have turned out."""

from __future__ import annotations

import mlflow

from entrypoints import views
from entrypoints.datasets.prepared import Prepared
from entrypoints.errors import say
from entrypoints.frame import Frame, frame_of
from entrypoints.links import how_to_open
from entrypoints.runs import RecordedRun
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record
from mlflow_sysmetrics.ui import save


def save_pages(run: RecordedRun, plan: Plan, record: Record, frame: Frame) -> dict[str, str]:
    """Save the pages of a study and of its experiment in the UI, and return their links by the names in ``views``."""
    searched = frame.hyperparameters or plan.varied or plan.searched
    pages = views.of_study(frame, run.start, searched, record.criteria)
    links = save(run.client, run.experiment_id, run.run_id, pages)
    return links | save(run.client, run.experiment_id, views.EXPERIMENT, views.of_experiment())


def open_from_the_start(run: RecordedRun, plan: Plan, data: Prepared, record: Record) -> None:
    """Save the pages while no trial of this command has begun, and say how to watch them fill."""
    links = save_pages(run, plan, record, frame_of([record.rows(run.run_id, {"name": data.name}, plan)]))
    say("Watch the trials in the MLflow UI:")
    say(how_to_open(links[views.SCORE], mlflow.get_tracking_uri()))
