"""Views of what an experiment's runs have cost, for the MLflow UI."""

from __future__ import annotations

from dataclasses import dataclass

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment

from mlflow_sysmetrics.command.ask_store import NoAnswerError, ask_store
from mlflow_sysmetrics.command.newest_page import all_experiments
from mlflow_sysmetrics.command.run import NoRunError
from mlflow_sysmetrics.redact import redacted
from mlflow_sysmetrics.views.costs import OF_RUNS, save_costs
from mlflow_sysmetrics.views.saved import is_view

NAME = "What runs cost"
_WITHIN_S = 60.0


@dataclass(frozen=True)
class Saved:
    """The page of one experiment, and whether the UI lists it as a view or the address is all there is."""

    experiment: str
    link: str
    is_view: bool


def save_views(experiment_name: str | None) -> list[Saved]:
    """Save the view *What runs cost* in one experiment, or in each that has runs with our figures.

    Raises:
        NoRunError: the store or the experiment cannot be read, or no run has such figures: one sentence.
    """
    uri = mlflow.get_tracking_uri()
    try:
        saved = ask_store(uri, _WITHIN_S, lambda: _save(MlflowClient(uri), experiment_name))
    except NoAnswerError as error:
        raise NoRunError(f"no view could be saved at {redacted(uri)}: {error}") from error
    if not saved:
        where = f"experiment {experiment_name}" if experiment_name else "any experiment"
        raise NoRunError(
            f"no run of {where} at {redacted(uri)} has system metrics of its process; record some with "
            "`mlflow-sysmetrics run`, SystemMetricsLogger or SystemMetricsCallback"
        )
    return saved


def _save(client: MlflowClient, experiment_name: str | None) -> list[Saved]:
    saved = []
    for experiment in _experiments(client, experiment_name):
        link = save_costs(client, experiment.experiment_id, NAME, "", OF_RUNS)
        if link:
            saved.append(Saved(experiment.name, link, is_view(link)))
    return saved


def _experiments(client: MlflowClient, name: str | None) -> list[Experiment]:
    if name is None:
        return all_experiments(client)
    found = client.get_experiment_by_name(name)
    if found is None:
        raise ValueError(f"there is no experiment {name}; `mlflow experiments search` lists them")
    return [found]
